package store_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

// drawBytes returns one of few short keys; nil is one of them.
func drawBytes(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 0, 3).Draw(t, label)
}

func TestMemory_IsAnOrderedMapWithAtomicBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		engine, model := store.NewMemory(), map[string]string{}
		t.Repeat(map[string]func(*rapid.T){
			"batch": func(t *rapid.T) {
				b, next := engine.Begin(), maps.Clone(model)
				for range rapid.IntRange(0, 5).Draw(t, "steps") {
					key := drawBytes(t, "key")
					switch rapid.IntRange(0, 2).Draw(t, "act") {
					case 0:
						value := drawBytes(t, "value")
						b.Set(key, value)
						next[string(key)] = string(value)
						for i := range value {
							value[i]++ // the batch has its own copy
						}
					case 1:
						b.Delete(key)
						delete(next, string(key))
					case 2:
						upper := drawBytes(t, "upper")
						b.DeleteRange(key, upper)
						maps.DeleteFunc(next, func(k, _ string) bool { return k >= string(key) && k < string(upper) })
					}
				}
				if rapid.Bool().Draw(t, "discard") {
					b.Discard()
					return
				}
				number, err := b.Commit()
				require.NoError(t, err)
				require.LessOrEqual(t, number, engine.Durable())
				model = next
			},
			"get": func(t *rapid.T) {
				key := drawBytes(t, "key")
				value, found, err := engine.Get(key)
				require.NoError(t, err)
				want, ok := model[string(key)]
				require.Equal(t, ok, found)
				require.Equal(t, want, string(value))
			},
			"scan": func(t *rapid.T) {
				lower, upper, reverse := drawBytes(t, "lower"), drawBytes(t, "upper"), rapid.Bool().Draw(t, "reverse")
				if rapid.Bool().Draw(t, "unbounded") {
					upper = nil
				} else if upper == nil {
					upper = []byte{}
				}
				want := []string{}
				for _, key := range slices.Sorted(maps.Keys(model)) {
					if key >= string(lower) && (upper == nil || key < string(upper)) {
						want = append(want, key, model[key])
					}
				}
				got := []string{}
				for pair, err := range engine.Scan(lower, upper, reverse) {
					require.NoError(t, err)
					if reverse {
						got = append([]string{string(pair.Key), string(pair.Value)}, got...)
					} else {
						got = append(got, string(pair.Key), string(pair.Value))
					}
				}
				require.Equal(t, want, got)
			},
		})
	})
}

func TestMemory_ScanIsASnapshot(t *testing.T) {
	engine := store.NewMemory()
	set := func(key string) {
		b := engine.Begin()
		b.Set([]byte(key), nil)
		_, err := b.Commit()
		require.NoError(t, err)
	}
	for _, key := range []string{"a", "b", "c"} {
		set(key)
	}
	var seen []string
	for pair, err := range engine.Scan(nil, nil, false) {
		require.NoError(t, err)
		seen = append(seen, string(pair.Key))
		b := engine.Begin()
		b.DeleteRange([]byte("a"), []byte("z"))
		_, err = b.Commit()
		require.NoError(t, err)
		set("d")
	}
	require.Equal(t, []string{"a", "b", "c"}, seen)
	require.Equal(t, map[string]string{"d": ""}, dump(t, engine))
}

func TestMemory_HasNoSQLAndNoBackup(t *testing.T) {
	engine := store.NewMemory()
	_, err := engine.OpenSQL(nil, store.SQLLimits{})
	require.ErrorIs(t, err, store.ErrNoStore)
	require.Error(t, engine.Backup(t.Context(), t.TempDir()))
	require.NoError(t, engine.Writable())
	require.NoError(t, engine.Close())
}
