package storage_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// parcel is a plain object that keeps one value and can have an alarm. It
// counts its starts and alarms.
type parcel struct {
	dog.Object
	starts, alarms *atomic.Int32
}

func (p *parcel) OnStart(context.Context) error {
	p.starts.Add(1)
	return nil
}

func (p *parcel) OnAlarm(context.Context, dog.Alarm) error {
	p.alarms.Add(1)
	return nil
}

func (p *parcel) Fill(_ context.Context, with string) error {
	return p.Storage().Put("content", []byte(with))
}

func (p *parcel) Content(context.Context) (string, error) {
	content, _, err := p.Storage().Get("content")
	return string(content), err
}

func (p *parcel) WakeIn(_ context.Context, after time.Duration) error {
	return p.Storage().Alarms().Set(time.Now().Add(after))
}

// Do runs a function in a turn.
func (p *parcel) Do(ctx context.Context, f func(context.Context, *parcel) error) error {
	return f(ctx, p)
}

// parcels is a runtime with objects of the type parcel.
type parcels struct {
	*dog.Namespace[parcel]
	rt             *dog.Runtime
	starts, alarms atomic.Int32
}

func newParcels(t testing.TB, name string, options dog.Options) *parcels {
	t.Helper()
	d := addParcels(t, dogtest.New(t, options), name)
	d.rt.Start()
	return d
}

// addParcels registers the type parcel with a runtime that has not started.
func addParcels(t testing.TB, rt *dog.Runtime, name string) *parcels {
	t.Helper()
	d := &parcels{rt: rt}
	var err error
	d.Namespace, err = dog.RegisterObject(
		d.rt, name,
		&dog.ObjectOptions[parcel]{New: func() *parcel { return &parcel{starts: &d.starts, alarms: &d.alarms} }},
	)
	require.NoError(t, err)
	return d
}

func fill(t testing.TB, to dog.Stub[parcel], with string) {
	t.Helper()
	require.NoError(t, dog.CallErr(t.Context(), to, (*parcel).Fill, with))
}

func contentOf(t testing.TB, of dog.Stub[parcel]) string {
	t.Helper()
	content, err := dog.Call0(t.Context(), of, (*parcel).Content)
	require.NoError(t, err)
	return content
}

// keysLeft returns how many keys a store has of objects.
func keysLeft(t testing.TB, engine store.Engine) int {
	t.Helper()
	n := 0
	for pair, err := range engine.Scan([]byte("a"), nil, false) {
		require.NoError(t, err)
		if pair.Key[0] != 'n' && pair.Key[0] != 'g' { // a namespace, or a migration
			n++
		}
	}
	return n
}

func TestDelete_LeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		d := newParcels(t, "parcel", dog.Options{Store: fixture.StoreOf(engine)})
		for _, stub := range []dog.Stub[parcel]{d.Named("a"), d.New()} {
			fill(t, stub, "x")
			require.NoError(t, dog.CallErr(t.Context(), stub, (*parcel).WakeIn, time.Minute))
			require.NotZero(t, keysLeft(t, engine))

			require.NoError(t, stub.Delete(t.Context()))
			require.Zero(t, keysLeft(t, engine))
			require.NoError(t, stub.Delete(t.Context()), "again")
			require.Empty(t, contentOf(t, stub))
		}
		time.Sleep(2 * time.Minute)
		require.Zero(t, d.alarms.Load())
	})
}

func TestDelete_StartsNoObjectAndDropsALiveOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newParcels(t, "parcel", dog.Options{EvictAfter: time.Second})
		fill(t, d.Named("a"), "x")
		require.EqualValues(t, 1, d.starts.Load())
		require.NoError(t, d.Named("a").Delete(t.Context()))
		require.EqualValues(t, 1, d.starts.Load())
		fill(t, d.Named("a"), "y")
		require.EqualValues(t, 2, d.starts.Load(), "the one that was deleted goes on")

		time.Sleep(time.Minute)
		require.NoError(t, d.Named("a").Delete(t.Context()))
		require.EqualValues(t, 2, d.starts.Load())
		require.Empty(t, contentOf(t, d.Named("a")))
	})
}

func TestDelete_RunningCallsFailWithErrDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newParcels(t, "parcel", dog.Options{})
		outcome := make(chan error, 1)
		go func() {
			late := func(ctx context.Context, p *parcel) error {
				return dog.Await(ctx, func() error {
					<-ctx.Done()
					return p.Storage().Put("content", nil)
				})
			}
			outcome <- dog.CallErr(context.Background(), d.Named("a"), (*parcel).Do, late)
		}()
		synctest.Wait()
		require.NoError(t, d.Named("a").Delete(t.Context()))
		err := <-outcome
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorIs(t, err, dog.ErrDeleted)
	})
}

func TestDelete_TakesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newParcels(t, "parcel", dog.Options{})
		var order []string
		note := func(what string, took time.Duration) {
			go func() {
				_ = dog.CallErr(
					context.Background(), d.Named("a"), (*parcel).Do,
					func(_ context.Context, p *parcel) error {
						time.Sleep(took)
						content, _, err := p.Storage().Get("content")
						require.NoError(t, err)
						order = append(order, what+string(content))
						return p.Storage().Put("content", []byte("!"))
					},
				)
			}()
			synctest.Wait()
		}
		note("before", time.Second)
		note("before too", 0)
		go func() { _ = d.Named("a").Delete(context.Background()) }()
		synctest.Wait()
		note("after", 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"before", "before too!", "after"}, order)
	})
}

func TestDelete_ReturnsWhenDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		fill(t, newParcels(t, "parcel", dog.Options{Store: fixture.StoreOf(engine)}).Named("a"), "x")

		slow := storetest.New()
		slow.Engine = engine.Engine
		d := newParcels(t, "parcel", dog.Options{Store: fixture.StoreOf(slow)})
		outcome := make(chan error, 1)
		remove := func(ctx context.Context) {
			go func() { outcome <- d.Named("a").Delete(ctx) }()
			synctest.Wait()
			require.Empty(t, outcome)
		}
		remove(t.Context())
		slow.Flush()
		require.NoError(t, <-outcome)

		ctx, cancel := context.WithCancel(t.Context())
		remove(ctx)
		cancel()
		require.ErrorIs(t, <-outcome, context.Canceled)
		slow.Flush()

		lost := errors.New("lost")
		remove(t.Context())
		slow.Fail(lost)
		err := <-outcome
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorIs(t, err, lost)
	})
}

func TestDelete_RefusedByTheStoreChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		d := newParcels(t, "parcel", dog.Options{Store: fixture.StoreOf(engine)})
		fill(t, d.Named("a"), "x")
		engine.Refuse(dog.ErrStoreFull)
		require.ErrorIs(t, d.Named("a").Delete(t.Context()), dog.ErrStoreFull)
		engine.Refuse(nil)
		require.Equal(t, "x", contentOf(t, d.Named("a")))
	})
}

func TestDelete_ObjectDeletesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newParcels(t, "parcel", dog.Options{})
		fill(t, d.Named("b"), "x")
		run := func(f func(ctx context.Context, p *parcel) error) error {
			return dog.CallErr(t.Context(), d.Named("a"), (*parcel).Do, f)
		}
		require.NoError(t, run(func(ctx context.Context, _ *parcel) error { return d.Named("b").Delete(ctx) }))
		require.Empty(t, contentOf(t, d.Named("b")))

		require.ErrorIs(t, run(func(ctx context.Context, p *parcel) error {
			return p.Storage().Transaction(func() error { return d.Named("b").Delete(ctx) })
		}), dog.ErrInTransaction)
	})
}

func TestDelete_ObjectThatDeletesItselfIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newParcels(t, "parcel", dog.Options{})
		fill(t, d.Named("a"), "x")
		var inside error
		err := dog.CallErr(t.Context(), d.Named("a"), (*parcel).Do, func(ctx context.Context, _ *parcel) error {
			inside = d.Named("a").Delete(ctx)
			return nil
		})
		require.ErrorIs(t, err, dog.ErrDeleted)
		require.ErrorIs(t, inside, dog.ErrReset)
		require.Empty(t, contentOf(t, d.Named("a")))

		err = dog.CallErr(t.Context(), d.Named("a"), (*parcel).Do, func(ctx context.Context, _ *parcel) error {
			return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error { return d.Named("a").Delete(ctx) })
		})
		require.ErrorIs(t, err, dog.ErrDeadlock)
	})
}

// newRoomsAndReplicas is fixture.NewRoomsWith for tests that need the namespace
// of the rooms.
func newRoomsAndReplicas(
	t testing.TB, options dog.Options, on *fixture.Hooks,
) (*fixture.Rooms, *dog.Replicas[fixture.Room]) {
	t.Helper()
	h := &fixture.Rooms{Runtime: dogtest.New(t, options)}
	var err error
	rooms, err := dog.RegisterReplica(
		h.Runtime, "room",
		&dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: on} }},
	)
	require.NoError(t, err)
	h.Lobbies, err = dog.RegisterGroup(
		h.Runtime, "lobby", rooms,
		&dog.GroupOptions[fixture.Lobby]{New: func() *fixture.Lobby { return &fixture.Lobby{On: on} }, Limit: 2},
	)
	require.NoError(t, err)
	h.Group = h.Lobbies.Named("main")
	h.Server = dogtest.Serve(t, h)
	return h, rooms
}

func TestDelete_ReplicaInMemoryOrStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		on := &fixture.Hooks{Message: func(_ context.Context, r *fixture.Room, _ *dog.Socket, m dog.Message) error {
			return r.Storage().Put("key", []byte(m.String()))
		}}
		options := dog.Options{Store: fixture.StoreOf(engine), LingerFor: time.Second, RetireAfter: time.Second}
		h, rooms := newRoomsAndReplicas(t, options, on)
		stub := func() dog.Stub[fixture.Room] {
			for entry, err := range rooms.List(t.Context(), dog.ObjectListOptions{}) {
				require.NoError(t, err)
				stub, err := rooms.ByID(entry.ID)
				require.NoError(t, err)
				return stub
			}
			return dog.Stub[fixture.Room]{}
		}
		send := func() *dogtest.Client {
			c := h.Enter("ada")
			c.Send("hello")
			synctest.Wait()
			require.NotZero(t, keysLeft(t, engine))
			return c
		}

		c := send()
		require.NoError(t, stub().Delete(t.Context()))
		require.Zero(t, keysLeft(t, engine))
		code, _ := c.Closed()
		require.Equal(t, 1011, code)

		send().Close(1000, "")
		time.Sleep(time.Minute)
		require.Empty(t, h.Loads(), "the replica is in memory")
		gone := stub()
		require.NoError(t, gone.Delete(t.Context()))
		require.Zero(t, keysLeft(t, engine))
		time.Sleep(time.Minute)
		require.ErrorIs(t, gone.Delete(t.Context()), dog.ErrReplicaGone)
	})
}

func TestDelete_AfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newParcels(t, "parcel", dog.Options{})
		require.NoError(t, d.rt.Shutdown(t.Context()))
		require.ErrorIs(t, d.Named("a").Delete(t.Context()), dog.ErrShutdown)
		fixture.RequireUsage(t, dog.Stub[parcel]{}.Delete(t.Context()), "not made by a runtime")
	})
}
