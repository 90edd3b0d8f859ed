package dog

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/wire"
)

// Object is embedded in a type to make it a durable object: one of many that
// have an identity, handle one event at a time, and own sockets and storage. A
// document, a device, a game and one user's tabs are examples. See
// [RegisterObject].
//
// Handlers need no mutex for the fields of their type as long as only handlers
// access them. The turn passes to another event only while a handler waits, and
// signatures show where: a method or function that takes a context may give up
// the turn. All others keep it.
//
// An object with open sockets stays in memory, unless its type hibernates
// (ObjectOptions.Hibernate). All methods of Object are safe to call from any
// goroutine.
//
// Do not copy a value of a type that embeds Object, Group or Replica. go vet
// reports copies. A copy of a running object has the identity, the sockets and
// the storage of that object, but fields of its own, which no handler sees. It
// ends with the object.
type Object struct{ crowd }

func (o *Object) embedsObject() {}

func (o *Object) embedsOne() {}

// Broadcast sends v (see [Encode]) to all sockets of the object. It does not
// wait for clients, and it keeps the turn.
func (o *Object) Broadcast(v any, options ...SendOption) error {
	obj, err := o.running()
	if err != nil {
		return err
	}
	return obj.emit(obj, nil, v, options)
}

// Whisper sends v (see [Encode]) to the object's sockets with this uid and
// returns how many there are. It returns ErrNoTarget if there are none and no
// history keeps v, and ErrHeldBack if so much output to one of them already
// waits for the disk that v is not sent to it. It keeps the turn.
func (o *Object) Whisper(uid string, v any, options ...SendOption) (int, error) {
	obj, err := o.running()
	if err != nil {
		return 0, err
	}
	return obj.whisper(uid, v, options)
}

// Disconnect closes the object's open sockets with this uid, as [Socket.Close]
// does, and returns their number. It returns ErrNoTarget if there are none. It
// keeps the turn.
func (o *Object) Disconnect(uid string, code int, reason string) (int, error) {
	obj, err := o.running()
	if err != nil {
		return 0, err
	}
	return obj.disconnect(uid, code, reason)
}

// noCopy makes go vet report copies.
type noCopy struct{}

func (*noCopy) Lock() {}

func (*noCopy) Unlock() {}

// core holds the state that every object has. It is embedded unexported, so its
// methods are promoted into users' types.
type core struct {
	_       noCopy
	storage Storage // has the life that the runtime sets when it starts the object

	// frames handles a frame for queue, a queue of commands; nil if there is
	// none. Both are set in OnStart.
	frames func(ctx context.Context, socket any, binary bool, f wire.Frame) error
	queue  any
}

// base returns the core of any registered type. A user's names cannot hide it.
func (c *core) base() *core { return c }

// ID returns the object's identity. It is zero when the object is not running.
func (c *core) ID() ID {
	if o := c.object(); o != nil {
		return o.id()
	}
	return ID{}
}

// Name returns the name by which the object is addressed, or the name that
// Clusterize returned for it. It is "" when the object has no name.
func (c *core) Name() string {
	if o := c.object(); o != nil {
		return o.Name
	}
	return ""
}

// Log returns the runtime's logger with the object's namespace and ID.
func (c *core) Log() *slog.Logger {
	if o := c.object(); o != nil {
		return o.Log()
	}
	return slog.Default()
}

// Storage returns the object's storage. It is never nil. The storage of an
// object that is not running returns a UsageError.
func (c *core) Storage() *Storage { return &c.storage }

// Abort resets the object. Its memory is dropped, the writes of its current
// transaction are undone, its sockets are closed with 1011, and calls in
// progress fail with a [ResetError] that carries reason. The next event starts
// the object again.
//
// A handler that calls Abort should return: everything it stores or sends
// afterwards is lost. Abort may be called from any goroutine, but not by
// handlers of other objects: [Options].CheckTurns logs such a call with
// [ErrPastGate] if the handler's object has writes that are not durable.
func (c *core) Abort(reason error) {
	life := c.life()
	if life == nil {
		return
	}
	if err := life.Object().CheckGate(); err != nil {
		c.Log().Error("aborted by another object", "error", err)
	}
	_ = life.Reset(abortedBy(reason))
}

// life returns the life of a running object, otherwise nil.
func (c *core) life() *object.Life { return c.storage.life }

// object returns the object if it is running, otherwise nil.
func (c *core) object() *objectState {
	if life := c.life(); life != nil {
		return stateOf(life.Object())
	}
	return nil
}

// running returns the object if it is running. It returns an error if that has
// been reset, since output of its handlers is then dropped, or if the runtime
// has ended.
func (c *core) running() (voice, error) {
	life := c.life()
	if life == nil {
		return voice{}, notRunning("Object")
	}
	o := stateOf(life.Object()).voice()
	if err := life.Silenced(); err != nil {
		return o, err
	}
	return o, o.runtime().over()
}

// crowd holds the state of objects with sockets of their own. It is embedded
// unexported, like core.
type crowd struct{ core }

// Connect upgrades a request that Receive got to a WebSocket. The options are
// the socket's own. Nil options and zero fields stand for those of the type,
// then for those of the runtime. The socket's UID is that of the options, or
// [UID]. The socket takes over the request's place. When Receive has returned
// or waits, OnOpen runs, then OnMessage for each message, then OnClose.
//
// Connect returns an error when it refuses the upgrade. It has then already
// sent the response: 503 during shutdown, 400 for a malformed query of dog.v1,
// 500 for wrong options, 405 for a method other than GET, 426 if the request
// asks for no upgrade, 400 for a malformed request, 403 for a page of another
// origin, 400 for an invalid uid, 503 when the object has MaxSockets sockets,
// and 501 if the connection cannot be taken over, checked in this order.
// [HTTPStatus] returns the same status for the error. Receive writes no
// response in either case. req must be the request that Receive got, or derive
// from it.
//
// Connect does not wait. When the client sees that it is connected, its socket
// has joined and misses no message. The 101 response is therefore written on
// the connection itself, later than a ResponseWriter could write it. net/http
// sends a 101 passed to WriteHeader when the connection is hijacked. That is
// before the socket can join and before Receive's writes are durable. If
// WriteHeader is called after that, net/http logs a complaint. So a
// middleware's ResponseWriter sees WriteHeader for a refused connection, but
// not for an accepted one. If it has a Hijack of its own, that is called
// instead.
func (c *crowd) Connect(w http.ResponseWriter, req *http.Request, options *SocketOptions) (*Socket, error) {
	return c.connect(w, req, options)
}

// Sockets returns the object's currently open sockets that have all of the
// tags, in no particular order. A socket is open as soon as Connect has
// returned it. A socket that is being closed is not included.
func (c *crowd) Sockets(tags ...string) iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		o, err := c.running()
		if err != nil {
			return
		}
		for s := range o.sockets() {
			if s.hasAll(tags) && !s.over() && !yield(s) {
				return
			}
		}
	}
}

// SocketsOf returns the object's currently open sockets of a uid, in no
// particular order. It includes those that Sockets includes.
func (c *crowd) SocketsOf(uid string) iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		o, err := c.running()
		if err != nil {
			return
		}
		for _, s := range o.socketsOf(uid) {
			if !s.over() && !yield(s) {
				return
			}
		}
	}
}

// Await gives up the turn and runs f. It is for slow work such as a request to
// another service. Other events of the object run in the meantime, so state
// read before the call may have changed after it. f may use ctx and call
// anything, but must not access the object's fields and storage. Because f may
// pass on the object's state, it starts only when the object's earlier writes
// are durable.
//
// Await returns f's error. It returns one of these errors without running f:
// ErrOutsideTurn if ctx's handler has returned, [ErrReset] if earlier writes
// could not be made durable, the cause of ctx's end if ctx ends before they
// are, ErrInTransaction inside [Storage.Transaction], and a [UsageError] if f
// is nil. If ctx belongs to no handler, Await just runs f.
func Await(ctx context.Context, f func() error) error {
	if f == nil {
		return misuse("Await", "f is nil")
	}
	return object.Await(ctx, nil, f)
}

// Go runs f as a separate event of the object whose handler ctx belongs to,
// after the current event or while it waits. The event runs in a goroutine that
// [Runtime.Shutdown] waits for. Events begin in the order of the calls to Go.
// Events that have not begun when the object is reset are dropped. So are those
// of a transaction that is rolled back because the handler returns an error
// (RollbackOnError). f's context has the values of the call or request that led
// to it, directly or through other events of Go, but none that handlers added.
// An error from f is logged.
//
// Go returns ErrOutsideTurn if ctx belongs to no handler or to one that has
// returned, [ErrReset] if the object has been reset, ErrOverloaded if
// Options.MaxWaiting events are waiting already, and a [UsageError] if f is
// nil.
func Go(ctx context.Context, f func(ctx context.Context) error) error {
	life, err := object.Running(ctx)
	if err != nil {
		return err
	}
	if f == nil {
		return misuse("Go", "f is nil")
	}
	return life.Go(ctx, f)
}

// BlockConcurrencyWhile runs f and keeps the turn, even while f waits: no other
// event of the object runs until f returns. If f returns an error or panics,
// the object is reset. The error returned is then [ErrReset], and a panic
// continues. A call that could never return because it needs a turn kept in
// this way fails with [ErrDeadlock]. If ctx belongs to no handler that has its
// turn, BlockConcurrencyWhile returns ErrOutsideTurn and does not run f. A nil
// f is a [UsageError], and does not reset the object.
func BlockConcurrencyWhile(ctx context.Context, f func(ctx context.Context) error) error {
	life, err := object.Running(ctx)
	if err != nil {
		return err
	}
	if f == nil {
		return misuse("BlockConcurrencyWhile", "f is nil")
	}
	return life.Block(ctx, f)
}

// A Timer is a pending [Object.After] or [Object.Every]. The zero Timer has
// ended. A Timer's methods may be called from any goroutine.
type Timer struct{ timer object.Timer }

// After runs f as an event of the object after d, at once if d is not above 0.
// The timer lives in memory and keeps the object there. It ends with Stop, when
// the object is reset or deleted, and when Shutdown begins, before OnStop. To
// continue it after a restart of the object, call After again in OnStart. For
// more than minutes use an alarm ([Storage.Alarms]).
//
// The event has none of the values of the event that started it. f's error is
// logged. If RollbackOnError is set, the error also undoes f's writes. f waits
// for its turn even if Options.MaxWaiting events wait for the object. A nil f
// is never run, which is logged. A timer goes on even if the handler that
// started it is undone. If the object is not running, After returns a timer
// that has ended.
func (c *core) After(d time.Duration, f func(ctx context.Context) error) *Timer {
	return c.begin(d, 0, f)
}

// Every runs f as an event of the object every d, as [Object.After] does once.
// The ticks keep their rate however long f takes. A tick that is due while
// another waits for the turn or runs is skipped. If d is not above 0, Every
// logs an error and does not run f.
func (c *core) Every(d time.Duration, f func(ctx context.Context) error) *Timer {
	if d <= 0 {
		c.Log().Error("Every needs an interval above 0", "interval", d)
		return &Timer{}
	}
	return c.begin(d, d, f)
}

func (c *core) begin(d, every time.Duration, f func(ctx context.Context) error) *Timer {
	if f == nil {
		c.Log().Error("a timer needs a function")
		return &Timer{}
	}
	t := &Timer{}
	if life := c.storage.life; life != nil {
		t.timer.Begin(life, d, every, f)
	}
	return t
}

// Stop ends the timer and reports whether it was pending, that is, whether f
// would have run again. After the beginning of Shutdown no timer is pending.
// After Stop has returned, f does not start, even if it was already due. Stop
// does not wait for a running f.
func (t *Timer) Stop() bool { return t != nil && t.timer.Stop() }
