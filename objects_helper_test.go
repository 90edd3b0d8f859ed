package dog_test

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
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

// venue is a runtime with objects or a group of replicas, of any kind, and a
// server whose requests go to the object or group of the query's o, default
// "main", on behalf of the query's u.
type venue struct {
	rt  *dog.Runtime
	srv *dogtest.Server

	serve http.HandlerFunc

	// Of main:
	abort     func(reason error) error
	remove    func(ctx context.Context) error
	broadcast func(ctx context.Context, v any) error // to all sockets, from outside
	loads     func() []int                           // sockets of the object, or of each replica

	objects *dog.Namespace[parlor] // of parlors, else nil
}

func newVenue(t testing.TB, kind string, options dog.Options, on *owners) *venue {
	t.Helper()
	v := &venue{rt: dogtest.New(t, options)}
	limit := cmp.Or(on.limit, 100)
	switch kind {
	case "an object":
		objects, err := dog.RegisterObject(v.rt, "owners", &dog.ObjectOptions[parlor]{
			New:     func() *parlor { return &parlor{on: on} },
			Sockets: on.socketOptions, Hibernate: on.hibernate, Schema: on.schema, MaxSockets: limit,
		})
		require.NoError(t, err)
		v.objects = objects
		leadToObjects(v, objects, (*parlor).Do)
	case "an object with Receive and OnError":
		objects, err := dog.RegisterObject(v.rt, "owners", &dog.ObjectOptions[entrance]{
			New:     func() *entrance { return &entrance{parlor{on: on}} },
			Sockets: on.socketOptions, Hibernate: on.hibernate, Schema: on.schema, MaxSockets: limit,
		})
		require.NoError(t, err)
		leadToObjects(v, objects, (*entrance).Do)
	case "a replica":
		replicas, err := dog.RegisterReplica(v.rt, "owners", &dog.ReplicaOptions[annex]{
			New:     func() *annex { return &annex{on: on} },
			Sockets: on.socketOptions, Hibernate: on.hibernate, Schema: on.schema,
		})
		require.NoError(t, err)
		leadToReplicas(t, v, replicas, limit)
	case "a replica with Receive and OnError":
		replicas, err := dog.RegisterReplica(v.rt, "owners", &dog.ReplicaOptions[foyer]{
			New:     func() *foyer { return &foyer{annex{on: on}} },
			Sockets: on.socketOptions, Hibernate: on.hibernate, Schema: on.schema,
		})
		require.NoError(t, err)
		leadToReplicas(t, v, replicas, limit)
	default:
		require.Fail(t, "no such kind", kind)
	}
	v.srv = dogtest.Serve(t, v.serve)
	return v
}

// inTurn is the type of parlor.Do for a type that embeds parlor.
type inTurn[T any] = func(*T, context.Context, func(context.Context, *parlor) error) error

func leadToObjects[T any](v *venue, objects *dog.Namespace[T], do inTurn[T]) {
	stub := objects.Named("main")
	v.abort, v.remove = stub.Abort, stub.Delete
	v.broadcast = func(ctx context.Context, message any) error {
		return dog.CallErr(ctx, stub, do, func(_ context.Context, p *parlor) error { return p.Broadcast(message) })
	}
	v.loads = func() (loads []int) {
		for o := range v.rt.Objects() {
			if o.Name == "main" {
				loads = append(loads, o.Sockets)
			}
		}
		return loads
	}
	v.serve = func(w http.ResponseWriter, req *http.Request) {
		objects.Named(cmp.Or(req.FormValue("o"), "main")).WithUID(req.FormValue("u")).ServeHTTP(w, req)
	}
}

func leadToReplicas[R any](t testing.TB, v *venue, replicas *dog.Replicas[R], limit int) {
	t.Helper()
	groups, err := dog.RegisterGroup(v.rt, "groups", replicas, &dog.GroupOptions[dog.Group]{Limit: limit})
	require.NoError(t, err)
	main := groups.Named("main")
	v.abort = func(reason error) error {
		stub, err := main.Identify(context.Background(), "admin")
		if err != nil {
			return err
		}
		defer stub.Release()
		return stub.Abort(reason)
	}
	v.remove = func(ctx context.Context) error {
		stub, err := main.Identify(ctx, "admin")
		if err != nil {
			return err
		}
		defer stub.Release()
		return stub.Delete(ctx)
	}
	v.broadcast = func(ctx context.Context, message any) error { return main.Broadcast(ctx, message) }
	v.loads = func() (loads []int) {
		for r := range main.Replicas() {
			loads = append(loads, r.Load)
		}
		return loads
	}
	v.serve = func(w http.ResponseWriter, req *http.Request) {
		group := groups.Named(cmp.Or(req.FormValue("o"), "main"))
		stub, err := group.Identify(req.Context(), req.FormValue("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, req)
	}
}

// enter connects a uid and waits until everything has come to rest.
func (v *venue) enter(uid string) *dogtest.Client {
	c := v.srv.Dial("/?u=" + uid)
	synctest.Wait()
	return c
}

// newGatedVenue is a venue on a store whose durability is in the test's hands.
// What has been committed so far is durable.
func newGatedVenue(t *testing.T, kind string, on *owners) (*venue, *storetest.Engine) {
	t.Helper()
	engine := storetest.New()
	v := newVenue(t, kind, dog.Options{Store: asStore(engine)}, on)
	engine.Flush()
	t.Cleanup(engine.Prompt) // before the runtime stops, which waits for what is held
	return v, engine
}

var ownerKinds = []string{
	"an object", "an object with Receive and OnError", "a replica", "a replica with Receive and OnError",
}

// hasReceive reports whether a kind has Receive and OnError.
func hasReceive(kind string) bool { return strings.HasSuffix(kind, "with Receive and OnError") }

func isReplica(kind string) bool { return strings.HasPrefix(kind, "a replica") }

// overOwners runs a test in virtual time over each kind of owner of sockets.
func overOwners(t *testing.T, f func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range ownerKinds {
		t.Run(kind, func(t *testing.T) { bubble(t, func(t *testing.T) { f(t, kind) }) })
	}
}

// overReceivers is overOwners for the kinds that have Receive and OnError.
func overReceivers(t *testing.T, f func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range ownerKinds {
		if hasReceive(kind) {
			t.Run(kind, func(t *testing.T) { bubble(t, func(t *testing.T) { f(t, kind) }) })
		}
	}
}

// disconnect closes the sockets of a uid.
func disconnect(ctx context.Context, o owner, uid string, code int, reason string) (int, error) {
	if r, is := o.(replicaOwner); is {
		return r.Disconnect(ctx, uid, code, reason)
	}
	return o.(objectOwner).Disconnect(uid, code, reason)
}

// whisper sends to the sockets of a uid.
func whisper(ctx context.Context, o owner, uid string, v any) (int, error) {
	if r, is := o.(replicaOwner); is {
		return r.Whisper(ctx, uid, v)
	}
	return o.(objectOwner).Whisper(uid, v)
}

// emit sends to all of the owner's own sockets.
func emit(o owner, v any) error {
	if r, is := o.(replicaOwner); is {
		return r.Emit(v)
	}
	return o.Broadcast(v)
}
