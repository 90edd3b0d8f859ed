package dog_test

import (
	"context"
	"iter"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
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

// owners are the handlers of a test's owner; a nil one does nothing, or what its
// comment says.
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
	return e.on.failed(ctx, e, s, cause)
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

// venue is a runtime with one owner, of any kind, and a server whose requests go to
// it on behalf of the query's u.
type venue struct {
	rt  *dog.Runtime
	srv *dogtest.Server

	serve  http.HandlerFunc
	abort  func(reason error) error
	remove func(ctx context.Context) error

	objects *dog.Namespace[parlor]          // of parlors, else nil
	group   dog.GroupStub[dog.Group, annex] // of annexes
}

func newVenue(t testing.TB, kind string, options dog.Options, on *owners) *venue {
	t.Helper()
	v := &venue{rt: dogtest.New(t, options)}
	switch kind {
	case "an object":
		objects, err := dog.RegisterObject(v.rt, "parlor", &dog.ObjectOptions[parlor]{
			New:     func() *parlor { return &parlor{on: on} },
			Sockets: on.socketOptions, Hibernate: on.hibernate, Schema: on.schema,
		})
		require.NoError(t, err)
		stub := objects.Named("main")
		v.objects, v.abort, v.remove = objects, stub.Abort, stub.Delete
		v.serve = func(w http.ResponseWriter, req *http.Request) { stub.WithUID(req.FormValue("u")).ServeHTTP(w, req) }
	case "an object with Receive and OnError":
		objects, err := dog.RegisterObject(v.rt, "entrance", &dog.ObjectOptions[entrance]{
			New:     func() *entrance { return &entrance{parlor{on: on}} },
			Sockets: on.socketOptions, Hibernate: on.hibernate, Schema: on.schema,
		})
		require.NoError(t, err)
		stub := objects.Named("main")
		v.abort, v.remove = stub.Abort, stub.Delete
		v.serve = func(w http.ResponseWriter, req *http.Request) { stub.WithUID(req.FormValue("u")).ServeHTTP(w, req) }
	case "a replica":
		replicas, err := dog.RegisterReplica(v.rt, "annex", &dog.ReplicaOptions[annex]{
			New:     func() *annex { return &annex{on: on} },
			Sockets: on.socketOptions, Hibernate: on.hibernate, Schema: on.schema,
		})
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(v.rt, "annexes", replicas, &dog.GroupOptions[dog.Group]{Limit: 100})
		require.NoError(t, err)
		v.group = groups.Named("main")
		identify := func(uid string) (dog.Stub[annex], error) {
			return v.group.Identify(context.Background(), uid)
		}
		v.abort = func(reason error) error {
			stub, err := identify("admin")
			if err != nil {
				return err
			}
			defer stub.Release()
			return stub.Abort(reason)
		}
		v.remove = func(ctx context.Context) error {
			stub, err := identify("admin")
			if err != nil {
				return err
			}
			defer stub.Release()
			return stub.Delete(ctx)
		}
		v.serve = func(w http.ResponseWriter, req *http.Request) {
			stub, err := identify(req.FormValue("u"))
			if err != nil {
				dog.WriteError(w, err)
				return
			}
			stub.ServeHTTP(w, req)
		}
	}
	v.srv = dogtest.Serve(t, v.serve)
	return v
}

// enter connects a uid and waits until everything has come to rest.
func (v *venue) enter(uid string) *dogtest.Client {
	c := v.srv.Dial("/?u=" + uid)
	synctest.Wait()
	return c
}

var ownerKinds = []string{"an object", "an object with Receive and OnError", "a replica"}

// overOwners runs a test in virtual time over each kind of owner of sockets.
func overOwners(t *testing.T, f func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range ownerKinds {
		t.Run(kind, func(t *testing.T) { bubble(t, func(t *testing.T) { f(t, kind) }) })
	}
}

// disconnect closes the sockets of a uid.
func disconnect(ctx context.Context, o owner, uid string, code int, reason string) (int, error) {
	switch o := o.(type) {
	case *annex:
		return o.Disconnect(ctx, uid, code, reason)
	case *entrance:
		return o.Disconnect(uid, code, reason)
	default:
		return o.(*parlor).Disconnect(uid, code, reason)
	}
}

// whisper sends to the sockets of a uid.
func whisper(ctx context.Context, o owner, uid string, v any) (int, error) {
	switch o := o.(type) {
	case *annex:
		return o.Whisper(ctx, uid, v)
	case *entrance:
		return o.Whisper(uid, v)
	default:
		return o.(*parlor).Whisper(uid, v)
	}
}
