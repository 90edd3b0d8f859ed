package dog

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/presence"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// objectState is an object in memory with what package object does not know:
// its sockets, and its part in a group.
type objectState struct {
	object.Object

	// fixed
	ns      *namespace
	group   *groupState   // of a group; nil otherwise
	replica *replicaState // of a replica; nil otherwise

	crowd atomic.Pointer[socketSet] // nil until a socket connects; set once
	held  heldBytes                 // messages to more than one socket
}

// heldBytes counts the bytes waiting at gates.
type heldBytes struct{ bytes atomic.Int64 }

func newObject(ns *namespace, id object.ID, name string) *objectState {
	o := &objectState{ns: ns}
	o.Init(&ns.Class, id, name, o)
	if ns.kind == KindGroup {
		o.group = newGroupState(o)
	}
	return o
}

// stateOf returns the state of an object, or nil for nil.
func stateOf(o *object.Object) *objectState {
	if o == nil {
		return nil
	}
	return o.Peers().(*objectState)
}

// holder is Holder with the state of the object.
func (ns *namespace) holder(id ID) *objectState { return stateOf(ns.Holder(object.ID(id))) }

// runningIn returns the object whose handler runs in an event.
func runningIn(e *turn.Event) *objectState { return stateOf(object.LifeOf(e).Object()) }

func (o *objectState) runtime() *Runtime { return o.ns.rt }

func (o *objectState) id() ID { return ID(o.ID) }

func (o *objectState) info() ObjectInfo {
	return ObjectInfo{ID: o.id(), Kind: o.ns.kind, Namespace: o.ns.Name, Name: o.Name}
}

// Load takes over the history and the members of an object or a group that
// starts.
func (o *objectState) Load() error {
	ctx := o.runtime().host.Ctx
	if err := o.ownHistory().Load(ctx); err != nil {
		return err
	}
	return o.ownAttendance().Load(ctx)
}

// Open opens the state of a group. From then on the group admits clients.
func (o *objectState) Open() error {
	if o.group == nil {
		return nil
	}
	return o.group.open()
}

// Forgotten implements [object.Peers].
func (o *objectState) Forgotten() {
	if o.group != nil || o.crowd.Load() != nil {
		o.ownHistory().Forgotten()
	}
}

// save adds to a batch what the next process needs for clients that come back.
func (o *objectState) save(b store.Batch) error {
	if book := o.ownSessions(); book != nil {
		now := unixNow()
		if err := book.Save(b, o.ID.Base(), now, now+o.sessionAge()); err != nil {
			return err
		}
	}
	if r := o.ownHistory(); r != nil {
		r.Save(b)
	}
	o.attendance().Save(b)
	return nil
}

// ownHistory returns the history of a plain object or a group, otherwise nil.
func (o *objectState) ownHistory() *record.Record {
	if o.group != nil {
		return o.group.record
	}
	return o.ownRecord()
}

// newRecord returns the history of an object or a group. It returns nil if its
// type keeps none.
func (o *objectState) newRecord(drain func()) *record.Record {
	if !o.ns.history.on() {
		return nil
	}
	config := o.ns.history.config()
	config.Usage = &o.ns.counts.history
	return record.New(record.Config{
		Config: config, Durable: o.ns.history.Durable,
		Engine: o.runtime().host.Engine, Base: o.ID.Base(), Process: o.runtime().process, Retired: o.Retired,
		Reader: func(c *conn.Conn) (history.Reader, bool) {
			s := c.Data.(*Socket)
			return s.reader(), s.v1 != nil
		},
		Missed: func(c *conn.Conn) { c.Data.(*Socket).countGap() },
		Drain:  drain,
	})
}

// Keeper implements [object.Peers].
func (o *objectState) Keeper() tx.Keeper {
	keeper := o.historyKeeper()
	if o.ns.keepsMembers() {
		return presence.NewKeeper(o.ownAttendance(), keeper)
	}
	return keeper
}

// historyKeeper returns what stores the messages of the object, or nil.
func (o *objectState) historyKeeper() tx.Keeper {
	if o.replica != nil {
		if g := o.replica.group; g.record != nil && g.obj.ns.history.Durable {
			return record.Keeper{Record: g.record}
		}
	} else if r := o.ownHistory(); r != nil && o.ns.history.Durable {
		return record.Keeper{Record: r, Owner: true}
	}
	return nil
}

// Owner returns the group of a replica, otherwise nil.
func (o *objectState) Owner() *store.Owner {
	if o.replica == nil {
		return nil
	}
	g := o.replica.group.obj
	return &store.Owner{Namespace: g.ns.Number, Base: g.ID.Base(), Name: g.Name}
}

// Revive brings a stored replica of a group into memory.
func (o *objectState) Revive(ctx context.Context, c *object.Class, id object.ID, name string) (*object.Object, error) {
	replica, err := o.group.revive(ctx, namespaceOf(c), id, name)
	if err != nil {
		return nil, err
	}
	return &replica.Object, nil
}

// objectErrors makes the errors of package object.
var objectErrors = object.Errors{
	Reset: func(id object.ID, cause error) error { return &ResetError{Object: ID(id), Cause: cause} },
	Panic: func(value any, stack []byte) error { return &PanicError{Value: value, Stack: stack} },
	Stack: func(cause error) []byte {
		if p, ok := errors.AsType[*PanicError](cause); ok {
			return p.Stack
		}
		return nil
	},
	Aborted: func(kind object.EventKind, value any) error {
		if kind == object.EventReceive && value == http.ErrAbortHandler { // how net/http aborts a response
			return http.ErrAbortHandler
		}
		return nil
	},
}

// report logs the error of a handler that has no caller waiting for it.
func (o *objectState) report(kind EventKind, err error) {
	level := slog.LevelError
	var reset *ResetError
	switch {
	case err == nil:
		return
	case errors.As(err, &reset) && reset.Object == o.id():
		return // logged already, with its cause
	case errors.Is(err, ErrShutdown) && o.runtime().host.Ctx.Err() != nil:
		return
	case kind == EventReceive && HTTPStatus(err) != http.StatusInternalServerError:
		level = slog.LevelDebug // the client has the error
	case errors.Is(err, ErrSocketClosed), errors.Is(err, ErrSlowConsumer):
		level = slog.LevelDebug // clients leave at any time
	}
	o.Log().Log(context.Background(), level, "handler failed", "event", kind.String(), "error", err)
}

// abortedBy returns the cause of a reset that a program asks for.
func abortedBy(reason error) error {
	if reason == nil {
		return errors.New("aborted")
	}
	return reason
}

// A LiveObject is an object that is in memory or has open sockets.
type LiveObject struct {
	ObjectInfo
	Sockets    int
	Members    int  // of Presence; 0 if that is off
	Hibernated bool // only its sockets are still in memory
}

// state describes the object as it is now.
func (o *objectState) state() LiveObject {
	l := LiveObject{ObjectInfo: o.info(), Members: o.attendance().Count(), Hibernated: o.Asleep()}
	if s := o.crowd.Load(); s != nil {
		l.Sockets = s.set.Len()
	}
	return l
}

// address returns the object's address.
func (o *objectState) address() *address {
	a := &address{ns: o.ns, id: o.id(), name: o.Name, known: true}
	a.seen.Store(o)
	return a
}

// heldCost is the cost of an entry in a gate, in addition to the message.
const heldCost = 128

// heldSpare is how far QueueBytes may be exceeded during a write to the disk.
// It equals what a client may be behind before the limits are checked.
const heldSpare = 1 << 20

// maxHeldResponse is how many bytes of one response may be held back by a
// handler that keeps its turn. A response is written in pieces by helpers that
// know nothing of turns, so it is more than a socket's.
const maxHeldResponse = 16 << 20

// A voice is an object as what sends between two resets. Everything that a
// handler sends leaves through one, so that a reset between the check of the
// handler's life and the object's gate does not let it out.
type voice struct {
	*objectState        // nil: nobody's
	era          uint64 // of the gate
}

// voice returns the object's present voice. The caller checks the life for
// which it sends after that.
func (o *objectState) voice() voice { return voice{o, o.Gate.Era()} }

// past returns the error for a message that is sent after the reset.
func (o voice) past() error {
	if o.Gate.Era() == o.era {
		return nil
	}
	return &ResetError{Object: o.id(), Cause: errPastLife}
}

var errPastLife = errors.New("what sends belongs to the life before the reset")

// open reports whether a message is sent at once.
func (o voice) open() bool { return o.Gate.OpenIn(o.era) }

// gated arranges for send to be called when the object's gate opens, with the
// reason why the object's earlier writes are undone or lost, or nil. If the
// object has been reset, send is called at once, and gated returns the error.
func (o voice) gated(send func(lost error)) error {
	if o.Gate.SendIn(o.era, send) != nil {
		return o.past()
	}
	return nil
}

// joins is Object.Keep, and returns an error if the object has been reset: then
// the transaction is that of the next life, or there is none.
func (o voice) joins(d *record.Draft, added func()) (joined bool, err error) {
	joined, err = o.Keep(d, func() error {
		err := o.past()
		if err == nil {
			added()
		}
		return err
	})
	if err == nil && !joined {
		err = o.past()
	}
	return joined, err
}

// await is object.AwaitDurable with the object as the source, which must not
// have been reset when f is called.
func (o voice) await(ctx context.Context, f func() error) error {
	if o.objectState == nil {
		return object.AwaitDurable(ctx, nil, f)
	}
	return object.AwaitDurable(ctx, &o.Object, func() error {
		if err := o.past(); err != nil {
			return err
		}
		return f()
	})
}

// sendGatedWithin arranges for send to be called when the object's gate opens,
// unless the object's earlier writes are undone or lost. At most bound bytes
// plus heldSpare wait in u, or a single message that is longer. Beyond that,
// sendGatedWithin returns ErrHeldBack.
func (o voice) sendGatedWithin(u *heldBytes, bound, size int, send func()) error {
	cost, err := o.hold(u, bound, size)
	if err != nil {
		return err
	}
	return o.gated(func(lost error) {
		o.unhold(u, cost)
		if lost == nil {
			send()
		}
	})
}

// hold counts a message as waiting in u, until unhold. The error is that of
// sendGatedWithin.
func (o *objectState) hold(u *heldBytes, bound, size int) (cost int64, err error) {
	cost = int64(size + heldCost)
	if waiting := u.bytes.Add(cost); waiting > cost && waiting-heldSpare > int64(bound) {
		u.bytes.Add(-cost)
		return 0, ErrHeldBack
	}
	o.runtime().held.Add(cost)
	return cost, nil
}

func (o *objectState) unhold(u *heldBytes, cost int64) {
	u.bytes.Add(-cost)
	o.runtime().held.Add(-cost)
}

// sendGated arranges for f to be called when the object's gate opens, unless
// the object's earlier writes are undone or lost. It keeps the turn.
func (o voice) sendGated(size int, f func()) error {
	if o.open() {
		f()
		return nil
	}
	return o.sendGatedWithin(&o.held, o.runtime().queueBytes(), size, f)
}

// drain waits while more messages are queued for the object's sockets than the
// machine writes.
func (o *objectState) drain() {
	if s := o.crowd.Load(); s != nil {
		s.set.Drain()
	}
}
