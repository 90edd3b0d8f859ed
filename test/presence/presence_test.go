package presence_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestPresence_TellsOnceWhenAUIDJoinsAndOnceWhenItLeaves(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		phone := c.enter("ada")
		require.Empty(t, c.took(every-1))
		require.Equal(t, []string{"+ada (1)"}, c.took(1))
		laptop := c.enter("ada")
		leave(phone)
		require.Empty(t, c.took(time.Hour))
		leave(laptop)
		require.Equal(t, []string{"ada"}, c.members())
		require.Empty(t, c.took(grace-1))
		require.Equal(t, []string{"ada"}, c.members())
		time.Sleep(time.Nanosecond)
		require.Empty(t, c.members())
		require.Empty(t, c.took(every-1))
		require.Equal(t, []string{"-ada (0)"}, c.took(1))
		require.Empty(t, c.took(time.Hour))
	})
}

// Two devices of a uid come and go in every order. OnPresence gets only the
// first join and the last leave of the uid.
func TestPresence_TwoDevicesInEveryOrderAreOneMember(t *testing.T) {
	const steps = 6
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{Options: dog.Options{Logger: slog.New(slog.DiscardHandler)}})
		for order := 0; order < 1<<steps; order += 2 { // which device comes or goes, the first one first
			for gaps := order % 3; gaps < 1<<steps; gaps += 3 { // after which steps time passes
				var devices [2]*dogtest.Client
				var want []string
				told, touched := false, false
				pass := func() {
					there := devices[0] != nil || devices[1] != nil
					if !told && (there || touched) { // the grace is longer than a batch
						want, told = append(want, "+ada (1)"), true
					}
					if told && !there {
						want, told = append(want, "-ada (0)"), false
					}
					touched = false
					require.Equal(t, want, c.took(grace+every), "order %b, gaps %b", order, gaps)
					want = nil
				}
				for step := range steps {
					if d := &devices[order>>step&1]; *d == nil {
						*d, touched = c.enter("ada"), true
					} else {
						leave(*d)
						*d = nil
					}
					if gaps>>step&1 == 1 {
						pass()
					}
				}
				for i, d := range devices {
					if d != nil {
						leave(d)
						devices[i] = nil
					}
				}
				pass()
				require.Empty(t, c.members())
			}
		}
	})
}

func TestPresence_AReconnectInTheGraceTellsNothing(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		ada := c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))

		leave(ada)
		time.Sleep(grace - 1)
		ada = c.enter("ada")
		require.Empty(t, c.took(time.Hour))

		leave(ada) // it returns at the very end, and has never left
		time.Sleep(grace)
		require.Empty(t, c.members())
		ada = c.enter("ada")
		require.Equal(t, []string{"ada"}, c.members())
		require.Empty(t, c.took(time.Hour))

		leave(ada)
		time.Sleep(grace + every - 1)
		ada = c.enter("ada")
		require.Empty(t, c.took(time.Hour))

		leave(ada)
		require.Equal(t, []string{"-ada (0)"}, c.took(grace+every))
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
	})
}

func TestPresence_TellsTheChangesOfATimeAtOnce(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{presence: dog.Presence{Grace: 10 * time.Millisecond, Every: time.Second}})
		ada := c.enter("ada")
		time.Sleep(400 * time.Millisecond)
		bob := c.enter("bob")
		leave(c.enter("cyd")) // within the time
		require.Empty(t, c.took(600*time.Millisecond-1))
		require.Equal(t, []string{"+ada +bob (2)"}, c.took(1))
		leave(ada)
		c.enter("dan")
		bob.Send(`{"typing":true}`)
		require.Equal(t, []string{`+dan -ada ~bob={"typing":true} (2)`}, c.took(time.Second))
		leave(bob)
		c.enter("ada")
		require.Equal(t, []string{"+ada -bob (2)"}, c.took(time.Second+10*time.Millisecond))
	})
}

func TestPresence_AUIDThatMovesToAnotherReplicaStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, "a group", crowdOptions{limit: 1})
		first := c.enter("ada")
		second := c.enter("ada") // on another replica
		c.enter("bob")
		require.Equal(t, []string{"+ada +bob (2)"}, c.took(every))
		replicas := 0
		for range c.rt.Stats().Groups[0].Replicas {
			replicas++
		}
		require.Equal(t, 3, replicas)
		leave(first)
		require.Empty(t, c.took(time.Hour))
		leave(second)
		time.Sleep(grace / 2)
		c.enter("ada")
		require.Empty(t, c.took(time.Hour))
	})
}

func TestPresence_SocketsWithoutAUIDDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, "an object", crowdOptions{})
		var set error
		c.open = func(_ context.Context, s *dog.Socket) error {
			set = s.SetPresence(1)
			return nil
		}
		nobody := c.srv.Dial("/")
		require.Empty(t, c.took(time.Hour))
		require.Empty(t, c.members())
		fixture.RequireUsage(t, set, "has no uid")
		leave(nobody)
		require.Empty(t, c.took(time.Hour))
	})
}

func TestPresence_ManyMembersArePagedAndToldInParts(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{limit: 1000})
		const members = 2300
		for i := range members {
			c.srv.Dial(fmt.Sprintf("/?u=%04d", i))
		}
		fixture.Elapse(every)
		var sizes, counts []int
		for _, p := range c.changes {
			sizes, counts = append(sizes, len(p.Joined)), append(counts, p.Count)
		}
		require.Equal(t, []int{1000, 1000, 300}, sizes)
		require.Equal(t, []int{1000, 2000, 2300}, counts)

		for _, n := range []int{-1, 0, 1, 7, 1000, 1001} {
			seen, after := 0, ""
			for {
				page, err := c.stub.Members(t.Context(), after, n)
				require.NoError(t, err)
				if len(page) == 0 {
					break
				}
				if n < 1 || n > 1000 {
					require.Len(t, page, min(1000, members-seen))
				} else {
					require.Len(t, page, min(n, members-seen))
				}
				for _, m := range page {
					require.Equal(t, fmt.Sprintf("%04d", seen), m.UID)
					seen++
				}
				after = page[len(page)-1].UID
				if n == 1 && seen == 10 {
					seen = members
					break
				}
			}
			require.Equal(t, members, seen)
		}
		count, err := c.stub.MemberCount(t.Context())
		require.NoError(t, err)
		require.Equal(t, members, count)
	})
}

// 10,000 clients that connect and disconnect all the time cause as many calls
// of OnPresence as fit into the time.
func TestPresence_FlappingClientsCauseBoundedEvents(t *testing.T) {
	fixture.TakesLong(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, "an object", crowdOptions{
			Options:  dog.Options{Logger: slog.New(slog.DiscardHandler)},
			presence: dog.Presence{Grace: 100 * time.Millisecond},
		})
		const clients, rounds = 10_000, 2
		began := time.Now()
		pause := func(i int) {
			if i%100 == 0 {
				fixture.Elapse(time.Millisecond)
			}
		}
		for range rounds {
			sinks := make([]*fixture.Sink, clients)
			for i := range sinks {
				sinks[i] = &fixture.Sink{Answered: make(chan struct{}), Closed: make(chan struct{})}
				c.serve(&fixture.HijackedResponse{Conn: sinks[i]}, fixture.NewUpgrade(fmt.Sprint("/?u=", i)))
				pause(i)
			}
			for i, s := range sinks {
				require.NoError(t, s.Close())
				pause(i)
			}
			fixture.Elapse(500 * time.Millisecond)
		}
		passed := time.Since(began)
		c.mu.Lock()
		defer c.mu.Unlock()
		names, present := 0, make(map[string]bool)
		for _, p := range c.changes {
			for _, m := range p.Joined {
				require.False(t, present[m.UID])
				present[m.UID] = true
			}
			for _, m := range p.Left {
				require.True(t, present[m.UID])
				delete(present, m.UID)
			}
			require.Len(t, present, p.Count)
			names += len(p.Joined) + len(p.Left)
		}
		require.Empty(t, present)
		require.LessOrEqual(t, names, 2*clients*rounds)
		require.LessOrEqual(t, len(c.changes), int(passed/every)+names/1000+1)
	})
}

func TestPresence_ListsWithoutOnPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Second})
		objects, err := dog.RegisterObject(rt, "plain", &dog.ObjectOptions[dog.Object]{
			Presence: dog.Presence{Grace: grace},
		})
		require.NoError(t, err)
		stub := objects.Named("a")
		srv := dogtest.Serve(t, stub.WithUID("ada")) // Presence makes it accept sockets
		ada := srv.Dial("/")
		members, err := stub.Members(t.Context(), "", 10)
		require.NoError(t, err)
		require.Equal(t, []dog.Member{{UID: "ada"}}, members)
		leave(ada)
		time.Sleep(grace - 1)
		n, err := stub.MemberCount(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		time.Sleep(time.Nanosecond)
		n, err = stub.MemberCount(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		fixture.Elapse(5 * time.Second)
		for o := range rt.Objects() {
			require.Fail(t, "still in memory", o)
		}
	})
}

func TestPresence_ChangesHaveAJSONFormForClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data, err := json.Marshal(dog.PresenceChange{
			Joined: []dog.Member{{UID: "ada", Value: json.RawMessage(`{"x":1}`)}}, Left: []dog.Member{{UID: "bob"}},
			Count: 7, Seq: 9,
		})
		require.NoError(t, err)
		require.JSONEq(
			t, `{"joined":[{"uid":"ada","value":{"x":1}}],"left":[{"uid":"bob"}],"count":7,"seq":9}`, string(data),
		)
	})
}

func TestPresence_MembersOfWhatIsNotInMemoryAreNoneAndStartNothing(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		members, err := c.stub.Members(t.Context(), "", 10)
		require.NoError(t, err)
		require.Empty(t, members)
		n, err := c.stub.MemberCount(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		for o := range c.rt.Objects() {
			require.Fail(t, "it has been started", o)
		}
		require.NoError(t, c.rt.Shutdown(t.Context()))
		_, err = c.stub.Members(t.Context(), "", 10)
		require.ErrorIs(t, err, dog.ErrShutdown)
	})
}

func TestPresence_AValueBelongsToTheUID(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		c.open = func(_ context.Context, s *dog.Socket) error { return s.SetPresence("new") }
		phone := c.enter("ada")
		require.Equal(t, []string{`+ada="new" (1)`}, c.took(every))
		phone.Send(`"away"`)
		synctest.Wait()
		phone.Send(`"back"`)
		require.Equal(t, []string{`~ada="back" (1)`}, c.took(every))
		phone.Send(`"back"`)
		require.Empty(t, c.took(time.Hour), "the same value is no change")

		c.open = nil
		laptop := c.enter("ada")
		laptop.Send(`{"device":"laptop"}`)
		require.Equal(t, []string{`~ada={"device":"laptop"} (1)`}, c.took(every))
		leave(laptop)
		leave(phone)
		time.Sleep(grace - 1)
		phone = c.enter("ada")
		require.Empty(t, c.took(time.Hour), "the value outlives a reconnect")
		members, err := c.stub.Members(t.Context(), "", 1)
		require.NoError(t, err)
		require.Equal(t, []dog.Member{{UID: "ada", Value: json.RawMessage(`{"device":"laptop"}`)}}, members)
		members[0].Value[1] = 'X' // a copy

		phone.Send("null")
		require.Equal(t, []string{`~ada (1)`}, c.took(every))
		phone.Send("1")
		require.Equal(t, []string{`~ada=1 (1)`}, c.took(every))
		leave(phone)
		require.Equal(t, []string{`-ada (0)`}, c.took(grace+every))
		c.enter("ada")
		require.Equal(t, []string{`+ada (1)`}, c.took(every), "the value has gone with the uid")
	})
}

func TestPresence_WrongValuesAreRefusedAndChangeNothing(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{})
		var socket *dog.Socket
		c.open = func(_ context.Context, s *dog.Socket) error {
			socket = s
			return s.SetPresence(1)
		}
		ada := c.enter("ada")
		require.Equal(t, []string{`+ada=1 (1)`}, c.took(every))
		require.NoError(t, socket.SetPresence(strings.Repeat("x", 1022)), "with its quotes 1,024 bytes")
		require.Len(t, c.took(every), 1)
		fixture.RequireUsage(t, socket.SetPresence(strings.Repeat("x", 1023)), "more than 1,024")
		require.ErrorContains(t, socket.SetPresence(make(chan int)), "presence")
		require.ErrorContains(t, socket.SetPresence("\xff"), "presence")
		require.NoError(t, socket.Close(1000, ""))
		require.ErrorIs(t, socket.SetPresence(2), dog.ErrSocketClosed)
		leave(ada)
		require.ErrorIs(t, socket.SetPresence(2), dog.ErrSocketClosed)
		require.Equal(t, []string{`-ada (0)`}, c.took(time.Hour))
	})
}
