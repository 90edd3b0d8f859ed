package dog_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
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

// newDepots returns n shards named depot/0, depot/1 and so on, and their namespace.
func newDepots(t testing.TB, n int) (*dog.Namespace[depot], *dog.Shards[depot]) {
	t.Helper()
	depots, err := dog.RegisterObject(dogtest.New(t, dog.Options{}), "depot", func(*depot) {})
	require.NoError(t, err)
	shards, err := dog.NewShards(depots, "depot", n)
	require.NoError(t, err)
	return depots, shards
}

// What is stored is found again only while a key belongs to the shard it has always belonged to: these numbers must never change.
func TestAKeyBelongsToItsShardForEver(t *testing.T) {
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

func TestAShardIsTheObjectOfItsName(t *testing.T) {
	depots, shards := newDepots(t, 12)
	require.Equal(t, 12, shards.Len())
	for i := range shards.Len() {
		require.Equal(t, depots.Named("depot/"+strconv.Itoa(i)).ID(), shards.Shard(i).ID())
	}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		require.Equal(t, "depot/"+strconv.Itoa(shards.Index(key)), shards.For(key).Name())
	})
}

func TestKeysAreSpreadEvenly(t *testing.T) {
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

func TestShardsThatCannotBe(t *testing.T) {
	h := newHouse(t, 1, &hooks{})
	lobbies, err := dog.NewShards(h.lobbies, "lobby", 2)
	require.NoError(t, err, "groups can be shards")
	require.Equal(t, 2, lobbies.Len())

	_, err = dog.NewShards[depot](nil, "depot", 2)
	require.ErrorIs(t, err, dog.ErrNotRunning)
	_, err = dog.NewShards(&dog.Namespace[depot]{}, "depot", 2)
	require.ErrorIs(t, err, dog.ErrNotRunning)
	rooms, err := dog.RegisterReplica(h.rt, "chamber", func(*room) {})
	require.NoError(t, err)
	_, err = dog.NewShards(rooms, "room", 2)
	require.ErrorIs(t, err, dog.ErrNotRunning, "replicas have no names to be found by")
	depots, _ := newDepots(t, 1)
	for _, n := range []int{0, -1} {
		_, err = dog.NewShards(depots, "depot", n)
		require.ErrorContains(t, err, strconv.Itoa(n)+" shards")
	}
}

func TestAllShardsAnswerInOrder(t *testing.T) {
	_, shards := newDepots(t, 20)
	for i := range shards.Len() {
		require.NoError(t, take(shards.Shard(i), i))
	}
	results, err := dog.QueryShards(context.Background(), shards, dog.ShardQuery{}, total)
	require.NoError(t, err)
	require.NoError(t, dog.ShardErrors(results))
	require.Len(t, results, 20)
	for i, result := range results {
		require.Equal(t, dog.ShardResult[int]{Shard: i, Value: i}, result)
	}
}

func take(shard dog.Stub[depot], n int) error {
	_, err := dog.Call(context.Background(), shard, (*depot).Take, n)
	return err
}

func total(ctx context.Context, shard dog.Stub[depot]) (int, error) {
	return dog.Call(ctx, shard, (*depot).Take, 0)
}

func TestOnlySomeShardsAreAsked(t *testing.T) {
	_, shards := newDepots(t, 5)
	names := func(only []int) (asked []string, err error) {
		results, err := dog.QueryShards(context.Background(), shards, dog.ShardQuery{Only: only},
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

func TestSoManyShardsAreAskedAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, shards := newDepots(t, 50)
		for concurrency, want := range map[int]int32{1: 1, 3: 3, 0: 16, -1: 16, 99: 50} {
			var now, most atomic.Int32
			began := time.Now()
			_, err := dog.QueryShards(context.Background(), shards, dog.ShardQuery{Concurrency: concurrency},
				func(context.Context, dog.Stub[depot]) (int, error) {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(time.Second)
					now.Add(-1)
					return 0, nil
				})
			require.NoError(t, err)
			require.LessOrEqual(t, most.Load(), want)
			rounds := (50 + want - 1) / want
			require.Equal(t, time.Duration(rounds)*time.Second, time.Since(began), "as many as may be are asked at once")
		}
	})
}

func TestTheErrorOfAShardIsItsOwn(t *testing.T) {
	_, shards := newDepots(t, 4)
	broken := errors.New("broken")
	results, err := dog.QueryShards(context.Background(), shards, dog.ShardQuery{},
		func(_ context.Context, shard dog.Stub[depot]) (string, error) {
			if shard.Name() == "depot/1" || shard.Name() == "depot/2" {
				return "half", broken
			}
			return "whole", nil
		})
	require.NoError(t, err)
	require.Equal(t, []dog.ShardResult[string]{
		{Shard: 0, Value: "whole"},
		{Shard: 1, Value: "half", Err: broken},
		{Shard: 2, Value: "half", Err: broken},
		{Shard: 3, Value: "whole"},
	}, results)
	require.ErrorIs(t, dog.ShardErrors(results), broken)
	require.EqualError(t, dog.ShardErrors(results), "shard 1: broken\nshard 2: broken")
	require.NoError(t, dog.ShardErrors(results[:1]))
}

func TestShardsThatWereNotAskedHaveTheCauseOfTheContextsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, shards := newDepots(t, 6)
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		var asked atomic.Int32
		results, err := dog.QueryShards(ctx, shards, dog.ShardQuery{Concurrency: 2},
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
		require.ErrorIs(t, dog.ShardErrors(results), enough)

		results, err = dog.QueryShards(ctx, shards, dog.ShardQuery{}, func(context.Context, dog.Stub[depot]) (string, error) {
			t.Error("asked")
			return "", nil
		})
		require.ErrorIs(t, err, enough, "nobody was asked")
		require.Empty(t, results)
	})
}

func TestAskingShardsInAHandlerGivesUpTheTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, shards := newDepots(t, 4)
		err := dog.Do(context.Background(), shards.Shard(2), (*depot).Run, func(ctx context.Context, d *depot) error {
			d.took = 1
			results, err := dog.QueryShards(ctx, shards, dog.ShardQuery{}, func(ctx context.Context, shard dog.Stub[depot]) (int, error) {
				time.Sleep(time.Second)
				return dog.Call(ctx, shard, (*depot).Take, 10) // of itself too, which would be for ever if the turn were kept
			})
			if err != nil {
				return err
			}
			require.NoError(t, dog.ShardErrors(results))
			require.Equal(t, 11, results[2].Value)
			require.Equal(t, 11, d.took)
			return nil
		})
		require.NoError(t, err)
	})
}

func TestShardsAreAskedWhenWhatTheHandlerStoredIsDurable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		engine := storetest.New()
		depots, err := dog.RegisterObject(dogtest.New(t, dog.Options{Store: engine}), "depot", func(*depot) {})
		require.NoError(t, err)
		shards, err := dog.NewShards(depots, "depot", 3)
		require.NoError(t, err)
		engine.Flush()
		t.Cleanup(engine.Prompt)

		var asked atomic.Int32
		done := make(chan error)
		go func() {
			done <- dog.Do(context.Background(), depots.Named("caller"), (*depot).Run, func(ctx context.Context, d *depot) error {
				if err := d.Storage().Put("asked", nil); err != nil {
					return err
				}
				results, err := dog.QueryShards(ctx, shards, dog.ShardQuery{}, func(context.Context, dog.Stub[depot]) (int, error) {
					return int(asked.Add(1)), nil // whoever it asks learns of the handler
				})
				return errors.Join(err, dog.ShardErrors(results))
			})
		}()
		synctest.Wait()
		require.Zero(t, asked.Load())
		engine.Flush()
		require.NoError(t, <-done)
		require.EqualValues(t, 3, asked.Load())
	})
}

func TestAPanicOfAQuestionToShardsIsTheCallers(t *testing.T) {
	_, cells := newCells(t, dog.Options{})
	shards, err := dog.NewShards(cells, "shard", 4)
	require.NoError(t, err)
	require.PanicsWithValue(t, "no", func() {
		_, _ = dog.QueryShards(t.Context(), shards, dog.ShardQuery{}, func(context.Context, dog.Stub[cell]) (int, error) { panic("no") })
	})
}
