package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

var errRefusing = errors.New("the handler refuses")

// refusing is the kind of handler that stores something and then fails. The
// others do nothing.
type refusing dog.EventKind

func (r *refusing) run(kind dog.EventKind, s *dog.Storage) error {
	if dog.EventKind(*r) != kind {
		return nil
	}
	if err := dog.Put(s, "written", true); err != nil {
		return err
	}
	return errRefusing
}

// written reports whether an object has kept what its handler stored.
func written(s *dog.Storage) (bool, error) {
	_, found, err := dog.Get[bool](s, "written")
	return found, err
}

// refuser is an object, usher a group and guest a replica with every handler
// that its kind can have.
type refuser struct {
	dog.Object
	r *refusing
}

func (o *refuser) Receive(w http.ResponseWriter, req *http.Request) error {
	if err := o.r.run(dog.EventReceive, o.Storage()); err != nil {
		return err
	}
	_, err := o.Connect(w, req, nil)
	return err
}

func (o *refuser) OnOpen(context.Context, *dog.Socket) error {
	return o.r.run(dog.EventOpen, o.Storage())
}

func (o *refuser) OnMessage(context.Context, *dog.Socket, dog.Message) error {
	return o.r.run(dog.EventMessage, o.Storage())
}

func (o *refuser) OnError(context.Context, *dog.Socket, error) error {
	return o.r.run(dog.EventError, o.Storage())
}

func (o *refuser) OnClose(context.Context, *dog.Socket, int, string) error {
	return o.r.run(dog.EventClose, o.Storage())
}

func (o *refuser) OnAlarm(context.Context, dog.Alarm) error {
	return o.r.run(dog.EventAlarm, o.Storage())
}

func (o *refuser) OnStop(context.Context, dog.StopReason) error {
	return o.r.run(dog.EventStop, o.Storage())
}

func (o *refuser) OnPresence(context.Context, dog.PresenceChange) error {
	return o.r.run(dog.EventPresence, o.Storage())
}

func (o *refuser) Do(ctx context.Context, f func(ctx context.Context, o *refuser) error) error {
	return f(ctx, o)
}

func (o *refuser) Written(context.Context) (bool, error) { return written(o.Storage()) }

type usher struct {
	dog.Group
	r *refusing
}

func (g *usher) Identify(*http.Request) (string, error) {
	return "ada", g.r.run(dog.EventIdentify, g.Storage())
}

func (g *usher) Clusterize(context.Context, string) (string, error) {
	return "r", g.r.run(dog.EventClusterize, g.Storage())
}

func (g *usher) Written(context.Context) (bool, error) { return written(g.Storage()) }

type guest struct {
	dog.Replica
	r *refusing
}

func (p *guest) OnGossip(context.Context, dog.Message) (any, error) {
	return nil, p.r.run(dog.EventGossip, p.Storage())
}

func (p *guest) Written(context.Context) (bool, error) { return written(p.Storage()) }

// refusals are an object and a group with handlers that refuse.
type refusals struct {
	t      *testing.T
	object dog.Stub[refuser]
	group  dog.GroupStub[usher, guest]
	srv    *dogtest.Server // of the object
	ada    *dogtest.Server // of the object, for a uid
	gate   *dogtest.Server // of the group
}

func newRefusals(t *testing.T, kind dog.EventKind, rollback bool) *refusals {
	t.Helper()
	r := refusing(kind)
	rt := dogtest.New(t, dog.Options{Logger: slog.New(slog.DiscardHandler)})
	objects, err := dog.RegisterObject(rt, "refuser", &dog.ObjectOptions[refuser]{
		New: func() *refuser { return &refuser{r: &r} }, RollbackOnError: rollback,
		Presence: dog.Presence{Grace: time.Second},
	})
	require.NoError(t, err)
	guests, err := dog.RegisterReplica(rt, "guest", &dog.ReplicaOptions[guest]{
		New: func() *guest { return &guest{r: &r} }, RollbackOnError: rollback,
	})
	require.NoError(t, err)
	ushers, err := dog.RegisterGroup(rt, "usher", guests, &dog.GroupOptions[usher]{
		New: func() *usher { return &usher{r: &r} }, Limit: 1, RollbackOnError: rollback,
	})
	require.NoError(t, err)
	rt.Start()
	f := &refusals{t: t, object: objects.Named("a"), group: ushers.Named("main")}
	f.srv, f.gate = dogtest.Serve(t, f.object), dogtest.Serve(t, f.group)
	f.ada = dogtest.Serve(t, f.object.WithUID("ada"))
	return f
}

// do runs f in a turn of the object.
func (f *refusals) do(work func(ctx context.Context, o *refuser) error) error {
	return dog.CallErr(f.t.Context(), f.object, (*refuser).Do, work)
}

// objectWrote reports whether the object has kept what its handler stored,
// groupWrote the same of the group.
func (f *refusals) objectWrote() (bool, error) {
	synctest.Wait()
	return dog.Call0(f.t.Context(), f.object, (*refuser).Written)
}

func (f *refusals) groupWrote() (bool, error) {
	return dog.Call0(f.t.Context(), f.group.Stub, (*usher).Written)
}

// refusedHandlers cause an event of each kind whose handler can return an
// error, and return whether its writes have been kept.
var refusedHandlers = map[dog.EventKind]func(f *refusals) (kept bool, err error){
	dog.EventReceive: func(f *refusals) (bool, error) {
		status, _ := f.srv.Get("/")
		require.Equal(f.t, http.StatusInternalServerError, status)
		return f.objectWrote()
	},
	dog.EventOpen: func(f *refusals) (bool, error) {
		f.srv.Dial("/").Closed()
		return f.objectWrote()
	},
	dog.EventMessage: func(f *refusals) (bool, error) {
		f.srv.Dial("/").Send("hello")
		return f.objectWrote()
	},
	dog.EventError: func(f *refusals) (bool, error) {
		f.srv.Dial("/").Vanish()
		return f.objectWrote()
	},
	dog.EventClose: func(f *refusals) (bool, error) {
		f.srv.Dial("/").Close(1000, "")
		return f.objectWrote()
	},
	dog.EventPresence: func(f *refusals) (bool, error) {
		f.ada.Dial("/")
		time.Sleep(time.Second)
		return f.objectWrote()
	},
	dog.EventCall: func(f *refusals) (bool, error) {
		require.ErrorIs(f.t, f.do(func(_ context.Context, o *refuser) error {
			return o.r.run(dog.EventCall, o.Storage())
		}), errRefusing)
		return f.objectWrote()
	},
	dog.EventGo: func(f *refusals) (bool, error) {
		require.NoError(f.t, f.do(func(ctx context.Context, o *refuser) error {
			return dog.Go(ctx, func(context.Context) error { return o.r.run(dog.EventGo, o.Storage()) })
		}))
		return f.objectWrote()
	},
	dog.EventTimer: func(f *refusals) (bool, error) {
		require.NoError(f.t, f.do(func(_ context.Context, o *refuser) error {
			o.After(time.Second, func(context.Context) error { return o.r.run(dog.EventTimer, o.Storage()) })
			return nil
		}))
		time.Sleep(2 * time.Second)
		return f.objectWrote()
	},
	dog.EventAlarm: func(f *refusals) (bool, error) {
		require.NoError(f.t, f.do(func(_ context.Context, o *refuser) error {
			return o.Storage().Alarms().Set(time.Now().Add(time.Second))
		}))
		time.Sleep(1500 * time.Millisecond)
		return f.objectWrote()
	},
	dog.EventStop: func(f *refusals) (bool, error) {
		require.NoError(f.t, f.do(func(context.Context, *refuser) error { return nil }))
		time.Sleep(5 * time.Minute)
		return f.objectWrote()
	},
	dog.EventIdentify: func(f *refusals) (bool, error) {
		status, body := f.gate.Get("/")
		require.Equal(f.t, http.StatusForbidden, status)
		require.Equal(f.t, "Forbidden\n", body)
		return f.groupWrote()
	},
	dog.EventClusterize: func(f *refusals) (bool, error) {
		_, err := f.group.Identify(f.t.Context(), "ada")
		require.ErrorIs(f.t, err, errRefusing)
		return f.groupWrote()
	},
	dog.EventGossip: func(f *refusals) (bool, error) {
		stub, err := f.group.Identify(f.t.Context(), "ada")
		require.NoError(f.t, err)
		replies, err := f.group.Gossip(f.t.Context(), "question")
		require.NoError(f.t, err)
		require.Len(f.t, replies, 1)
		require.ErrorIs(f.t, replies[0].Err, errRefusing)
		return dog.Call0(f.t.Context(), stub, (*guest).Written)
	},
}

// withoutRefusal are the kinds of events whose errors are not those of a
// handler that goes on.
var withoutRefusal = map[dog.EventKind]string{
	dog.EventStart: "an error resets the object, which undoes the writes in any case",
	dog.EventAdmin: "the library's own work",
}

func TestRollbackOnError_UndoesWritesOfAnyHandler(t *testing.T) {
	for kind := dog.EventStart; kind <= dog.EventAdmin; kind++ {
		cause, refuses := refusedHandlers[kind]
		require.True(t, refuses != (withoutRefusal[kind] != ""), "%v is in exactly one table", kind)
		for _, rollback := range []bool{false, true} {
			if !refuses {
				continue
			}
			t.Run(fmt.Sprint(kind, "/RollbackOnError: ", rollback), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					kept, err := cause(newRefusals(t, kind, rollback))
					require.NoError(t, err)
					require.Equal(t, !rollback, kept)
				})
			})
		}
	}
}

func TestRollbackOnError_GatewayRefusalIsLoggedAndTraced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rollback := range []bool{false, true} {
			options, log := fixture.LogToBuffer()
			var ended []dog.EventInfo
			options.Trace = &dog.Trace{EventDone: func(_ context.Context, e dog.EventInfo) { ended = append(ended, e) }}
			rt := dogtest.New(t, options)
			r := refusing(dog.EventIdentify)
			guests, err := dog.RegisterReplica[guest](rt, "guest", nil)
			require.NoError(t, err)
			ushers, err := dog.RegisterGroup(rt, "usher", guests, &dog.GroupOptions[usher]{
				New: func() *usher { return &usher{r: &r} }, Limit: 1, RollbackOnError: rollback,
			})
			require.NoError(t, err)
			status, _ := dogtest.Serve(t, ushers.Named("main")).Get("/")
			require.Equal(t, http.StatusForbidden, status)
			require.Contains(t, log.String(), "request refused by the gateway")
			require.Contains(t, log.String(), `error="`+errRefusing.Error()+`"`)
			require.NotContains(t, log.String(), "level=ERROR")
			synctest.Wait()
			require.Equal(t, dog.EventIdentify, ended[len(ended)-1].Kind)
			require.ErrorIs(t, ended[len(ended)-1].Err, errRefusing)
		}
	})
}
