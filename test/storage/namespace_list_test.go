package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// listed is an object of a listing: its name, or its ID, and whether it is live
// and stored.
type listed struct {
	who          string
	live, stored bool
}

func list(t require.TestingT, o *parcels, options dog.ObjectListOptions) []listed {
	all := []listed{}
	for e, err := range o.List(context.Background(), options) {
		require.NoError(t, err)
		require.Equal(t, dog.KindObject, e.Kind)
		require.Equal(t, "parcel", e.Namespace)
		who := e.Name
		if who == "" {
			who = e.ID.String()
		} else {
			require.Equal(t, o.Named(who).ID(), e.ID)
		}
		all = append(all, listed{who, e.Live, e.Stored})
	}
	return all
}

func TestList_HasLiveAndStoredObjectsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		o := newParcels(t, "parcel", dog.Options{Store: fixture.StoreOf(engine), EvictAfter: time.Second})
		random := o.New()
		for _, stub := range []dog.Stub[parcel]{o.Named("stored"), o.Named("both"), random} {
			fill(t, stub, "x")
		}
		time.Sleep(time.Minute)
		starts := o.starts.Load()
		contentOf(t, o.Named("live"))
		contentOf(t, o.Named("both"))
		liveOnly := o.New()
		contentOf(t, liveOnly)
		o.Named("neither")

		unnamed := []listed{{random.ID().String(), false, true}, {liveOnly.ID().String(), true, false}}
		slices.SortFunc(unnamed, func(a, b listed) int { return strings.Compare(a.who, b.who) })
		require.Equal(t, append([]listed{
			{"both", true, true},
			{"live", true, false},
			{"stored", false, true},
		}, unnamed...), list(t, o, dog.ObjectListOptions{}))
		require.EqualValues(t, starts+3, o.starts.Load(), "the listing has started an object")
	})
}

func TestList_OfAllKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newParcels(
			t, "parcel", dog.Options{Store: fixture.StoreOf(fixture.PromptEngine()), EvictAfter: time.Second},
		)
		names := []string{
			" ",
			"a",
			"a ",
			"aa",
			"a\U0010ffff",
			"a\U0010ffffb",
			"b",
			"ba",
			"ä",
			"äb",
			"\U0010ffff",
			"\U0010ffff\U0010ffff",
			"z",
		}
		var stubs, all []dog.Stub[parcel]
		for _, name := range names {
			stubs = append(stubs, o.New())
			all = append(all, stubs[len(stubs)-1], o.Named(name))
		}
		for i, stub := range all {
			if i%3 != 0 { // the others are only live
				fill(t, stub, "x")
			}
		}
		time.Sleep(time.Minute)
		for i, stub := range all {
			if i%3 != 1 { // the others are only stored
				contentOf(t, stub)
			}
		}
		slices.Sort(names)
		slices.SortFunc(
			stubs, func(a, b dog.Stub[parcel]) int { return strings.Compare(a.ID().String(), b.ID().String()) },
		)

		check := func(options dog.ObjectListOptions) {
			want, got := []string{}, []string{}
			for _, name := range names {
				if options.AfterID.IsZero() && name > options.After && strings.HasPrefix(name, options.Prefix) {
					want = append(want, name)
				}
			}
			for _, stub := range stubs {
				id := stub.ID().String()
				if options.Prefix == "" && (options.AfterID.IsZero() || id > options.AfterID.String()) {
					want = append(want, id)
				}
			}
			if options.Limit > 0 {
				want = want[:min(options.Limit, len(want))]
			}
			for _, e := range list(t, o, options) {
				got = append(got, e.who)
			}
			require.Equal(t, want, got, "%+v", options)
		}
		for _, prefix := range []string{"", "a", "a\U0010ffff", "\U0010ffff", "a\xff", "\xf4", "nobody"} {
			for _, after := range append([]string{"", "aaa", "\xff\xff\xff"}, names...) {
				for _, id := range []dog.ID{{}, stubs[0].ID(), stubs[5].ID(), stubs[11].ID()} {
					for _, limit := range []int{0, 1, 13} {
						check(dog.ObjectListOptions{Prefix: prefix, After: after, AfterID: id, Limit: limit})
					}
				}
			}
		}
	})
}

func TestList_LongListIsReadByPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newParcels(
			t, "parcel", dog.Options{Store: fixture.StoreOf(fixture.PromptEngine()), EvictAfter: time.Second},
		)
		const n = 600 // of each kind, more than two pages that the store is asked for
		for i := range n {
			fill(t, o.Named(fmt.Sprintf("%04d", i)), "x")
			fill(t, o.New(), "x")
		}
		all := list(t, o, dog.ObjectListOptions{})
		require.Len(t, all, 2*n)
		time.Sleep(time.Minute)
		stored := list(t, o, dog.ObjectListOptions{})
		for i, e := range all {
			require.Equal(t, listed{e.who, true, true}, e)
			require.Equal(t, listed{e.who, false, true}, stored[i])
		}

		var paged []listed
		options := dog.ObjectListOptions{Limit: 100}
		for {
			got := 0
			for e, err := range o.List(t.Context(), options) {
				require.NoError(t, err)
				got++
				if options.After = e.Name; e.Name == "" {
					options.AfterID = e.ID
				}
				stub, err := o.ByID(e.ID)
				require.NoError(t, err)
				require.NoError(t, stub.Delete(t.Context()))
				paged = append(paged, stored[len(paged)])
			}
			if got == 0 {
				break
			}
		}
		require.Equal(t, stored, paged)
		time.Sleep(time.Minute)
		require.Empty(t, list(t, o, dog.ObjectListOptions{}))
	})
}

func TestList_ObjectThatIsKnownByItsIDFirstIsListedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newParcels(
			t, "parcel", dog.Options{Store: fixture.StoreOf(fixture.PromptEngine()), EvictAfter: time.Second},
		)
		byID, err := o.ByID(o.Named("a").ID())
		require.NoError(t, err)
		fill(t, byID, "x")
		require.Equal(t, []listed{{byID.ID().String(), true, true}}, list(t, o, dog.ObjectListOptions{}))
		time.Sleep(time.Minute)
		contentOf(t, o.Named("a"))
		require.Equal(t, []listed{{"a", true, true}}, list(t, o, dog.ObjectListOptions{}))
		fill(t, o.Named("a"), "y")
		time.Sleep(time.Minute)
		require.Equal(t, []listed{{"a", false, true}}, list(t, o, dog.ObjectListOptions{}))
	})
}

func TestList_ReplicasAreListedByTheirIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := &fixture.Hooks{Message: func(_ context.Context, r *fixture.Room, _ *dog.Socket, m dog.Message) error {
			return r.Storage().Put("key", []byte(m.String()))
		}}
		options := dog.Options{
			Store:       fixture.StoreOf(fixture.PromptEngine()),
			LingerFor:   time.Second,
			RetireAfter: time.Second,
		}
		h, rooms := newRoomsAndReplicas(t, options, on)
		clients := []*dogtest.Client{h.Enter("ada"), h.Enter("bob"), h.Enter("cy")} // on two replicas
		clients[0].Send("hello")
		count := func() (live, stored int) {
			last := dog.ID{}
			for e, err := range rooms.List(t.Context(), dog.ObjectListOptions{}) {
				require.NoError(t, err)
				require.Equal(t, dog.KindReplica, e.Kind)
				require.Greater(t, e.ID.String(), last.String())
				last = e.ID
				if e.Live {
					live++
				}
				if e.Stored {
					stored++
				}
			}
			return live, stored
		}
		fixture.Texts(clients[0])
		live, stored := count()
		require.Equal(t, []int{2, 1}, []int{live, stored})
		require.ElementsMatch(t, h.ReplicaIDs(), liveIDs(rooms))
		for _, c := range clients {
			c.Close(1000, "")
		}
		time.Sleep(time.Minute)
		live, stored = count()
		require.Equal(t, []int{0, 1}, []int{live, stored})
		require.Empty(t, liveIDs(rooms))
		for e, err := range h.Lobbies.List(t.Context(), dog.ObjectListOptions{}) {
			require.NoError(t, err)
			require.Equal(t, "main", e.Name)
			require.Equal(t, dog.KindGroup, e.Kind)
		}
	})
}

// liveIDs returns the IDs of the replicas in memory.
func liveIDs(rooms *dog.Replicas[fixture.Room]) (ids []dog.ID) {
	for o := range rooms.Objects() {
		ids = append(ids, o.ID)
	}
	return ids
}

func TestList_EndsWithItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newParcels(t, "parcel", dog.Options{})
		contentOf(t, o.Named("a"))
		ends := func(ctx context.Context, n *dog.Namespace[parcel], options dog.ObjectListOptions) (failed error) {
			for _, err := range n.List(ctx, options) {
				require.NoError(t, failed, "the error is not the last")
				failed = err
			}
			return failed
		}
		require.NoError(t, ends(t.Context(), o.Namespace, dog.ObjectListOptions{}))
		fixture.RequireUsage(t, ends(t.Context(), o.Namespace, dog.ObjectListOptions{Limit: -1}), "Limit is -1")
		fixture.RequireUsage(t, ends(t.Context(), nil, dog.ObjectListOptions{}), "not made by a runtime")
		cause := errors.New("cause")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		require.ErrorIs(t, ends(ctx, o.Namespace, dog.ObjectListOptions{}), cause)
		require.NoError(t, o.rt.Shutdown(t.Context()))
		require.ErrorIs(t, ends(t.Context(), o.Namespace, dog.ObjectListOptions{}), dog.ErrShutdown)
	})
}
