package life_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// More objects may be busy than MaxObjects: they cannot be dropped, and do not
// keep others from being made.
func TestPressure_BusyObjectsBeyondTheBoundBlockNobody(t *testing.T) {
	for _, c := range []struct{ most, busy int }{{1, 50}, {100, 112}, {100, 113}, {100, 150}, {100, 1000}} {
		t.Run(fmt.Sprintf("%d of %d", c.busy, c.most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt, cells := fixture.NewObjects(t, dog.Options{MaxObjects: c.most, EvictAfter: time.Hour})
				until := make(chan struct{})
				errs := make(chan error, c.busy)
				start := time.Now()
				for i := range c.busy {
					go func() {
						cell := cells.Named(strconv.Itoa(i))
						wait := func(ctx context.Context) error {
							return dog.Await(ctx, func() error { <-until; return nil })
						}
						errs <- dog.CallErr(context.Background(), cell, (*fixture.Object).Do, wait)
					}()
				}
				synctest.Wait()
				require.Len(t, slices.Collect(rt.Objects()), c.busy)
				for i := range 200 { // one more, and one more
					require.NoError(
						t,
						dog.CallErr0(t.Context(), cells.Named("more "+strconv.Itoa(i)), (*fixture.Object).Nothing),
					)
				}
				require.Equal(t, start, time.Now())
				time.Sleep(2 * time.Second)
				require.LessOrEqual(
					t, len(slices.Collect(rt.Objects())), max(c.busy, c.most), "the idle ones have left",
				)
				close(until)
				for range c.busy {
					require.NoError(t, <-errs)
				}
				time.Sleep(2 * time.Second)
				require.LessOrEqual(t, len(slices.Collect(rt.Objects())), c.most)
			})
		})
	}
}

// An object that makes another while there is no room does not wait for a
// caller that waits for it.
func TestPressure_ObjectsThatMakeObjectsDoNotDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := fixture.NewObjects(t, dog.Options{MaxObjects: 2, EvictAfter: time.Hour})
		start := time.Now()
		var down func(depth int) func(context.Context) error
		down = func(depth int) func(context.Context) error {
			return func(ctx context.Context) error {
				if depth == 0 {
					return nil
				}
				return dog.CallErr(ctx, cells.Named("deep "+strconv.Itoa(depth)), (*fixture.Object).Do, down(depth-1))
			}
		}
		require.NoError(t, dog.CallErr(t.Context(), cells.Named("top"), (*fixture.Object).Do, down(100)))
		require.Equal(t, start, time.Now())
	})
}

// hangStop is an object whose OnStop hangs.
type hangStop struct {
	dog.Object
	until chan struct{}
}

func (s *hangStop) Nothing(context.Context) error { return nil }

func (s *hangStop) OnStop(context.Context, dog.StopReason) error { <-s.until; return nil }

// Objects that are being stopped cannot be dropped, nor are they of use: as
// many as MaxObjects may hang there, then who makes more waits, and is refused.
func TestPressure_NewObjectsAreRefusedWhileTooManyHangInOnStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{MaxObjects: 20, EvictAfter: time.Hour})
		until := make(chan struct{})
		hangStops, err := dog.RegisterObject(
			rt, "hangStop", &dog.ObjectOptions[hangStop]{New: func() *hangStop { return &hangStop{until: until} }},
		)
		require.NoError(t, err)
		made := 0
		for ; err == nil; made++ {
			require.Less(t, made, 100)
			err = dog.CallErr0(t.Context(), hangStops.Named(strconv.Itoa(made)), (*hangStop).Nothing)
			synctest.Wait()
		}
		require.ErrorIs(t, err, dog.ErrOverloaded)
		require.ErrorContains(t, err, "OnStop")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, dog.CallErr0(ctx, hangStops.Named("more"), (*hangStop).Nothing), context.DeadlineExceeded)
		waits := make(chan error)
		go func() { waits <- dog.CallErr0(context.Background(), hangStops.Named("more"), (*hangStop).Nothing) }()
		synctest.Wait()
		start := time.Now()
		close(until)
		require.NoError(t, <-waits)
		require.Equal(t, start, time.Now(), "there is room as soon as they have stopped")
	})
}

// tally counts in its storage what it was called, and in memory what is not
// stored before OnStop.
type tally struct {
	dog.Object
	calls int
	books *sync.Map // of names, whether an object lives
	t     *rapid.T
}

func (c *tally) OnStart(context.Context) error {
	if _, twice := c.books.LoadOrStore(c.Name(), true); twice {
		c.t.Errorf("%s lives twice", c.Name())
	}
	n, _, err := c.values().Get("calls")
	c.calls = n
	return err
}

func (c *tally) values() dog.Map[int] { return dog.MapOf[int](c.Storage(), "") }

func (c *tally) OnStop(context.Context, dog.StopReason) error {
	c.books.Delete(c.Name())
	return c.values().Put("calls", c.calls)
}

func (c *tally) Add(ctx context.Context, pause time.Duration) (int, error) {
	c.calls++
	n := c.calls
	return n, dog.Await(ctx, func() error { time.Sleep(pause); return nil })
}

// Whatever comes and goes, an object lives once at a time, no event is lost,
// and what OnStop stores is what the next life finds.
func TestPressure_EvictionUnderLoadLosesNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		most := rapid.IntRange(1, 8).Draw(r, "MaxObjects")
		names := rapid.IntRange(1, 24).Draw(r, "names")
		callers := rapid.IntRange(1, 12).Draw(r, "callers")
		type step struct {
			name         int
			pause, after time.Duration
		}
		plans := make([][]step, callers)
		for i := range plans {
			plans[i] = rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
				ms := func(label string) time.Duration {
					return time.Duration(rapid.SampledFrom([]int{0, 0, 1, 20, 400}).Draw(r, label)) * time.Millisecond
				}
				return step{rapid.IntRange(0, names-1).Draw(r, "name"), ms("pause"), ms("after")}
			}), 1, 30).Draw(r, "plan")
		}
		synctest.Test(t, func(t *testing.T) {
			books := new(sync.Map)
			rt, err := dog.New(dog.Options{MaxObjects: most, EvictAfter: 100 * time.Millisecond, CheckTurns: true})
			require.NoError(t, err)
			tallies, err := dog.RegisterObject(
				rt, "tally",
				&dog.ObjectOptions[tally]{New: func() *tally { return &tally{books: books, t: r} }},
			)
			require.NoError(t, err)
			var mu sync.Mutex
			want := make(map[int]int)
			var all sync.WaitGroup
			for _, plan := range plans {
				all.Go(func() {
					for _, s := range plan {
						_, err := dog.Call(
							context.Background(), tallies.Named(strconv.Itoa(s.name)), (*tally).Add, s.pause,
						)
						if err != nil {
							r.Errorf("call: %v", err)
						}
						mu.Lock()
						want[s.name]++
						mu.Unlock()
						time.Sleep(s.after)
					}
				})
			}
			all.Wait()
			for name, n := range want {
				got, err := dog.Call(context.Background(), tallies.Named(strconv.Itoa(name)), (*tally).Add, 0)
				if err != nil || got != n+1 {
					r.Errorf("object %d has counted %d of %d calls: %v", name, got, n+1, err)
				}
			}
			require.NoError(t, rt.Shutdown(context.Background()))
			books.Range(func(name, _ any) bool { r.Errorf("%s was not stopped", name); return true })
		})
	})
}

// BenchmarkOneMoreObject makes objects beyond MaxObjects while others are busy:
// what one costs does not depend on how many there are.
func BenchmarkOneMoreObject(b *testing.B) {
	for _, busy := range []int{1_000, 10_000, 100_000, 300_000} {
		b.Run(strconv.Itoa(busy), func(b *testing.B) {
			rt, err := dog.New(dog.Options{MaxObjects: busy / 2, EvictAfter: time.Hour})
			require.NoError(b, err)
			cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
			require.NoError(b, err)
			until := make(chan struct{})
			var begun, ended sync.WaitGroup
			begun.Add(busy)
			for i := range busy {
				ended.Go(func() {
					_ = dog.CallErr(
						context.Background(), cells.Named(strconv.Itoa(i)), (*fixture.Object).Do,
						func(ctx context.Context) error {
							begun.Done()
							return dog.Await(ctx, func() error { <-until; return nil })
						},
					)
				})
			}
			begun.Wait()
			n := 0
			for b.Loop() {
				if err := dog.CallErr0(
					context.Background(), cells.Named("more "+strconv.Itoa(n)), (*fixture.Object).Nothing,
				); err != nil {
					b.Fatal(err)
				}
				n++
			}
			close(until)
			ended.Wait()
			require.NoError(b, rt.Shutdown(context.Background()))
		})
	}
}
