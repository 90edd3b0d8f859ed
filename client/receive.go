package client

import (
	"context"
	"iter"
	"sync"
)

// An Event is a [Message] or a [Gap].
type Event interface {
	size() int // in bytes, as counted for the queue
}

// A MessageType is that of a WebSocket message.
type MessageType int

// The types of messages.
const (
	Text   MessageType = 1
	Binary MessageType = 2
)

// A Message is a message that an object has sent.
type Message struct {
	Data     []byte
	Type     MessageType
	Kept     bool   // whether the history keeps it
	Position string // the position after the message, to resume from; "" if the object keeps no history
}

func (m Message) size() int { return len(m.Data) }

// A Gap stands for messages that the client will not receive.
type Gap struct {
	Reason   GapReason
	From     string // the position before the gap; "" if there was none
	Position string // the position from which messages follow
}

func (Gap) size() int { return 0 }

// A GapReason is why messages are missing. Later servers may have more reasons.
type GapReason string

// The reasons of gaps.
const (
	First   GapReason = "first"   // the client had no position
	Expired GapReason = "expired" // messages after the position are no longer kept
	Epoch   GapReason = "epoch"   // the position is of another history: after a crash, an import, or a restored backup
	Ahead   GapReason = "ahead"   // the history does not have the position yet
	Slow    GapReason = "slow"    // messages expired while the client was connected and behind
)

// Receive waits for the next event. It returns the cause of ctx's end, the
// error of Options.SavePosition, or the error with which the client has ended:
// [ErrClosed] or a [RefusedError]. Events that arrived before a RefusedError
// are returned first.
//
// A call of Receive means that the program has handled the previous event, so
// call it from one goroutine only. A program must keep receiving: when as many
// events are unread as Options.QueueMessages and Options.QueueBytes allow, the
// client stops reading from the connection, and acknowledgements wait as well.
func (c *Client) Receive(ctx context.Context) (Event, error) {
	return c.inbox.take(ctx)
}

// Events returns an iterator that calls Receive until it returns an error,
// which is the last element. If the loop ends early, its last event counts as
// handled when Receive is next called.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := c.Receive(ctx)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Position returns the position of the last event that the program has handled,
// "" if there is none.
func (c *Client) Position() string { return c.inbox.position() }

// An arrival is an entry of the inbox.
type arrival struct {
	event    Event  // nil: only the position has changed
	position string // after it
}

// An inbox holds arrivals until the program takes them.
type inbox struct {
	save     func(context.Context, string) error // fixed
	messages int                                 // bound. fixed
	bytes    int                                 // bound. fixed
	taking   chan struct{}                       // holds a token while a caller takes
	arrived  chan struct{}                       // has a token when there may be something to take
	room     chan struct{}                       // has a token when there may be room

	mu      sync.Mutex
	queue   []arrival // guarded by mu
	size    int       // of the events in queue. guarded by mu
	err     error     // guarded by mu
	taken   string    // the position after the last event that was taken. guarded by mu
	handled string    // the last saved position. guarded by mu
}

func (b *inbox) init(o Options) {
	b.save = o.SavePosition
	b.messages, b.bytes = o.QueueMessages, o.QueueBytes
	b.taking, b.arrived, b.room = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	if o.After != nil {
		b.taken, b.handled = *o.After, *o.After
	}
}

// signal puts a token into a channel that has at most one.
func signal(tokens chan struct{}) {
	select {
	case tokens <- struct{}{}:
	default:
	}
}

// offer puts an arrival into the inbox and reports whether there was room.
func (b *inbox) offer(a arrival) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := 0
	if a.event != nil {
		size = a.event.size()
	}
	if len(b.queue) > 0 && (len(b.queue) >= b.messages || b.size+size > b.bytes) {
		return false
	}
	b.queue = append(b.queue, a)
	b.size += size
	signal(b.arrived)
	return true
}

// close makes take return err: at once if it is ErrClosed, otherwise when the
// inbox is empty.
func (b *inbox) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	if err == ErrClosed {
		b.queue = nil
	}
	signal(b.arrived)
}

func (b *inbox) position() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.handled
}

// take saves the position of the previous event and returns the next event.
func (b *inbox) take(ctx context.Context) (Event, error) {
	select {
	case b.taking <- struct{}{}:
	default:
		select {
		case b.taking <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer func() { <-b.taking }()
	for {
		// Also when ctx is done: the event before has been handled.
		if err := b.advance(ctx); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		a, found, err := b.pop()
		switch {
		case err != nil:
			return nil, err
		case a.event != nil:
			return a.event, nil
		case found:
			continue
		}
		select {
		case <-b.arrived:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// advance saves the position if it has changed.
func (b *inbox) advance(ctx context.Context) error {
	b.mu.Lock()
	taken, changed := b.taken, b.taken != b.handled
	b.mu.Unlock()
	if !changed {
		return nil
	}
	if b.save != nil {
		if err := b.save(ctx, taken); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handled = taken
	return nil
}

// pop removes the first arrival. If the inbox is empty, it returns false or the
// error with which the client has ended.
func (b *inbox) pop() (a arrival, found bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		if b.err != nil {
			signal(b.arrived) // for the next caller
		}
		return arrival{}, false, b.err
	}
	a = b.queue[0]
	b.queue[0] = arrival{}
	b.queue = b.queue[1:]
	if a.event != nil {
		b.size -= a.event.size()
	}
	if a.position != "" {
		b.taken = a.position
	}
	signal(b.room)
	return a, true, nil
}
