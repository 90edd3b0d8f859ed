package storage_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// keysOf returns the keys of a listing.
func keysOf(t testing.TB, s *dog.Storage, options dog.ListOptions) []string {
	t.Helper()
	keys := []string{}
	for e, err := range s.List(options) {
		require.NoError(t, err)
		require.Equal(t, "value of "+e.Key, string(e.Value))
		keys = append(keys, e.Key)
	}
	return keys
}

func TestStorage_KeepsKeysInTheOrderOfTheirBytes(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	all := []string{"", "a", "a\x00", "aa", "ab", "b", "z", "ä", "\U0001F600", "\xff", "\xff\xff"}
	tests := map[string]struct {
		options dog.ListOptions
		keys    []string
	}{
		"all": {dog.ListOptions{}, all},
		"reverse": {dog.ListOptions{Reverse: true}, slices.Collect(func(yield func(string) bool) {
			for _, key := range slices.Backward(all) {
				if !yield(key) {
					return
				}
			}
		})},
		"prefix":             {dog.ListOptions{Prefix: "a"}, []string{"a", "a\x00", "aa", "ab"}},
		"prefix of all ones": {dog.ListOptions{Prefix: "\xff"}, []string{"\xff", "\xff\xff"}},
		"start":              {dog.ListOptions{Start: "aa"}, all[3:]},
		"start after":        {dog.ListOptions{StartAfter: "aa"}, all[4:]},
		"start after absent": {dog.ListOptions{StartAfter: "c"}, all[6:]},
		"end":                {dog.ListOptions{End: "aa"}, all[:3]},
		"prefix, start, end": {dog.ListOptions{Prefix: "a", Start: "a\x00", End: "ab"}, []string{"a\x00", "aa"}},
		"limit":              {dog.ListOptions{Limit: 2}, all[:2]},
		"limit from the end": {dog.ListOptions{Limit: 2, Reverse: true, End: "z"}, []string{"b", "ab"}},
		"start, reverse": {
			dog.ListOptions{Start: "z", Reverse: true},
			[]string{"\xff\xff", "\xff", "\U0001F600", "ä", "z"},
		},
		"an impossible range":  {dog.ListOptions{Start: "z", End: "a"}, []string{}},
		"start beyond prefix":  {dog.ListOptions{Prefix: "a", Start: "b"}, []string{}},
		"end before prefix":    {dog.ListOptions{Prefix: "b", End: "a"}, []string{}},
		"nothing has a prefix": {dog.ListOptions{Prefix: "q"}, []string{}},
	}
	for _, committed := range []bool{false, true} {
		stub := cells.Named("committed " + strconv.FormatBool(committed))
		check := func(s *dog.Storage) {
			for name, test := range tests {
				require.Equal(t, test.keys, keysOf(t, s, test.options), name)
			}
		}
		require.NoError(t, fixture.InTurn(stub, func(_ context.Context, c *fixture.Object) error {
			for _, key := range all {
				require.NoError(t, c.Storage().Put(key, []byte("value of "+key)))
			}
			if !committed {
				check(c.Storage())
			}
			return nil
		}))
		require.NoError(
			t,
			fixture.InTurn(stub, func(_ context.Context, c *fixture.Object) error { check(c.Storage()); return nil }),
		)
	}
}

func TestStorage_ListOptionsThatContradictEachOtherAreRefused(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		for _, options := range []dog.ListOptions{{Start: "a", StartAfter: "b"}, {Limit: -1}} {
			n := 0
			for _, err := range c.Storage().List(options) {
				require.ErrorAs(t, err, new(*dog.UsageError))
				n++
			}
			require.Equal(t, 1, n)
		}
		return nil
	}))
}

func TestStorage_BatchOperations(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		s := c.Storage()
		require.NoError(t, s.PutMany(map[string][]byte{"a": []byte("1"), "b": nil, "c": []byte("3")}))
		values, err := s.GetMany("a", "b", "x")
		require.NoError(t, err)
		require.Equal(t, map[string][]byte{"a": []byte("1"), "b": {}}, values)
		n, err := s.Delete("a", "x", "c", "a")
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.ErrorIs(t, s.PutMany(map[string][]byte{"d": nil, strings.Repeat("k", 2049): nil}), dog.ErrTooBig)
		_, found, err := s.Get("d")
		require.NoError(t, err)
		require.False(t, found, "all or none")
		require.NoError(t, s.DeleteAll())
		require.Empty(t, keysOf(t, s, dog.ListOptions{}))
		return nil
	}))
}

func TestStorage_KeysAndValuesHaveLimits(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		long := strings.Repeat("k", 2048)
		require.NoError(t, c.Storage().Put(long, make([]byte, 2<<20-2048)))
		require.ErrorIs(t, c.Storage().Put(long, make([]byte, 2<<20-2047)), dog.ErrTooBig)
		require.ErrorIs(t, c.Storage().Put(long+"k", nil), dog.ErrTooBig)
		return nil
	}))
}

func TestStorage_CopiesValues(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	read := func(c *fixture.Object) []byte {
		value, _, err := c.Storage().Get("a")
		require.NoError(t, err)
		return value
	}
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		value := []byte("one")
		require.NoError(t, c.Storage().Put("a", value))
		value[0] = 'X'
		got := read(c)
		got[1] = 'X'
		require.Equal(t, "one", string(read(c)))
		return nil
	}))
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		got := read(c)
		got[1] = 'X'
		require.Equal(t, "one", string(read(c)))
		return nil
	}))
}

func TestStorage_TransactionIsUndoneWhenItFails(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	failed := errors.New("failed")
	dump := func(s *dog.Storage) map[string]string {
		all := make(map[string]string)
		for e, err := range s.List(dog.ListOptions{}) {
			require.NoError(t, err)
			all[e.Key] = string(e.Value)
		}
		return all
	}
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(ctx context.Context, c *fixture.Object) error {
		s := c.Storage()
		put := func(key, value string) { require.NoError(t, s.Put(key, []byte(value))) }
		put("a", "1")
		require.ErrorIs(t, s.Transaction(func() error {
			put("a", "2")
			put("b", "2")
			require.NoError(t, s.Transaction(func() error { put("c", "3"); return nil }))
			require.Panics(t, func() {
				_ = s.Transaction(func() error { put("a", "4"); require.NoError(t, s.DeleteAll()); panic("no") })
			})
			require.Equal(t, map[string]string{"a": "2", "b": "2", "c": "3"}, dump(s))
			require.ErrorIs(t, s.Sync(ctx), dog.ErrInTransaction)
			require.ErrorIs(t, dog.Await(ctx, func() error { return nil }), dog.ErrInTransaction)
			return failed
		}), failed)
		require.Equal(t, map[string]string{"a": "1"}, dump(s))
		require.NoError(t, s.Transaction(func() error { put("d", "5"); return nil }))
		return nil
	}))
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		require.Equal(t, map[string]string{"a": "1", "d": "5"}, dump(c.Storage()))
		return nil
	}))
}

func TestStorage_FailsOutsideTheTurn(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	var kept *dog.Storage
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(ctx context.Context, c *fixture.Object) error {
		kept = c.Storage()
		require.NoError(t, kept.Put("a", nil))
		return dog.Await(ctx, func() error {
			require.ErrorIs(t, kept.Put("b", nil), dog.ErrOutsideTurn)
			_, _, err := kept.Get("a")
			require.ErrorIs(t, err, dog.ErrOutsideTurn)
			return nil
		})
	}))
	require.ErrorIs(t, kept.Put("a", nil), dog.ErrOutsideTurn)
	require.ErrorIs(t, kept.Sync(context.Background()), dog.ErrOutsideTurn)
	fixture.RequireUsage(t, new(fixture.Object).Storage().Put("a", nil), "not made by a runtime")
}

func TestStorage_ErrorKeepsWritesWithoutRollbackOnError(t *testing.T) {
	for _, rollback := range []bool{false, true} {
		h := fixture.NewRoomsWith(t, dog.Options{}, dog.GroupOptions[fixture.Lobby]{Limit: 2}, &fixture.Hooks{
			Gossip: func(_ context.Context, r *fixture.Room, m dog.Message) (any, error) {
				_, found, err := r.Storage().Get("key")
				if m.String() == `"read"` {
					return found, err
				}
				return nil, errors.Join(fixture.Put(r), errors.New("failed"))
			},
			Rollback: rollback,
		})
		_, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		replies, err := h.Group.Gossip(t.Context(), "store")
		require.NoError(t, err)
		require.ErrorContains(t, replies[0].Err, "failed")
		replies, err = h.Group.Gossip(t.Context(), "read")
		require.NoError(t, err)
		require.Equal(t, strconv.FormatBool(!rollback), string(replies[0].Data))
	}
}

// A model of one object's storage: what a map does, whatever turns,
// transactions and evictions do in between.
func TestStorage_BehavesLikeAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		runtime, err := dog.New(dog.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer func() { require.NoError(t, runtime.Shutdown(context.Background())) }()
		cells, err := dog.RegisterObject[fixture.Object](runtime, "cell", nil)
		require.NoError(t, err)
		stub := cells.Named("a")
		model := map[string]string{}
		key := rapid.StringMatching(`[ab]{0,3}`)
		for range rapid.IntRange(1, 8).Draw(rt, "turns") {
			before := maps.Clone(model)
			fails := rapid.IntRange(0, 4).Draw(rt, "panics") == 0
			outside(stub, func(c *fixture.Object) {
				work(rt, c.Storage(), model, key, 0)
				if fails {
					panic("no")
				}
			})
			if fails {
				model = before
			}
		}
		outside(stub, func(c *fixture.Object) { compare(rt, c.Storage(), model) })
	})
}

// outside runs f in a turn of an object. A panic other than "no" is the test's
// own: it goes on here.
func outside(stub dog.Stub[fixture.Object], f func(c *fixture.Object)) {
	var own any
	_ = fixture.InTurn(stub, func(_ context.Context, c *fixture.Object) error {
		defer func() {
			if p := recover(); p != nil {
				if p != "no" {
					own = p
				}
				panic(p)
			}
		}()
		f(c)
		return nil
	})
	if own != nil {
		panic(own)
	}
}

func work(rt *rapid.T, s *dog.Storage, model map[string]string, key *rapid.Generator[string], depth int) {
	for range rapid.IntRange(0, 6).Draw(rt, "steps") {
		k := key.Draw(rt, "key")
		switch rapid.IntRange(0, 7).Draw(rt, "step") {
		case 0, 1, 2:
			v := rapid.StringN(0, 3, -1).Draw(rt, "value")
			require.NoError(rt, s.Put(k, []byte(v)))
			model[k] = v
		case 3:
			_, had := model[k]
			n, err := s.Delete(k)
			require.NoError(rt, err)
			require.Equal(rt, had, n == 1)
			delete(model, k)
		case 4:
			require.NoError(rt, s.DeleteAll())
			clear(model)
		case 5:
			compare(rt, s, model)
		default:
			if depth == 3 {
				continue
			}
			before := maps.Clone(model)
			failed := errors.New("failed")
			err := s.Transaction(func() error {
				work(rt, s, model, key, depth+1)
				if rapid.Bool().Draw(rt, "fails") {
					return failed
				}
				return nil
			})
			if err != nil {
				require.ErrorIs(rt, err, failed)
				clear(model)
				maps.Copy(model, before)
			}
		}
	}
}

func compare(rt *rapid.T, s *dog.Storage, model map[string]string) {
	bounds := rapid.StringMatching(`[ab]{0,2}`)
	o := dog.ListOptions{
		Prefix: bounds.Draw(rt, "prefix"), Start: bounds.Draw(rt, "start"), End: bounds.Draw(rt, "end"),
		Reverse: rapid.Bool().Draw(rt, "reverse"),
	}
	want := []string{}
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(k, o.Prefix) && k >= o.Start && (o.End == "" || k < o.End) {
			want = append(want, k)
		}
	}
	if o.Reverse {
		slices.Reverse(want)
	}
	got := []string{}
	for e, err := range s.List(o) {
		require.NoError(rt, err)
		require.Equal(rt, model[e.Key], string(e.Value))
		got = append(got, e.Key)
	}
	require.Equal(rt, want, got)
}
