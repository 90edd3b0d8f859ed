package dog_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// Which replica a newcomer gets, whose place is held, and who gets past a lock.

// boat is a replica that its clients command.
type boat struct{ dog.Replica }

func (b *boat) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	switch m.String() {
	case "lock":
		return b.SetLocked(true)
	case "unlock":
		return b.SetLocked(false)
	case "store, lock and panic":
		if err := b.Storage().Put("locked", []byte("yes")); err != nil {
			return err
		}
		_ = b.SetLocked(true)
		panic("after the lock")
	case "abort":
		b.Abort(errors.New("as was said"))
	}
	return nil
}

// pier is the group of boats. A request for it locks the replica whose ID it has.
type pier struct{ dog.Group }

func (p *pier) Receive(w http.ResponseWriter, req *http.Request) error {
	var id dog.ID
	if err := id.UnmarshalText([]byte(req.FormValue("boat"))); err != nil {
		return err
	}
	return p.SetLocked(id, req.FormValue("locked") == "true")
}

// harbour is a runtime with one pier, and a server whose visitors board a boat.
type harbour struct {
	t    *testing.T
	rt   *dog.Runtime
	pier dog.GroupStub[pier, boat]
	srv  *dogtest.Server
}

func newHarbour(t *testing.T, options dog.Options, group dog.GroupOptions[pier]) *harbour {
	t.Helper()
	h := &harbour{t: t, rt: dogtest.New(t, options)}
	boats, err := dog.RegisterReplica[boat](h.rt, "boat", nil)
	require.NoError(t, err)
	piers, err := dog.RegisterGroup(h.rt, "pier", boats, &group)
	require.NoError(t, err)
	h.pier = piers.Named("north")
	h.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		at, err := h.pier.Identify(req.Context(), req.FormValue("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		at.ServeHTTP(w, req)
	}))
	return h
}

func (h *harbour) board(uid string) *dogtest.Client {
	h.t.Helper()
	c := h.srv.Dial("/?u=" + uid)
	synctest.Wait()
	return c
}

// leave ends a connection and waits until its place is no longer used.
func (h *harbour) leave(c *dogtest.Client) {
	h.t.Helper()
	c.Close(1000, "")
	synctest.Wait()
}

// send sends a command and waits until it has been obeyed.
func (h *harbour) send(c *dogtest.Client, command string) {
	h.t.Helper()
	c.Send(command)
	synctest.Wait()
}

func (h *harbour) stats() []dog.ReplicaStats { return slices.Collect(h.pier.Replicas()) }

func (h *harbour) loads() []int {
	loads := []int{}
	for _, r := range h.stats() {
		loads = append(loads, r.Load)
	}
	return loads
}

// where returns the replica that Identify picks, without keeping the place.
func (h *harbour) where(uid string) dog.ID {
	h.t.Helper()
	at, err := h.pier.Identify(context.Background(), uid)
	require.NoError(h.t, err)
	at.Release()
	return at.ID()
}

func (h *harbour) refused(uid string) {
	h.t.Helper()
	_, err := h.pier.Identify(context.Background(), uid)
	require.ErrorIs(h.t, err, dog.ErrGroupFull)
}

func TestNewcomersGetReplicasInTheOrderOfTheGroup(t *testing.T) {
	for _, c := range []struct {
		name  string
		order dog.Order
		loads [][]int // after each newcomer
	}{
		{"least loaded", dog.LeastLoaded, [][]int{{1, 3}, {2, 3}, {3, 3}}},
		{"fullest first", dog.FullestFirst, [][]int{{0, 4}, {1, 4}, {2, 4}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 4, MaxReplicas: 2, Order: c.order})
				identify := func(uid string) dog.Stub[boat] {
					at, err := h.pier.Identify(context.Background(), uid)
					require.NoError(t, err)
					return at
				}
				var places []dog.Stub[boat]
				for _, uid := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
					places = append(places, identify(uid))
				}
				require.Equal(t, []int{4, 4}, h.loads(), "a new one only when there is no room")
				for _, p := range []int{0, 1, 2, 3, 4} {
					places[p].Release()
				}
				require.Equal(t, []int{0, 3}, h.loads())
				for i, uid := range []string{"x", "y", "z"} {
					identify(uid)
					require.Equal(t, c.loads[i], h.loads())
				}
			})
		})
	}
}

func TestAKnownUIDGoesWhereItIsWhateverTheOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 3, Order: dog.FullestFirst})
		ada, bob := h.board("ada"), h.board("bob")
		h.board("cyd")
		h.board("dan") // on the second
		h.board("eve")
		h.leave(ada)
		h.leave(bob)
		require.Equal(t, []int{1, 2}, h.loads())
		first, second := h.stats()[0].ID, h.stats()[1].ID
		require.Equal(t, second, h.where("fay"))
		require.Equal(t, first, h.where("cyd"), "has a socket there")
		require.Equal(t, first, h.where("ada"), "lingers there")
	})
}

func TestAGroupSaysHowLongUIDsLinger(t *testing.T) {
	for _, c := range []struct {
		name           string
		options, group time.Duration
		want           time.Duration
	}{
		{"as the runtime says", 20 * time.Second, 0, 20 * time.Second},
		{"by default", 0, 0, 30 * time.Second},
		{"longer", 20 * time.Second, 5 * time.Minute, 5 * time.Minute},
		{"shorter", 20 * time.Second, time.Second, time.Second},
		{"not at all", 20 * time.Second, -1, 0},
		{"though others do not", -1, time.Minute, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHarbour(t, dog.Options{LingerFor: c.options}, dog.GroupOptions[pier]{Limit: 3, LingerFor: c.group})
				ada := h.board("ada")
				for _, uid := range []string{"bob", "cyd", "dan"} {
					h.board(uid)
				}
				h.leave(ada)
				require.Equal(t, []int{2, 1}, h.loads())
				first, second := h.stats()[0].ID, h.stats()[1].ID
				if c.want > 0 {
					time.Sleep(c.want - 1)
					require.Equal(t, first, h.where("ada"))
					time.Sleep(time.Nanosecond)
				}
				require.Equal(t, second, h.where("ada"))
			})
		})
	}
}

func TestAHeldPlaceIsItsUIDs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 2, MaxReplicas: 1, HoldPlaces: true})
		ada, bob := h.board("ada"), h.board("bob")
		h.leave(ada)
		h.leave(bob)
		require.Equal(t, []int{2}, h.loads())
		require.Equal(t, 2, h.stats()[0].Held)
		h.refused("cyd")

		ada = h.board("ada")
		require.Equal(t, []int{2}, h.loads())
		require.Equal(t, 1, h.stats()[0].Held)
		h.refused("cyd")
		h.where("bob") // takes the place, and gives it back
		time.Sleep(30*time.Second - 1)
		h.refused("cyd")
		time.Sleep(time.Nanosecond)
		h.board("cyd")
		h.refused("bob")
		require.Zero(t, h.stats()[0].Held)
		h.leave(ada)
		require.Equal(t, 1, h.stats()[0].Held)
		require.Equal(t, 1, h.rt.Stats().Groups[0].Lingering)
	})
}

func TestWithoutHeldPlacesOnlyThePreferenceLingers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 1, MaxReplicas: 1})
		h.leave(h.board("ada"))
		require.Equal(t, []int{0}, h.loads())
		h.board("bob")
		h.refused("ada")
	})
}

// A uid with several connections has one place held: that of the last.
func TestOnePlaceIsHeldForAUID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 2, MaxReplicas: 1, HoldPlaces: true})
		one, two := h.board("ada"), h.board("ada")
		h.leave(one)
		require.Equal(t, 0, h.stats()[0].Held, "it is connected")
		require.Equal(t, []int{1}, h.loads())
		h.leave(two)
		require.Equal(t, 1, h.stats()[0].Held)
		h.board("bob")
		h.board("ada")
		h.refused("ada")
	})
}

// A second replica is made for newcomers while the places of the first are held.
func TestNewcomersGetAReplicaBesideHeldPlaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 1, HoldPlaces: true})
		ada := h.board("ada")
		first := h.stats()[0].ID
		h.leave(ada)
		h.board("bob")
		require.Equal(t, []int{1, 1}, h.loads())
		require.Equal(t, first, h.where("ada"))
		require.NoError(t, h.pier.Drain(context.Background(), first))
		require.Equal(t, 0, h.stats()[0].Held, "nobody returns to a draining replica")
		require.NotEqual(t, first, h.where("ada"))
	})
}

func TestAReplicaWithHeldPlacesStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{LingerFor: time.Second, RetireAfter: 10 * time.Second},
			dog.GroupOptions[pier]{Limit: 2, HoldPlaces: true, LingerFor: time.Hour})
		h.leave(h.board("ada"))
		time.Sleep(time.Hour - 1)
		require.Equal(t, []int{1}, h.loads())
		time.Sleep(5 * time.Second)
		require.Equal(t, []int{0}, h.loads())
		time.Sleep(10 * time.Second)
		require.Empty(t, h.loads())
	})
}

func TestWrongPlacesOfAGroupAreRefusedAtRegistration(t *testing.T) {
	for _, c := range []struct {
		name    string
		options dog.Options
		group   dog.GroupOptions[pier]
		problem string
	}{
		{"order", dog.Options{}, dog.GroupOptions[pier]{Limit: 1, Order: 2}, "GroupOptions.Order is 2"},
		{"negative order", dog.Options{}, dog.GroupOptions[pier]{Limit: 1, Order: -1}, "GroupOptions.Order is -1"},
		{
			"hold without a linger of the runtime", dog.Options{LingerFor: -1},
			dog.GroupOptions[pier]{Limit: 1, HoldPlaces: true}, "HoldPlaces needs a LingerFor above 0",
		},
		{
			"hold without a linger of the group", dog.Options{},
			dog.GroupOptions[pier]{Limit: 1, HoldPlaces: true, LingerFor: -1}, "HoldPlaces needs a LingerFor above 0",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := dogtest.New(t, c.options)
			boats, err := dog.RegisterReplica[boat](rt, "boat", nil)
			require.NoError(t, err)
			_, err = dog.RegisterGroup(rt, "pier", boats, &c.group)
			require.ErrorAs(t, err, new(*dog.RegistrationError))
			require.ErrorContains(t, err, c.problem)
		})
	}
}

// lockWays are the ways to lock the replica on which a client is.
var lockWays = []struct {
	name string
	lock func(h *harbour, c *dogtest.Client, id dog.ID, locked bool)
}{
	{"by the replica", func(h *harbour, c *dogtest.Client, _ dog.ID, locked bool) {
		if locked {
			h.send(c, "lock")
		} else {
			h.send(c, "unlock")
		}
	}},
	{"by the group", func(h *harbour, _ *dogtest.Client, id dog.ID, locked bool) {
		path := "/?locked=false&boat=" + id.String()
		if locked {
			path = "/?locked=true&boat=" + id.String()
		}
		status, _ := dogtest.Serve(h.t, h.pier).Get(path)
		require.Equal(h.t, http.StatusOK, status)
	}},
	{"by the group's stub", func(h *harbour, _ *dogtest.Client, id dog.ID, locked bool) {
		require.NoError(h.t, h.pier.SetLocked(context.Background(), id, locked))
	}},
}

func TestALockedReplicaTakesOnlyWhomItKnows(t *testing.T) {
	for _, way := range lockWays {
		for _, hold := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, hold %t", way.name, hold), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 4, MaxReplicas: 2, HoldPlaces: hold})
					ada, bob := h.board("ada"), h.board("bob")
					reserved, err := h.pier.Identify(context.Background(), "cyd")
					require.NoError(t, err)
					first := h.stats()[0].ID
					way.lock(h, ada, first, true)
					require.True(t, h.stats()[0].Locked)

					h.leave(bob)
					require.NotEqual(t, first, h.where("dan"), "a newcomer gets a new replica")
					require.Equal(t, first, h.where("ada"), "has a socket there")
					require.Equal(t, first, h.where("bob"), "was there a moment ago")
					require.Equal(t, first, h.where("cyd"), "has a place reserved there")
					second := h.stats()[1]
					require.False(t, second.Locked)
					require.NoError(t, h.pier.SetLocked(context.Background(), second.ID, true))
					h.refused("dan")

					reserved.Release()
					h.refused("cyd")
					time.Sleep(30 * time.Second)
					h.refused("bob")
					way.lock(h, ada, first, false)
					require.False(t, h.stats()[0].Locked)
					require.Equal(t, first, h.where("dan"))
				})
			})
		}
	}
}

// A stub that Identify returned before is no way round the lock.
func TestAFurtherRequestDoesNotPassALock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 4})
		ada, err := h.pier.Identify(context.Background(), "ada")
		require.NoError(t, err)
		bob, err := h.pier.Identify(context.Background(), "bob")
		require.NoError(t, err)
		dogtest.Serve(t, ada).Dial("/")
		bob.Release()
		require.NoError(t, h.pier.SetLocked(context.Background(), bob.ID(), true))
		_, answer, err := dogtest.Serve(t, bob).TryDial("/", dogtest.DialOptions{})
		require.Error(t, err)
		require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		dogtest.Serve(t, ada).Dial("/")
	})
}

func TestALockStaysOverAResetAndEndsWithTheReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{LingerFor: -1}, dog.GroupOptions[pier]{Limit: 4, MaxReplicas: 1})
		ada := h.board("ada")
		id := h.stats()[0].ID
		h.send(ada, "lock")
		h.send(ada, "abort")
		require.Equal(t, []int{0}, h.loads())
		require.True(t, h.stats()[0].Locked)
		h.refused("bob")
		time.Sleep(62 * time.Second)
		require.Empty(t, h.loads())
		require.NotEqual(t, id, h.where("bob"))
		require.False(t, h.stats()[0].Locked)
		require.ErrorIs(t, h.pier.SetLocked(context.Background(), id, true), dog.ErrReplicaGone)
	})
}

func TestALockThatDependsOnALostWriteIsLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 4})
		h.send(h.board("ada"), "store, lock and panic")
		require.False(t, h.stats()[0].Locked)
	})
}

func TestSetLockedAnswersForWhatIsNotThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarbour(t, dog.Options{}, dog.GroupOptions[pier]{Limit: 4})
		require.ErrorIs(t, h.pier.SetLocked(context.Background(), dog.ID{}, true), dog.ErrReplicaGone)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, h.pier.SetLocked(ctx, dog.ID{}, true), context.Canceled)
		requireUsage(t, dog.GroupStub[pier, boat]{}.SetLocked(context.Background(), dog.ID{}, true), "not made by a runtime")
		requireUsage(t, new(pier).SetLocked(dog.ID{}, true), "not made by a runtime")
		requireUsage(t, new(boat).SetLocked(true), "not made by a runtime")
	})
}
