package presence_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// inMemory returns the kinds of the objects in memory, with those that sleep in
// brackets.
func (c *crowd) inMemory() (kinds []string) {
	synctest.Wait()
	for o := range c.rt.Objects() {
		kind := o.Kind.String()
		if o.Hibernated {
			kind = "(" + kind + ")"
		}
		if o.Kind != dog.KindReplica {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

var shortTimes = dog.Options{
	EvictAfter: time.Second, HibernateAfter: time.Second, RetireAfter: time.Second, LingerFor: -1,
}

func TestPresence_AnObjectStaysInMemoryUntilAllIsTold(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{Options: shortTimes, presence: dog.Presence{Grace: time.Hour}})
		var failing atomic.Bool
		c.on = func(context.Context, dog.PresenceChange) error {
			if failing.Load() {
				return errNotNow
			}
			return nil
		}
		ada := c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		failing.Store(true)
		leave(ada)
		require.Empty(t, c.took(time.Hour))
		require.Len(t, c.inMemory(), 1, "it waits for the grace and the batch")
		c.took(10 * time.Minute)
		require.Len(t, c.inMemory(), 1, "it waits until the change is handled")
		failing.Store(false)
		require.Equal(t, []string{"-ada (0)"}, c.took(time.Minute))
		fixture.Elapse(10 * time.Second)
		require.Empty(t, c.inMemory())
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
	})
}

func TestPresence_AHibernatingObjectWakesForChanges(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{Options: shortTimes, hibernate: true})
		asleep := []string{"(" + map[string]string{"an object": "Object", "a group": "Group"}[kind] + ")"}
		ada, bob := c.enter("ada"), c.enter("bob")
		require.Equal(t, []string{"+ada +bob (2)"}, c.took(every))
		fixture.Elapse(5 * time.Second)
		require.Equal(t, asleep, c.inMemory())
		leave(ada)
		time.Sleep(5 * time.Second)
		require.Equal(t, asleep, c.inMemory(), "it sleeps through the grace")
		n, err := c.stub.MemberCount(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, asleep, c.inMemory(), "to be asked does not wake it")
		require.Equal(t, []string{"-ada (1)"}, c.took(grace))
		fixture.Elapse(5 * time.Second)
		require.Equal(t, asleep, c.inMemory())
		leave(bob)
		require.Equal(t, []string{"-bob (0)"}, c.took(grace+every))
		fixture.Elapse(10 * time.Second)
		require.Empty(t, c.inMemory())
	})
}

// A reset closes the sockets of an object. Those who come back in the grace
// have not been away.
func TestPresence_MembersOutliveAReset(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		c.message = func(context.Context, *dog.Socket, dog.Message) error { panic("on purpose") }
		ada, _ := c.enter("ada"), c.enter("bob")
		require.Equal(t, []string{"+ada +bob (2)"}, c.took(every))
		ada.Send("reset the object with the sockets")
		synctest.Wait()
		require.NoError(t, c.abort(errNotNow))
		c.enter("ada")
		require.Equal(t, []string{"ada", "bob"}, c.members())
		require.Equal(t, []string{"-bob (1)"}, c.took(grace+every))
	})
}

func TestPresence_MembersAreInTheStats(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		leave(c.enter("ada"))
		c.enter("bob")
		for o := range c.rt.Objects() {
			if o.Kind != dog.KindReplica {
				require.Equal(t, 2, o.Members)
			} else {
				require.Zero(t, o.Members)
			}
		}
		for _, g := range c.rt.Stats().Groups {
			require.Equal(t, 2, g.Members)
		}
	})
}

func TestPresence_OffListsNobodyAndRunsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 2, &fixture.Hooks{Message: func(
			_ context.Context, _ *fixture.Room, s *dog.Socket, _ dog.Message,
		) error {
			return s.SetPresence(1)
		}})
		var set error
		h2 := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{
			Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
				set = s.SetPresence(1)
				return nil
			},
		})
		h.Enter("ada").Send("x")
		h2.Enter("ada")
		fixture.RequireUsage(t, set, "have Presence")
		require.NoError(t, dog.CallErr(t.Context(), h.Group.Stub, (*fixture.Lobby).Do, func(
			_ context.Context, l *fixture.Lobby,
		) error {
			require.Empty(t, l.Members("", 10))
			require.Zero(t, l.MemberCount())
			return nil
		}))
		require.NoError(t, dog.CallErr(t.Context(), h2.Objects.Named("main"), (*fixture.SocketObject).Do, func(
			_ context.Context, o *fixture.SocketObject,
		) error {
			require.Empty(t, o.Members("", 10))
			require.Zero(t, o.MemberCount())
			return nil
		}))
		_, err := h.Group.Members(t.Context(), "", 10)
		fixture.RequireUsage(t, err, `the options of "lobby" have no Presence`)
		room, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		_, err = room.MemberCount(t.Context())
		fixture.RequireUsage(t, err, "ask the group")
		_, err = h2.Objects.Named("main").MemberCount(t.Context())
		fixture.RequireUsage(t, err, "have no Presence")
	})
}

func TestPresence_WrongOptionsAreRefused(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	crowdReplicas, err := dog.RegisterReplica[dog.Replica](rt, "crowdReplica", nil)
	require.NoError(t, err)
	for _, p := range []struct {
		presence dog.Presence
		problem  string
	}{
		{dog.Presence{Grace: -1}, "Options.Presence.Grace is -1ns: it must not be negative"},
		{dog.Presence{Grace: 1, Every: -1}, "Options.Presence.Every is -1ns: it must not be negative"},
		{dog.Presence{Every: 1}, "Options.Presence has Every and no Grace"},
		{dog.Presence{Durable: true}, "Options.Presence has Durable and no Grace"},
	} {
		_, err := dog.RegisterObject(rt, "object", &dog.ObjectOptions[dog.Object]{Presence: p.presence})
		require.ErrorContains(t, err, "Object"+p.problem)
		_, err = dog.RegisterGroup(
			rt, "group", crowdReplicas, &dog.GroupOptions[dog.Group]{Presence: p.presence, Limit: 1},
		)
		require.ErrorContains(t, err, "Group"+p.problem)
		require.ErrorAs(t, err, new(*dog.RegistrationError))
	}
	_, err = dog.RegisterObject[document](rt, "object", nil)
	require.ErrorContains(t, err, "its OnPresence would never be called: its options have no Presence")
	_, err = dog.RegisterGroup(rt, "group", crowdReplicas, &dog.GroupOptions[crowdGroup]{Limit: 1})
	require.ErrorContains(t, err, "its OnPresence would never be called")
}
