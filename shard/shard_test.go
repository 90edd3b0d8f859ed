package shard_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/shard"
)

// depot is an object that is a shard in tests.
type depot struct {
	dog.Object
	took int
}

func (d *depot) Take(_ context.Context, n int) (int, error) {
	d.took += n
	return d.took, nil
}

// Run runs f in a turn.
func (d *depot) Run(ctx context.Context, f func(ctx context.Context, d *depot) error) error {
	return f(ctx, d)
}

// newDepots returns n shards named depot/0, depot/1 and so on, and their
// namespace.
func newDepots(t testing.TB, n int) (*dog.Namespace[depot], *shard.Set[depot]) {
	t.Helper()
	depots, err := dog.RegisterObject[depot](dogtest.New(t, dog.Options{}), "depot", nil)
	require.NoError(t, err)
	shards, err := shard.New(depots, "depot", n)
	require.NoError(t, err)
	return depots, shards
}

// What is stored is found again only while a key belongs to the shard it has
// always belonged to: these numbers must never change.
func TestIndex_NeverChanges(t *testing.T) {
	for _, test := range []struct {
		key              string
		of1, of16, of100 int
	}{
		{"", 0, 4, 52},
		{"a", 0, 10, 50},
		{"ada", 0, 14, 98},
		{"user:1", 0, 5, 97},
		{"user:2", 0, 13, 65},
		{"/index.html", 0, 3, 43},
		{"ü", 0, 4, 28},
		{"\x00\xff", 0, 5, 29},
	} {
		for n, want := range map[int]int{1: test.of1, 16: test.of16, 100: test.of100} {
			_, shards := newDepots(t, n)
			require.Equal(t, want, shards.Index(test.key), "%q of %d", test.key, n)
		}
	}
}

func TestAt_IsTheNamedObject(t *testing.T) {
	depots, shards := newDepots(t, 12)
	require.Equal(t, 12, shards.Len())
	for i := range shards.Len() {
		require.Equal(t, depots.Named("depot/"+strconv.Itoa(i)).ID(), shards.At(i).ID())
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		require.Equal(t, "depot/"+strconv.Itoa(shards.Index(key)), shards.For(key).Name())
	})
}

func TestIndex_SpreadsKeysEvenly(t *testing.T) {
	const keys = 16_000
	for _, n := range []int{2, 7, 16} {
		_, shards := newDepots(t, n)
		counts := make([]int, n)
		for i := range keys {
			counts[shards.Index("user:"+strconv.Itoa(i))]++
		}
		for i, count := range counts {
			require.InEpsilon(t, keys/n, count, 0.1, "shard %d of %d", i, n)
		}
	}
}

func TestNew_RefusesInvalidShards(t *testing.T) {
	for _, depots := range []*dog.Namespace[depot]{nil, {}} {
		_, err := shard.New(depots, "depot", 2)
		require.ErrorAs(t, err, new(*dog.UsageError))
	}
	depots, _ := newDepots(t, 1)
	for _, n := range []int{0, -1} {
		_, err := shard.New(depots, "depot", n)
		require.ErrorContains(t, err, strconv.Itoa(n)+" shards")
	}
}

func TestAt_InvalidIndex(t *testing.T) {
	_, shards := newDepots(t, 3)
	for _, index := range []int{-1, 3} {
		require.Equal(t, dog.Stub[depot]{}, shards.At(index))
	}
	var none shard.Set[depot]
	require.Zero(t, none.Len())
	require.Zero(t, none.Index("ada"))
	require.Equal(t, dog.Stub[depot]{}, none.At(0))
	require.ErrorAs(t, take(none.For("ada"), 1), new(*dog.UsageError))
	_, err := shard.Ask(t.Context(), &none, shard.Options{}, total)
	require.ErrorAs(t, err, new(*dog.UsageError))
	require.NoError(t, shard.Errors([]shard.Result[int]{{}}))
}

func TestAsk_ReturnsAnswersInOrder(t *testing.T) {
	_, shards := newDepots(t, 20)
	for i := range shards.Len() {
		require.NoError(t, take(shards.At(i), i))
	}
	results, err := shard.Ask(context.Background(), shards, shard.Options{}, total)
	require.NoError(t, err)
	require.NoError(t, shard.Errors(results))
	require.Len(t, results, 20)
	for i, result := range results {
		require.Equal(t, shard.Result[int]{Shard: i, Value: i}, result)
	}
}

func take(shard dog.Stub[depot], n int) error {
	_, err := dog.Call(context.Background(), shard, (*depot).Take, n)
	return err
}

func total(ctx context.Context, shard dog.Stub[depot]) (int, error) {
	return dog.Call(ctx, shard, (*depot).Take, 0)
}

func TestAsk_OnlySomeShards(t *testing.T) {
	_, shards := newDepots(t, 5)
	names := func(only []int) (asked []string, err error) {
		results, err := shard.Ask(context.Background(), shards, shard.Options{Only: only},
			func(_ context.Context, shard dog.Stub[depot]) (string, error) { return shard.Name(), nil })
		for i, result := range results {
			require.Equal(t, only[i], result.Shard)
			asked = append(asked, result.Value)
		}
		return asked, err
	}

	asked, err := names([]int{3, 0})
	require.NoError(t, err)
	require.Equal(t, []string{"depot/3", "depot/0"}, asked)
	asked, err = names([]int{})
	require.NoError(t, err)
	require.Empty(t, asked)
	for _, wrong := range []int{-1, 5} {
		asked, err = names([]int{0, wrong})
		require.ErrorContains(t, err, "no shard "+strconv.Itoa(wrong)+" of 5")
		require.Empty(t, asked)
	}
}

func TestAsk_LimitsConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, shards := newDepots(t, 50)
		for concurrency, want := range map[int]int32{1: 1, 3: 3, 0: 16, -1: 16, 99: 50} {
			var now, most atomic.Int32
			began := time.Now()
			_, err := shard.Ask(context.Background(), shards, shard.Options{Concurrency: concurrency},
				func(context.Context, dog.Stub[depot]) (int, error) {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(time.Second)
					now.Add(-1)
					return 0, nil
				})
			require.NoError(t, err)
			require.LessOrEqual(t, most.Load(), want)
			rounds := (50 + want - 1) / want
			require.Equal(
				t, time.Duration(rounds)*time.Second, time.Since(began), "as many as may be are asked at once",
			)
		}
	})
}

func TestAsk_ErrorsArePerShard(t *testing.T) {
	_, shards := newDepots(t, 4)
	broken := errors.New("broken")
	results, err := shard.Ask(context.Background(), shards, shard.Options{},
		func(_ context.Context, shard dog.Stub[depot]) (string, error) {
			if shard.Name() == "depot/1" || shard.Name() == "depot/2" {
				return "half", broken
			}
			return "whole", nil
		})
	require.NoError(t, err)
	require.Equal(t, []shard.Result[string]{
		{Shard: 0, Value: "whole"},
		{Shard: 1, Value: "half", Err: broken},
		{Shard: 2, Value: "half", Err: broken},
		{Shard: 3, Value: "whole"},
	}, results)
	require.ErrorIs(t, shard.Errors(results), broken)
	require.EqualError(t, shard.Errors(results), "shard 1: broken\nshard 2: broken")
	require.NoError(t, shard.Errors(results[:1]))
}

func TestAsk_UnaskedShardsGetTheCauseOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, shards := newDepots(t, 6)
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		var asked atomic.Int32
		results, err := shard.Ask(ctx, shards, shard.Options{Concurrency: 2},
			func(ctx context.Context, _ dog.Stub[depot]) (string, error) {
				if asked.Add(1) == 4 {
					cancel(enough)
				}
				time.Sleep(time.Second)
				return "asked", nil
			})
		require.NoError(t, err)
		require.Len(t, results, 6)
		got := 0
		for i, result := range results {
			require.Equal(t, i, result.Shard)
			if result.Err == nil {
				require.Equal(t, "asked", result.Value)
				got++
			} else {
				require.ErrorIs(t, result.Err, enough)
			}
		}
		require.EqualValues(t, asked.Load(), got)
		require.ErrorIs(t, shard.Errors(results), enough)

		results, err = shard.Ask(ctx, shards, shard.Options{}, func(context.Context, dog.Stub[depot]) (string, error) {
			t.Error("asked")
			return "", nil
		})
		require.ErrorIs(t, err, enough, "nobody was asked")
		require.Empty(t, results)
	})
}

func TestAsk_GivesUpTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, shards := newDepots(t, 4)
		err := dog.CallErr(context.Background(), shards.At(2), (*depot).Run, func(ctx context.Context, d *depot) error {
			d.took = 1
			results, err := shard.Ask(
				ctx, shards, shard.Options{},
				func(ctx context.Context, shard dog.Stub[depot]) (int, error) {
					time.Sleep(time.Second)
					// of itself too, which would deadlock if the turn were kept
					return dog.Call(ctx, shard, (*depot).Take, 10)
				},
			)
			if err != nil {
				return err
			}
			require.NoError(t, shard.Errors(results))
			require.Equal(t, 11, results[2].Value)
			require.Equal(t, 11, d.took)
			return nil
		})
		require.NoError(t, err)
	})
}

func TestAsk_BeginsWhenEarlierWritesAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		depots, err := dog.RegisterObject[depot](
			dogtest.New(t, dog.Options{Store: hook.MakeStore(engine.OpenEngine).(dog.Store)}), "depot", nil,
		)
		require.NoError(t, err)
		shards, err := shard.New(depots, "depot", 3)
		require.NoError(t, err)
		engine.Flush()
		t.Cleanup(engine.Prompt)

		var asked atomic.Int32
		done := make(chan error)
		go func() {
			caller := depots.Named("caller")
			done <- dog.CallErr(context.Background(), caller, (*depot).Run, func(ctx context.Context, d *depot) error {
				if err := d.Storage().Put("asked", nil); err != nil {
					return err
				}
				// the shards it asks could pass on what the handler has stored
				ask := func(context.Context, dog.Stub[depot]) (int, error) { return int(asked.Add(1)), nil }
				results, err := shard.Ask(ctx, shards, shard.Options{}, ask)
				return errors.Join(err, shard.Errors(results))
			})
		}()
		synctest.Wait()
		require.Zero(t, asked.Load())
		engine.Flush()
		require.NoError(t, <-done)
		require.EqualValues(t, 3, asked.Load())
	})
}

func TestAsk_PanicsInItsCaller(t *testing.T) {
	_, shards := newDepots(t, 4)
	require.PanicsWithValue(t, "no", func() {
		_, _ = shard.Ask(
			t.Context(), shards, shard.Options{}, func(context.Context, dog.Stub[depot]) (int, error) { panic("no") },
		)
	})
}

func TestAsk_GoexitIsAnError(t *testing.T) {
	_, shards := newDepots(t, 3)
	results, err := shard.Ask(t.Context(), shards, shard.Options{},
		func(_ context.Context, shard dog.Stub[depot]) (string, error) {
			if shard.Name() == "depot/1" {
				runtime.Goexit()
			}
			return shard.Name(), nil
		})
	require.NoError(t, err)
	require.Len(t, results, 3)
	require.ErrorAs(t, results[1].Err, new(*dog.PanicError))
	require.Error(t, shard.Errors(results))
	for _, i := range []int{0, 2} {
		require.NoError(t, results[i].Err)
		require.NotEmpty(t, results[i].Value)
	}
}
