package alarm_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// ringer is an object whose OnAlarm is set by a test.
type ringer struct {
	dog.Object
	on    func(ctx context.Context, b *ringer) error
	start func(ctx context.Context, b *ringer) error // nil: nothing
}

func (c *ringer) OnStart(ctx context.Context) error {
	if c.start == nil {
		return nil
	}
	return c.start(ctx, c)
}

func (c *ringer) OnAlarm(ctx context.Context, _ dog.Alarm) error { return c.on(ctx, c) }

func (c *ringer) RingIn(_ context.Context, wait time.Duration) error {
	return c.Storage().Alarms().Set(time.Now().Add(wait))
}

func (c *ringer) Keep(_ context.Context, until <-chan struct{}) error {
	<-until
	return nil
}

// newRingers registers ringers under a name.
func newRingers(
	t testing.TB, rt *dog.Runtime, name string, on func(ctx context.Context, b *ringer) error,
) *dog.Namespace[ringer] {
	t.Helper()
	ringers, err := dog.RegisterObject(
		rt, name, &dog.ObjectOptions[ringer]{New: func() *ringer { return &ringer{on: on} }},
	)
	require.NoError(t, err)
	return ringers
}

func TestAlarms_RunOnceAllTypesAreRegistered(t *testing.T) {
	ways := map[string]func(*dog.Runtime, *dog.Namespace[ringer], *dog.Namespace[fixture.Object]) error{
		"Start": func(rt *dog.Runtime, _ *dog.Namespace[ringer], _ *dog.Namespace[fixture.Object]) error {
			rt.Start()
			rt.Start()
			return nil
		},
		"call": func(_ *dog.Runtime, _ *dog.Namespace[ringer], others *dog.Namespace[fixture.Object]) error {
			return dog.CallErr(
				context.Background(), others.Named("a"), (*fixture.Object).WithStorage,
				func(*dog.Storage) error { return nil },
			)
		},
		"request": func(_ *dog.Runtime, _ *dog.Namespace[ringer], others *dog.Namespace[fixture.Object]) error {
			return fixture.InTurn(others.Named("a"), func(context.Context, *fixture.Object) error { return nil })
		},
	}
	for name, start := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := fixture.PromptEngine()
				rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(store)})
				ringers := newRingers(t, rt, "ringer", nil)
				require.NoError(t, dog.CallErr(t.Context(), ringers.Named("a"), (*ringer).RingIn, time.Hour))
				require.NoError(t, rt.Shutdown(t.Context()))
				time.Sleep(2 * time.Hour)

				rt = dogtest.New(t, dog.Options{Store: fixture.StoreOf(store)})
				var others *dog.Namespace[fixture.Object]
				rang := 0
				ringers = newRingers(t, rt, "ringer", func(ctx context.Context, _ *ringer) error {
					rang++
					return dog.CallErr(
						ctx, others.Named("b"), (*fixture.Object).WithStorage,
						func(*dog.Storage) error { return nil },
					)
				})
				time.Sleep(time.Hour) // the program reads its configuration
				require.Zero(t, rang)
				others, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
				require.NoError(t, err)
				synctest.Wait()
				require.Zero(t, rang)
				require.NoError(t, start(rt, ringers, others))
				synctest.Wait()
				require.Equal(t, 1, rang)
			})
		})
	}
	var none *dog.Runtime
	none.Start()
	new(dog.Runtime).Start()
}

func TestAlarms_OfOneTypeDoNotDelayOtherTypes(t *testing.T) {
	const many = 1000
	hangs := map[string]func(hang <-chan struct{}, c *ringer){
		"OnAlarm": func(hang <-chan struct{}, c *ringer) {
			c.on = func(context.Context, *ringer) error { <-hang; return nil }
		},
		"OnAlarm that waits": func(hang <-chan struct{}, c *ringer) {
			c.on = func(ctx context.Context, _ *ringer) error {
				return dog.Await(ctx, func() error { <-hang; return nil })
			}
		},
		"OnStart": func(hang <-chan struct{}, c *ringer) {
			c.start = func(_ context.Context, b *ringer) error {
				if _, set, err := b.Storage().Alarms().Get(""); !set {
					return err // it is there for its alarm to be set
				}
				<-hang
				return nil
			}
		},
	}
	for name, setup := range hangs {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang, store := make(chan struct{}), fixture.PromptEngine()
				rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(store)})
				set := newRingers(t, rt, "hanging", nil)
				for i := range many {
					require.NoError(t, dog.CallErr(t.Context(), set.Named(fmt.Sprint(i)), (*ringer).RingIn, time.Hour))
				}
				require.NoError(t, rt.Shutdown(t.Context()))

				rt = dogtest.New(t, dog.Options{Store: fixture.StoreOf(store)})
				_, err := dog.RegisterObject(rt, "hanging", &dog.ObjectOptions[ringer]{New: func() *ringer {
					c := &ringer{on: func(context.Context, *ringer) error { return nil }}
					setup(hang, c)
					return c
				}})
				require.NoError(t, err)
				var rang atomic.Int64
				ringers := newRingers(t, rt, "ringer", func(context.Context, *ringer) error { rang.Add(1); return nil })
				rt.Start()
				time.Sleep(2 * time.Hour)
				for i := range many {
					require.NoError(
						t, dog.CallErr(t.Context(), ringers.Named(fmt.Sprint(i)), (*ringer).RingIn, time.Second),
					)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				require.EqualValues(t, many, rang.Load())
				close(hang)
			})
		})
	}
}

func TestAlarms_HangingDelayTheirTypeForTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hanging = 256
		hang := make(chan struct{})
		defer close(hang)
		rt := dogtest.New(t, dog.Options{})
		rang := make(chan time.Duration, 1)
		began := time.Now()
		ringers := newRingers(t, rt, "ringer", func(_ context.Context, b *ringer) error {
			if b.Name() == "free" {
				rang <- time.Since(began)
			} else {
				<-hang
			}
			return nil
		})
		for i := range hanging { // half of them wait for a turn that another event keeps
			stub := ringers.Named(fmt.Sprint(i))
			require.NoError(t, dog.CallErr(t.Context(), stub, (*ringer).RingIn, time.Second))
			if i%2 == 0 {
				go dog.CallErr(context.Background(), stub, (*ringer).Keep, (<-chan struct{})(hang))
			}
		}
		require.NoError(t, dog.CallErr(t.Context(), ringers.Named("free"), (*ringer).RingIn, 2*time.Second))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Empty(t, rang)
		require.Equal(t, hanging, rt.Stats().Alarms.Running)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, rang, 1)
		require.Equal(t, 11*time.Second, <-rang)
	})
}

func TestAlarms_RunWhenTheClockHasBeenSetBack(t *testing.T) {
	type step struct {
		name string
		fail bool // OnStart fails while the clock is behind
	}
	for _, s := range []step{{"while it waits for its turn", false}, {"while its object starts", true}} {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var skew atomic.Int64
				rt := dogtest.New(t, dog.Options{})
				fixture.SetWallClock(rt, func() time.Time { return time.Now().Add(time.Duration(skew.Load())) })
				began := time.Now()
				rang := make(chan time.Duration, 10)
				starts := 0
				ringers, err := dog.RegisterObject(rt, "ringer", &dog.ObjectOptions[ringer]{New: func() *ringer {
					return &ringer{
						on: func(context.Context, *ringer) error { rang <- time.Since(began); return nil },
						start: func(context.Context, *ringer) error {
							if starts++; starts == 2 {
								skew.Store(int64(-time.Minute))
								return errors.New("no")
							}
							return nil
						},
					}
				}})
				require.NoError(t, err)
				stub := ringers.Named("a")
				require.NoError(t, dog.CallErr(t.Context(), stub, (*ringer).RingIn, time.Second))
				if s.fail {
					require.ErrorIs(t, dog.CallErr(t.Context(), stub, (*ringer).Fall, 0), dog.ErrReset)
				} else {
					until := make(chan struct{})
					time.AfterFunc(2*time.Second, func() {
						skew.Store(int64(-time.Minute))
						close(until)
					})
					require.NoError(t, dog.CallErr(t.Context(), stub, (*ringer).Keep, (<-chan struct{})(until)))
				}
				time.Sleep(58 * time.Second)
				synctest.Wait()
				require.Empty(t, rang)
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Len(t, rang, 1)
				require.Equal(t, 61*time.Second, <-rang, "a second after it was set, by the clock")
			})
		})
	}
}

// Fall resets the ringer.
func (c *ringer) Fall(context.Context, int) error {
	c.Abort(nil)
	return nil
}

func TestAlarms_RunWhenTheClockHasBeenSetForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skew atomic.Int64
		rt := dogtest.New(t, dog.Options{})
		fixture.SetWallClock(rt, func() time.Time { return time.Now().Add(time.Duration(skew.Load())) })
		rang := 0
		ringers := newRingers(t, rt, "ringer", func(context.Context, *ringer) error { rang++; return nil })
		require.NoError(t, dog.CallErr(t.Context(), ringers.Named("a"), (*ringer).RingIn, 24*time.Hour))
		time.Sleep(time.Hour)
		skew.Store(int64(24 * time.Hour))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 1, rang)
	})
}
