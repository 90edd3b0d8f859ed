package store_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

var anyBase = rapid.Custom(func(t *rapid.T) store.Base {
	return store.Base(rapid.SliceOfN(rapid.Byte(), 24, 24).Draw(t, "base"))
})

var anyOwner = rapid.Custom(func(t *rapid.T) store.Owner {
	return store.Owner{
		Namespace: rapid.Uint32().Draw(t, "namespace"), Base: anyBase.Draw(t, "base"),
		Name: rapid.String().Draw(t, "name"),
	}
})

// put stores something for an object.
func put(t require.TestingT, engine store.Engine, id store.Identity) {
	o := store.NewObject(engine, id)
	o.Put(store.Keys, "k", []byte(id.Name))
	_, err := o.Commit()
	require.NoError(t, err)
}

func TestIdentity_IsStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		engine := store.NewMemory()
		who := anyOwner.Draw(t, "object")
		id := store.Identity{Namespace: who.Namespace, Base: who.Base, Name: who.Name}
		if rapid.Bool().Draw(t, "replica") {
			group := anyOwner.Draw(t, "group")
			id.Group = &group
		}
		put(t, engine, id)
		found, ok, err := store.Find(engine, id.Base)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, id, found)
		if id.Name != "" && id.Group == nil {
			require.Equal(t, []string{id.Name}, named(t, engine, id.Namespace))
			require.Empty(t, unnamed(t, engine, id.Namespace))
		} else {
			require.Equal(t, []store.Base{id.Base}, unnamed(t, engine, id.Namespace))
			require.Empty(t, named(t, engine, id.Namespace))
		}
	})
}

func TestIdentity_DamageIsCorruption(t *testing.T) {
	engine := store.NewMemory()
	id := store.Identity{Namespace: 300, Name: "x", Group: &store.Owner{Namespace: 300}}
	put(t, engine, id)
	key := append(append([]byte{'o'}, id.Base[:]...), 'a')
	whole, _, err := engine.Get(key)
	require.NoError(t, err)
	for n := range whole {
		b := engine.Begin()
		b.Set(key, whole[:n])
		_, err := b.Commit()
		require.NoError(t, err)
		if got, _, err := store.Find(engine, id.Base); err == nil {
			require.Nil(t, got.Group, "the first %d bytes", n) // as if it were no replica
			require.Equal(t, 4, n)
		} else {
			require.ErrorIs(t, err, store.ErrCorrupt)
		}
	}
}

func TestList_IsOrderedAndStaysInItsNamespace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		engine := store.NewMemory()
		name := rapid.StringOfN(rapid.SampledFrom([]rune{'a', 'b', 0, 0x10ffff}), 1, 3, -1)
		var names []string
		var bases []store.Base
		for _, n := range rapid.SliceOfDistinct(name, rapid.ID[string]).Draw(t, "names") {
			put(t, engine, store.Identity{Namespace: 2, Base: baseOf("2", n), Name: n})
			put(t, engine, store.Identity{Namespace: 1, Base: baseOf("1", n), Name: n})
			put(t, engine, store.Identity{Namespace: 3, Base: baseOf("3", n)})
			put(t, engine, store.Identity{Namespace: 2, Base: baseOf("random", n)})
			names, bases = append(names, n), append(bases, baseOf("random", n))
		}
		slices.Sort(names)
		slices.SortFunc(bases, func(a, b store.Base) int { return slices.Compare(a[:], b[:]) })
		prefix := rapid.StringOfN(rapid.SampledFrom([]rune{'a', 0x10ffff}), 0, 1, -1).Draw(t, "prefix")
		from := name.Draw(t, "from")
		var want, got []string
		for _, n := range names {
			if len(n) >= len(prefix) && n[:len(prefix)] == prefix && n >= from {
				want = append(want, n)
			}
		}
		for n, err := range store.Named(engine, 2, prefix, from) {
			require.NoError(t, err)
			got = append(got, n)
		}
		require.Equal(t, want, got)
		require.Equal(t, bases, unnamed(t, engine, 2))
		for i, from := range bases {
			var rest []store.Base
			for base, err := range store.Unnamed(engine, 2, from) {
				require.NoError(t, err)
				rest = append(rest, base)
			}
			require.Equal(t, bases[i:], rest)
		}
	})
}

// An object that is set an alarm is looked up once: a new one has no alarm to
// look for, and one that was stored by its ID gets its name.
func TestSetAlarm_LooksTheObjectUp(t *testing.T) {
	engine := &brittle{Engine: store.NewMemory(), commits: -1, reads: 1}
	byID := store.Identity{Namespace: 1, Base: baseOf("room", "lobby")}
	byName := byID
	byName.Name = "lobby"
	alarm := store.Alarm{Name: "wake", At: 1, Serial: 1}

	o := store.NewObject(engine, byID)
	require.NoError(t, o.SetAlarm(alarm))
	_, err := o.Commit()
	require.NoError(t, err)
	require.Zero(t, engine.reads)
	require.Equal(t, []store.Base{byID.Base}, unnamed(t, engine, 1))

	engine.reads = -1
	o = store.NewObject(engine, byName)
	require.NoError(t, o.SetAlarm(alarm))
	o.Rollback()
	alarm.At = 2
	require.NoError(t, o.SetAlarm(alarm))
	_, err = o.Commit()
	require.NoError(t, err)
	require.Equal(t, []string{"lobby"}, named(t, engine, 1))
	require.Empty(t, unnamed(t, engine, 1))
	require.Equal(t, []store.DueAlarm{{At: 2, Namespace: 1, Base: byID.Base}}, pending(t, engine))
}
