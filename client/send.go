package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Send sends v and waits until the server has handled it and the handler's
// writes are durable. A string or a [json.RawMessage] is sent as text, a []byte
// as binary, and any other value as JSON text.
//
// If there is no connection, the message waits for one. Messages leave in the
// order of the calls of Send. They take effect once, even if the connection
// breaks and the client sends them again.
//
// If ctx ends first, Send returns the cause, and the message is no longer sent.
// Other errors are [ErrInvalid] for a value that cannot be sent, [ErrTooLarge],
// [ErrQueueFull], [ErrExpired], and the error with which the client has ended:
// [ErrClosed] or a [RefusedError]. If the message may have left before, the
// error is also an [ErrUncertain].
func (c *Client) Send(ctx context.Context, v any) error {
	o, err := encode(v)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.outbox.add(o); err != nil {
		return err
	}
	expiry := time.NewTimer(c.options.MaxAge)
	defer expiry.Stop()
	for {
		select {
		case <-o.settled:
			return o.err
		case <-expiry.C:
			c.outbox.expire(o)
		case <-ctx.Done():
			c.outbox.abandon(o, context.Cause(ctx))
		}
	}
}

// encode returns v as the message that Send sends.
func encode(v any) (*outgoing, error) {
	o := &outgoing{kind: Text, settled: make(chan struct{})}
	switch v := v.(type) {
	case string:
		o.data = []byte(v)
	case json.RawMessage:
		o.data = append([]byte(nil), v...)
	case []byte:
		o.kind, o.data = Binary, append([]byte(nil), v...)
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		o.data = data
	}
	if o.kind == Text && !utf8.Valid(o.data) {
		return nil, fmt.Errorf("%w: text that is not UTF-8; send it as []byte", ErrInvalid)
	}
	return o, nil
}

// An outgoing message waits to be sent or acknowledged.
type outgoing struct {
	kind    MessageType   // fixed
	data    []byte        // fixed
	settled chan struct{} // closed when the message has left the outbox

	expiry time.Time // when it is too old to be sent for the first time. fixed by add
	number uint64    // 0: it has never been sent. guarded by outbox.mu
	err    error     // owned by the outbox until settled is closed
}

// An outbox holds the messages that wait to be sent or acknowledged, in order.
// Those with a number come first, in the order of their numbers.
type outbox struct {
	messages int           // bound. fixed
	bytes    int           // bound. fixed
	maxAge   time.Duration // fixed
	added    chan struct{} // has a token when there may be something to write

	mu      sync.Mutex
	queue   []*outgoing // guarded by mu
	size    int         // of the messages in queue. guarded by mu
	written int         // how many of queue have been written to the present connection. guarded by mu
	last    uint64      // the greatest number that has been used. guarded by mu
	limit   int         // of the server for one message with its header. guarded by mu
	err     error       // how the client ended. guarded by mu
}

func (b *outbox) init(o Options) {
	b.messages, b.bytes, b.maxAge = o.QueueMessages, o.QueueBytes, o.MaxAge
	b.added = make(chan struct{}, 1)
}

func (b *outbox) add(o *outgoing) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil:
		return b.err
	case len(o.data) > b.bytes:
		return ErrTooLarge
	case len(b.queue) >= b.messages, b.size+len(o.data) > b.bytes:
		return ErrQueueFull
	}
	o.expiry = time.Now().Add(b.maxAge)
	b.queue = append(b.queue, o)
	b.size += len(o.data)
	signal(b.added)
	return nil
}

// settle removes the message at an index. b.mu is held.
func (b *outbox) settle(i int, err error) {
	o := b.queue[i]
	if err != nil && o.number != 0 {
		err = fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	copy(b.queue[i:], b.queue[i+1:])
	b.queue[len(b.queue)-1] = nil
	b.queue = b.queue[:len(b.queue)-1]
	b.size -= len(o.data)
	if i < b.written {
		b.written--
	}
	o.err = err
	close(o.settled)
}

// find returns the index of a message, -1 if it has been settled. b.mu is held.
func (b *outbox) find(o *outgoing) int {
	for i := range b.queue {
		if b.queue[i] == o {
			return i
		}
	}
	return -1
}

// expire settles a message unless it has been sent.
func (b *outbox) expire(o *outgoing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.find(o); i >= 0 && o.number == 0 {
		b.settle(i, ErrExpired)
	}
}

// abandon settles a message whose Send no longer waits.
func (b *outbox) abandon(o *outgoing, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.find(o); i >= 0 {
		b.settle(i, cause)
	}
}

// close settles all messages, and makes add return err.
func (b *outbox) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	for len(b.queue) > 0 {
		b.settle(len(b.queue)-1, err)
	}
}

// connected starts with a new connection, whose server has handled the messages
// up to number in and takes messages up to size limit.
func (b *outbox) connected(in uint64, limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.written, b.limit = 0, limit
	b.acknowledge(in)
}

// acknowledged settles the messages up to a number.
func (b *outbox) acknowledged(number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acknowledge(number)
}

// acknowledge settles the messages up to a number. A number that this client
// has not used belongs to an earlier one of the same session, so messages get
// greater ones from now on. b.mu is held.
func (b *outbox) acknowledge(number uint64) {
	n := 0
	for n < len(b.queue) && b.queue[n].number != 0 && b.queue[n].number <= number {
		n++
	}
	for range n {
		b.settle(0, nil)
	}
	b.last = max(b.last, number)
}

var errServerLimit = errors.New("the server allows less")

// next returns the next message to write, with its header, and gives it a
// number if it has none. It returns nil if there is none.
func (b *outbox) next() (MessageType, []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.written < len(b.queue) {
		o := b.queue[b.written]
		number := o.number
		if number == 0 {
			number = b.last + 1
			if !time.Now().Before(o.expiry) {
				b.settle(b.written, ErrExpired)
				continue
			}
		}
		frame := append(strconv.AppendUint([]byte{'m'}, number, 10), '\n')
		if b.limit > 0 && len(frame)+len(o.data) > b.limit {
			b.settle(b.written, fmt.Errorf("%w: %w", ErrTooLarge, errServerLimit))
			continue
		}
		o.number = number
		b.last = max(b.last, number)
		b.written++
		return o.kind, append(frame, o.data...)
	}
	return 0, nil
}
