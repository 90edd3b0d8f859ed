package dog_test

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/godurable/dog"
)

// owner is what Object and Replica have in common: they own sockets.
type owner interface {
	ID() dog.ID
	Storage() *dog.Storage
	Connect(w http.ResponseWriter, req *http.Request, options *dog.SocketOptions) (*dog.Socket, error)
	Sockets(tags ...string) iter.Seq[*dog.Socket]
	SocketsOf(uid string) iter.Seq[*dog.Socket]
	Broadcast(v any, options ...dog.SendOption) error
	Abort(reason error)
	Every(d time.Duration, f func(context.Context) error) *dog.Timer
	After(d time.Duration, f func(context.Context) error) *dog.Timer
}

// objectOwner is what Object has beyond that, and Replica in another way.
type objectOwner interface {
	Whisper(uid string, v any, options ...dog.SendOption) (int, error)
	Disconnect(uid string, code int, reason string) (int, error)
}

// replicaOwner is what Replica has beyond that, and Object in another way.
type replicaOwner interface {
	Emit(v any, options ...dog.SendOption) error
	Whisper(ctx context.Context, uid string, v any, options ...dog.SendOption) (int, error)
	Disconnect(ctx context.Context, uid string, code int, reason string) (int, error)
}

// owners are the handlers of a test's owner; a nil one does nothing, or what
// its comment says.
type owners struct {
	start   func(ctx context.Context, o owner) error
	receive func(o owner, w http.ResponseWriter, req *http.Request) error // nil: connects
	open    func(ctx context.Context, o owner, s *dog.Socket) error
	message func(ctx context.Context, o owner, s *dog.Socket, m dog.Message) error
	failed  func(ctx context.Context, o owner, s *dog.Socket, cause error) error
	close   func(ctx context.Context, o owner, s *dog.Socket, code int, reason string) error

	socketOptions dog.SocketOptions // of the type
	hibernate     bool
	schema        dog.Schema
	limit         int // sockets of each object or replica; 0: 100
}

// connectWith has sockets connect with these options: those of Connect where
// the kind has Receive, else those of the type.
func (on *owners) connectWith(kind string, options dog.SocketOptions) {
	if !hasReceive(kind) {
		on.socketOptions = options
		return
	}
	on.receive = func(o owner, w http.ResponseWriter, req *http.Request) error {
		_, err := o.Connect(w, req, &options)
		return err
	}
}

func (on *owners) onStart(ctx context.Context, o owner) error {
	if on.start == nil {
		return nil
	}
	return on.start(ctx, o)
}

func (on *owners) onReceive(o owner, w http.ResponseWriter, req *http.Request) error {
	if on.receive == nil {
		_, err := o.Connect(w, req, nil)
		return err
	}
	return on.receive(o, w, req)
}

func (on *owners) onOpen(ctx context.Context, o owner, s *dog.Socket) error {
	if on.open == nil {
		return nil
	}
	return on.open(ctx, o, s)
}

func (on *owners) onMessage(ctx context.Context, o owner, s *dog.Socket, m dog.Message) error {
	if on.message == nil {
		return nil
	}
	return on.message(ctx, o, s, m)
}

func (on *owners) onError(ctx context.Context, o owner, s *dog.Socket, cause error) error {
	if on.failed == nil {
		return nil
	}
	return on.failed(ctx, o, s, cause)
}

func (on *owners) onClose(ctx context.Context, o owner, s *dog.Socket, code int, reason string) error {
	if on.close == nil {
		return nil
	}
	return on.close(ctx, o, s, code, reason)
}

// parlor is an object with sockets, without Receive and OnError.
type parlor struct {
	dog.Object
	on *owners
}

func (p *parlor) OnStart(ctx context.Context) error { return p.on.onStart(ctx, p) }

func (p *parlor) OnOpen(ctx context.Context, s *dog.Socket) error { return p.on.onOpen(ctx, p, s) }

func (p *parlor) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	return p.on.onMessage(ctx, p, s, m)
}

func (p *parlor) OnClose(ctx context.Context, s *dog.Socket, code int, reason string) error {
	return p.on.onClose(ctx, p, s, code, reason)
}

// OnAlarm tells everybody.
func (p *parlor) OnAlarm(_ context.Context, alarm dog.Alarm) error {
	return p.Broadcast("alarm " + alarm.Name)
}

// Do runs a function in the turn.
func (p *parlor) Do(ctx context.Context, f func(context.Context, *parlor) error) error {
	return f(ctx, p)
}

// entrance is a parlor with Receive and OnError.
type entrance struct{ parlor }

func (e *entrance) Receive(w http.ResponseWriter, req *http.Request) error {
	return e.on.onReceive(e, w, req)
}

func (e *entrance) OnError(ctx context.Context, s *dog.Socket, cause error) error {
	return e.on.onError(ctx, e, s, cause)
}

// annex is a replica with sockets, without Receive and OnError.
type annex struct {
	dog.Replica
	on *owners
}

func (a *annex) OnStart(ctx context.Context) error { return a.on.onStart(ctx, a) }

func (a *annex) OnOpen(ctx context.Context, s *dog.Socket) error { return a.on.onOpen(ctx, a, s) }

func (a *annex) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	return a.on.onMessage(ctx, a, s, m)
}

func (a *annex) OnClose(ctx context.Context, s *dog.Socket, code int, reason string) error {
	return a.on.onClose(ctx, a, s, code, reason)
}

// foyer is an annex with Receive and OnError.
type foyer struct{ annex }

func (f *foyer) Receive(w http.ResponseWriter, req *http.Request) error {
	return f.on.onReceive(f, w, req)
}

func (f *foyer) OnError(ctx context.Context, s *dog.Socket, cause error) error {
	return f.on.onError(ctx, f, s, cause)
}
