// Package record keeps what an object or a group sends to its clients, in the
// order in which all of them get it, and stores it.
//
// A [Record] has the history of its owner. A client that joins or comes back
// reads from it what it has missed, a client that is slow what it has not
// taken, and readers without a connection whatever they ask for. A record in
// memory is stored when the process ends as planned. A durable one stores each
// message in the transaction of the turn that sends it.
//
// The package knows connections and the store. It does not know objects, apart
// from the error for one that is being forgotten, and not who its clients are.
package record

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/wire"
)

// Config is what a [Record] needs to know of its owner.
type Config struct {
	history.Config
	Durable bool // messages are stored before they are sent
	Engine  store.Engine
	Base    store.Base // of the owner
	Process string     // the name of the process, from NewProcess
	// Retired reports whether the owner is being forgotten.
	Retired func() bool

	// Reader returns who the client of a connection is, and whether its
	// messages are marked with their offsets.
	Reader func(*conn.Conn) (r history.Reader, marked bool)
	// Missed is called when the client of a connection gets a gap.
	Missed func(*conn.Conn)
	// Drain waits while more messages are queued for the owner's clients than
	// the machine writes.
	Drain func()
}

// Record is the history of an object or a group: its log, and the order in
// which its messages reach all clients. It belongs to the identity of its
// owner, not to its life. It is safe for concurrent use.
type Record struct {
	config Config // fixed

	now  atomic.Pointer[Chapter] // changed under order
	told atomic.Bool             // a client has a position in the history

	loading sync.Mutex // held while it is loaded
	loaded  atomic.Bool

	// order is held while a message gets its place and is queued for all
	// clients, and while a client joins. So all clients get the kept messages
	// in the same order, and one that joins misses none. It is taken before a
	// group state's mu and the locks of package conn, and never held during
	// I/O.
	order  sync.Mutex
	over   bool     // its owner is being forgotten; guarded by order
	unsent []*Draft // that are stored, in their order; guarded by order
	stale  []uint64 // offsets of stored messages that others have replaced; guarded by order

	// For readers that are not connections.
	readers  atomic.Int32  // those that wait or may wait for messages
	expected atomic.Int64  // until when one may come back, in Unix seconds
	news     chan struct{} // closed by wakeLocked; nil: no reader waits; guarded by order

	waiting atomic.Int32 // len(unsent)
	stored  stored
}

// NewProcess returns a name for a process that opens a store.
func NewProcess() string { return wire.NewEpoch() }

// New returns an empty record.
func New(c Config) *Record {
	r := &Record{config: c}
	r.now.Store(r.chapter(history.New(c.Config), wire.NewEpoch(), nil))
	return r
}

// Durable reports whether messages are stored before they are sent.
func (r *Record) Durable() bool { return r.config.Durable }

// Now returns the chapter that is being written.
func (r *Record) Now() *Chapter { return r.now.Load() }

// unixNow returns the time by which messages age.
func unixNow() int64 { return time.Now().Unix() }

// Hold keeps messages from being kept and clients from joining until release is
// called. r may be nil.
func (r *Record) Hold() (release func()) {
	if r == nil {
		return func() {}
	}
	r.order.Lock()
	return r.order.Unlock
}

// EndLocked lets the record keep nothing more. The caller must hold it. r may
// be nil.
func (r *Record) EndLocked() {
	if r != nil {
		r.over = true
	}
}

// Forgotten ends the counting of what is kept in memory (history.Config.Usage),
// because the owner has been forgotten. r may be nil.
func (r *Record) Forgotten() {
	if r != nil {
		r.Now().log.Leave()
	}
}

// Stats returns how much is kept in memory.
func (r *Record) Stats() history.Stats { return r.Now().log.Stats() }

// Holds reports whether the owner must stay in memory: because of messages that
// are not too old or wait to be sent, or of readers that wait for messages or
// may come back to do so. r may be nil.
func (r *Record) Holds() bool {
	if r == nil {
		return false
	}
	if r.readers.Load() > 0 || r.expected.Load() >= unixNow() || r.waiting.Load() > 0 {
		return true
	}
	return !r.config.Durable && r.keepsMessages()
}

func (r *Record) keepsMessages() bool {
	log := r.Now().log
	log.Expire(unixNow())
	return log.Stats().Messages > 0
}

// A Draft is a message to be kept and sent.
type Draft struct {
	Frame *conn.Frame
	Key   string           // see history.Entry
	To    history.Audience // see history.Entry
	// Queue queues the frame for all clients that are concerned, and reports
	// whether more is queued than the machine writes. It must not block.
	Queue func() (long bool)
	// Speaker sends the message; nil: none.
	Speaker Speaker
	// Sent, if not nil, is called when the message has been queued, or with the
	// reason why it never will be. It must not block.
	Sent func(lost error)

	// guarded by Record.order
	offset  uint64 // 0: not stored
	settled bool   // it may be sent when those before it have been
	lost    error  // why it must not be sent
	sent    bool   // or dropped
	paused  bool   // the speaker waits until it is sent
	deleted bool   // it is no longer stored
}

// A Speaker is the output of an object. Its methods must not block.
type Speaker interface {
	// Pause keeps what comes after a message back until Resume.
	Pause()
	Resume()
}

// Keep keeps a message in memory and queues it. If the owner is being
// forgotten, it returns object.ErrRetired.
func (r *Record) Keep(d *Draft) error {
	r.order.Lock()
	if r.over {
		r.order.Unlock()
		return object.ErrRetired
	}
	d.Frame.Keep(r.Now().log.Append(byte(d.Frame.Op()), d.Frame.Payload(), d.Key, d.To, unixNow()))
	r.wakeLocked()
	long := d.Queue()
	r.order.Unlock()
	if long {
		r.config.Drain()
	}
	return nil
}

// KeepNow keeps and sends a message without a speaker. If the record is
// durable, it returns when the message has been sent. If ctx ends first, it
// returns the cause, and the message is still sent.
func (r *Record) KeepNow(ctx context.Context, d *Draft) error {
	if !r.config.Durable {
		return r.Keep(d)
	}
	sent := make(chan error, 1)
	d.Sent = func(lost error) { sent <- lost }
	commit, err := r.Store(d)
	if err != nil {
		return err
	}
	r.config.Engine.OnDurable(commit, func(lost error) { r.Settle(d, lost) })
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Clear removes all messages of a record in memory, and begins another chapter.
// Clients that are connected go on from where they are.
func (r *Record) Clear() {
	if r.config.Durable { // has been done with the transaction
		return
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.clearLocked(wire.NewEpoch())
}

// clearLocked removes all messages. The caller must hold order.
func (r *Record) clearLocked(nonce string) {
	log := r.Now().log
	log.Clear()
	r.now.Store(r.chapter(log, nonce, nil))
	for _, d := range r.unsent {
		d.deleted = true
	}
	r.wakeLocked()
}
