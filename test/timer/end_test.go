package timer_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestTimers_EndWithTheirObject(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, m *metronomes){
		"reset from outside": func(t *testing.T, m *metronomes) { require.NoError(t, m.ns.Named("a").Abort(nil)) },
		"reset by itself": func(t *testing.T, m *metronomes) {
			require.ErrorIs(t, dog.CallErr(t.Context(), m.ns.Named("a"), (*metronome).Do,
				func(_ context.Context, o *metronome) error { o.Abort(nil); return nil }), dog.ErrReset)
		},
		"a panic": func(t *testing.T, m *metronomes) {
			require.ErrorIs(t, dog.CallErr(t.Context(), m.ns.Named("a"), (*metronome).Do,
				func(context.Context, *metronome) error { panic("a bug") }), dog.ErrReset)
		},
		"deletion": func(t *testing.T, m *metronomes) { require.NoError(t, m.ns.Named("a").Delete(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				starts := 0
				options, _ := fixture.LogToBuffer()
				m := newMetronomes(t, options, dog.ObjectOptions[metronome]{}, nil)
				var old *metronome
				begin := func(o *metronome) {
					starts++
					old = o
					o.Every(50*time.Millisecond, func(context.Context) error { return m.beat() })
					o.After(time.Second, func(context.Context) error { return m.beat() })
				}
				m.do(t, func(_ context.Context, o *metronome) error { begin(o); return nil })
				fixture.Elapse(110 * time.Millisecond)
				require.Equal(t, beats(50, 50, 2), m.did.Take())
				end(t, m)
				fixture.Elapse(time.Minute)
				require.Empty(t, m.did.Take())
				require.False(t, old.After(0, func(context.Context) error { panic("it is over") }).Stop())
				fixture.Elapse(time.Minute)
				m.do(t, func(_ context.Context, o *metronome) error { begin(o); return nil })
				m.did.Take()
				fixture.Elapse(60 * time.Millisecond)
				require.Len(t, m.did.Take(), 1, "the next life has timers of its own")
				require.Equal(t, 2, starts)
			})
		})
	}
}

func TestTimers_EndBeforeOnStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetronomes(t, dog.Options{}, dog.ObjectOptions[metronome]{}, nil)
		m.do(t, func(_ context.Context, o *metronome) error {
			o.Every(50*time.Millisecond, func(context.Context) error { return m.did.Add("tick") })
			o.After(2*time.Second, func(context.Context) error { return m.did.Add("late") })
			o.After(time.Second/2, func(context.Context) error { return m.did.Add("due") })
			return nil
		})
		time.Sleep(60 * time.Millisecond)
		stopped := make(chan error, 1)
		m.do(t, func(context.Context, *metronome) error {
			time.Sleep(time.Second) // two are due and wait for the turn
			go func() { stopped <- m.rt.Shutdown(context.Background()) }()
			time.Sleep(5 * time.Second) // Shutdown waits for this
			return nil
		})
		require.NoError(t, <-stopped)
		fixture.Elapse(time.Minute)
		require.Equal(t, []string{"tick", "stopped: shutdown"}, m.did.Take())
	})
}

func TestTimer_TickThatWaitsForStoppingEndsAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetronomes(t, dog.Options{}, dog.ObjectOptions[metronome]{}, nil)
		m.do(t, func(_ context.Context, o *metronome) error {
			o.Every(50*time.Millisecond, func(ctx context.Context) error {
				return dog.Await(ctx, func() error { <-dog.Stopping(ctx); return m.did.Add("stopping") })
			})
			return nil
		})
		fixture.Elapse(time.Minute)
		require.NoError(t, m.rt.Shutdown(t.Context()))
		require.Equal(t, []string{"stopping", "stopped: shutdown"}, m.did.Take())
	})
}

func TestTimer_KeepsItsObjectInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetronomes(t, dog.Options{EvictAfter: time.Second, MaxObjects: 1}, dog.ObjectOptions[metronome]{}, nil)
		var timer *dog.Timer
		m.do(t, func(_ context.Context, o *metronome) error {
			timer = o.After(time.Hour, func(context.Context) error { return m.did.Add("an hour") })
			return nil
		})
		for i := range 10 { // far more than MaxObjects
			require.NoError(t, dog.CallErr(t.Context(), m.ns.Named(fmt.Sprint(i)), (*metronome).Do,
				func(context.Context, *metronome) error { return nil }))
		}
		fixture.Elapse(30 * time.Minute)
		m.did.Take() // of the others
		require.True(t, m.live())
		fixture.Elapse(time.Hour)
		require.Equal(t, []string{"an hour", "stopped: idle"}, m.did.Take())
		require.False(t, m.live())

		m.do(t, func(_ context.Context, o *metronome) error {
			timer = o.Every(time.Hour, func(context.Context) error { return nil })
			return nil
		})
		fixture.Elapse(30 * time.Minute)
		require.Empty(t, m.did.Take())
		timer.Stop()
		fixture.Elapse(time.Minute)
		require.Equal(t, []string{"stopped: idle"}, m.did.Take())
	})
}

func TestTimer_KeepsAnOwnerFromHibernating(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		starts := 0
		var timer *dog.Timer
		v := fixture.NewOwners(t, kind, dog.Options{HibernateAfter: time.Second}, &fixture.OwnerHooks{
			Hibernate: true,
			Start:     func(context.Context, fixture.Owner) error { starts++; return nil },
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				timer = o.Every(time.Minute, func(context.Context) error { return o.Broadcast("tick") })
				return nil
			},
		})
		ada := v.Enter("ada")
		ada.Send("begin")
		fixture.Elapse(time.Hour + time.Second)
		require.Len(t, fixture.Texts(ada), 60)
		require.Equal(t, 1, starts)
		require.False(t, fixture.LiveOwner(t, v).Hibernated)
		timer.Stop()
		fixture.Elapse(time.Minute)
		require.True(t, fixture.LiveOwner(t, v).Hibernated)
	})
}

func TestTimer_KeepsAReplicaWithoutClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var did fixture.Lines
		v := fixture.NewOwners(t, "a replica", dog.Options{}, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, _ dog.Message) error {
				o.After(time.Hour, func(context.Context) error { return did.Add("an hour") })
				return nil
			},
		})
		ada := v.Enter("ada")
		ada.Send("begin")
		synctest.Wait()
		ada.Close(1000, "")
		fixture.Elapse(2 * time.Hour)
		require.Equal(t, []string{"an hour"}, did.Take())
		for range v.Runtime.Objects() {
			require.Fail(t, "it stays for good")
		}
	})
}
