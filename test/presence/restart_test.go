package presence_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// onDisk returns the options of crowds on a disk.
func onDisk(d *dogtest.Disk) crowdOptions {
	return crowdOptions{Options: dog.Options{Store: d, Logger: slog.New(slog.DiscardHandler)}}
}

func (c *crowd) shutdown() {
	c.t.Helper()
	require.NoError(c.t, c.rt.Shutdown(c.t.Context()))
}

func TestPresence_WhoComesBackAfterARestartHasNeverBeenAway(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		c := newCrowd(t, kind, onDisk(d))
		c.enter("ada").Send("1")
		c.enter("bob").Send("2")
		c.enter("cyd").Send("3")
		require.Equal(t, []string{"+ada=1 +bob=2 +cyd=3 (3)"}, c.took(every))
		c.shutdown()

		c = newCrowd(t, kind, onDisk(d))
		require.Empty(t, c.took(time.Hour), "it is not in memory")
		ada := c.enter("ada")
		require.Equal(t, []string{"ada", "bob", "cyd"}, c.members())
		page, err := c.stub.Members(t.Context(), "bob", 1)
		require.NoError(t, err)
		require.Equal(t, []dog.Member{{UID: "cyd", Value: []byte("3")}}, page)
		require.Empty(t, c.took(grace-time.Second))
		c.enter("bob")
		require.Equal(t, []string{"-cyd (2)"}, c.took(time.Second+every))
		ada.Send("4")
		require.Equal(t, []string{"~ada=4 (2)"}, c.took(time.Hour))
		c.shutdown()

		c = newCrowd(t, kind, onDisk(d))
		c.enter("dan")
		require.Equal(t, []string{"+dan (3)", "-ada -bob (1)"}, c.took(time.Hour))
	})
}

// A crash of the next process does not bring the members back once more.
func TestPresence_MembersAreStoredOnce(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		c := newCrowd(t, kind, onDisk(d))
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		c.shutdown()

		c = newCrowd(t, kind, onDisk(d))
		require.Equal(t, []string{"ada"}, c.members())
		d.Crash()
		c = newCrowd(t, kind, onDisk(d))
		require.Empty(t, c.members())
		require.Empty(t, c.took(time.Hour))
	})
}

// A process in which the owner is not in memory, or cannot start, leaves what
// is stored as it is.
func TestPresence_MembersWaitForTheirOwnersStart(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		c := newCrowd(t, kind, onDisk(d))
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		c.shutdown()
		newCrowd(t, kind, onDisk(d)).shutdown()
		c = newCrowd(t, kind, onDisk(d))
		c.refuse = errNotNow
		require.ErrorIs(t, c.inTurn(func(context.Context, listed) error { return nil }), dog.ErrReset)
		c.shutdown()
		c = newCrowd(t, kind, onDisk(d))
		require.Equal(t, []string{"ada"}, c.members())
		require.Equal(t, []string{"-ada (0)"}, c.took(grace+every))
		require.Empty(t, c.took(time.Hour))
	})
}

func TestPresence_ChangesThatWereNotToldAreToldAfterARestart(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		c := newCrowd(t, kind, onDisk(d))
		var failed []uint64
		var failing atomic.Bool
		c.on = func(_ context.Context, p dog.PresenceChange) error {
			if failing.Load() {
				failed = append(failed, p.Seq)
				return errNotNow
			}
			return nil
		}
		ada, bob, cyd := c.enter("ada"), c.enter("bob"), c.enter("cyd")
		require.Equal(t, []string{"+ada +bob +cyd (3)"}, c.took(every))
		failing.Store(true)
		leave(ada)
		require.Equal(t, "-ada (2)", c.took(grace + every)[0])
		leave(bob) // will have left, which is not delivered
		c.took(grace + every)
		c.enter("dan") // joins, which is not delivered
		cyd.Send("1")
		c.took(time.Second)
		c.shutdown()

		c = newCrowd(t, kind, onDisk(d))
		fixture.SetWallClock(c.rt, func() time.Time { return time.Unix(0, 0) }) // numbers do not depend on it
		var seqs []uint64
		c.on = func(_ context.Context, p dog.PresenceChange) error {
			seqs = append(seqs, p.Seq)
			return nil
		}
		c.enter("cyd")
		require.Equal(t, []string{"-ada (2)", "+dan -bob ~cyd=1 (2)", "-dan (1)"}, c.took(time.Hour))
		require.Equal(t, failed[0], failed[len(failed)-1])
		require.Equal(t, []uint64{failed[0], failed[0] + 1, failed[0] + 2}, seqs)
	})
}

// While Shutdown waits for a handler, nobody leaves.
func TestPresence_LongShutdownEndsNoGrace(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		o := onDisk(d)
		o.EvictAfter, o.RetireAfter, o.LingerFor = time.Second, time.Second, -1
		c := newCrowd(t, kind, o)
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		began := time.Now()
		go func() {
			_ = c.inTurn(func(ctx context.Context, _ listed) error { return fixture.Pause(ctx, time.Hour) })
		}()
		synctest.Wait()
		c.shutdown()
		require.Equal(t, time.Hour, time.Since(began))

		c = newCrowd(t, kind, o)
		require.Equal(t, []string{"ada"}, c.members())
		require.Empty(t, c.took(grace))
		require.Equal(t, []string{"-ada (0)"}, c.took(every))
	})
}

// Shutdown runs OnStop of an object that has members or keeps messages, since
// it stores them.
func TestPresence_OnStopRunsForThoseWithMembersAndMessages(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		c := newCrowd(t, kind, crowdOptions{history: dog.HistoryOptions{Count: 10}})
		c.enter("ada")
		require.NoError(t, c.inTurn(func(_ context.Context, o listed) error { return o.Broadcast("x") }))
		synctest.Wait()
		c.shutdown()
		require.Equal(t, 1, c.stops)
	})
}

// quiet is an object without OnPresence.
type quiet struct{ dog.Object }

func (*quiet) Nothing(context.Context) error { return nil }

// Without OnPresence the members are members for the grace, too.
func TestPresence_RestartOfATypeWithoutOnPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dogtest.NewDisk(t)
		start := func() (*dog.Runtime, dog.Stub[quiet], *dogtest.Server) {
			rt := dogtest.New(t, dog.Options{Store: d})
			objects, err := dog.RegisterObject(rt, "quiet", &dog.ObjectOptions[quiet]{
				Presence: dog.Presence{Grace: grace},
			})
			require.NoError(t, err)
			main := objects.Named("main")
			return rt, main, dogtest.Serve(t, main.WithUID("ada"))
		}
		rt, main, srv := start()
		srv.Dial("/")
		synctest.Wait()
		n, err := main.MemberCount(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.NoError(t, rt.Shutdown(t.Context()))

		_, main, _ = start()
		n, err = main.MemberCount(t.Context())
		require.NoError(t, err)
		require.Zero(t, n, "it is not in memory")
		require.NoError(t, dog.CallErr0(t.Context(), main, (*quiet).Nothing))
		for _, want := range []int{1, 0} {
			n, err = main.MemberCount(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, n)
			fixture.Elapse(grace)
		}
	})
}
