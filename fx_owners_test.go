package dog_test

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/stretchr/testify/require"
)

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
		t.Run(kind, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, kind) }) })
	}
}

// overReceivers is overOwners for the kinds that have Receive and OnError.
func overReceivers(t *testing.T, f func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range ownerKinds {
		if hasReceive(kind) {
			t.Run(kind, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, kind) }) })
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

// onlyLive returns the one object with sockets that there is.
func onlyLive(t *testing.T, v *venue) (found dog.LiveObject) {
	t.Helper()
	n := 0
	for o := range v.rt.Objects() {
		if o.Kind != dog.KindGroup {
			found = o
			n++
		}
	}
	require.Equal(t, 1, n)
	return found
}
