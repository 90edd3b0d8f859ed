package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
)

// release is the model of a program that changes its namespaces from release to
// release.
type release struct {
	engine     store.Engine
	migrations []store.Migration
	spaces     map[string]map[string]string // values of objects by name, by namespace
	used       map[string]bool              // names there have ever been
	objects    int                          // there have ever been
}

// register registers all namespaces, and checks and adds objects.
func (r *release) register(t *rapid.T) {
	c := opened(t, r.engine, r.migrations...)
	fresh := opened(t, store.NewMemory(), r.migrations...)
	total := 0
	for _, name := range slices.Sorted(maps.Keys(r.spaces)) {
		n := register(t, c, name, objects)
		require.Equal(t, n.Origin, register(t, fresh, name, objects).Origin, "fresh stores have other IDs")
		require.Equal(
			t, slices.Sorted(maps.Keys(r.spaces[name])), slices.Collect(slices.Values(sortedNames(t, r.engine, n))),
		)
		for object, value := range r.spaces[name] {
			require.Equal(t, value, getNamed(t, r.engine, n, object))
		}
		if rapid.Bool().Draw(t, "new object") {
			object := rapid.SampledFrom([]string{"x", "y", fmt.Sprint(r.objects)}).Draw(t, "object")
			r.objects++
			value := fmt.Sprint(r.objects)
			putNamed(t, r.engine, n, object, value)
			r.spaces[name][object] = value
		}
		total += len(r.spaces[name])
	}
	require.Len(t, pending(t, r.engine), total)
	for name := range r.used {
		if r.spaces[name] == nil {
			_, err := c.Register(name, objects)
			require.Error(t, err)
		}
	}
}

func sortedNames(t *rapid.T, engine store.Engine, n store.Namespace) []string {
	names := named(t, engine, n.Number)
	require.True(t, slices.IsSorted(names))
	return names
}

// migrate draws a migration and applies it, with interruptions.
func (r *release) migrate(t *rapid.T) {
	m := store.Migration{Tag: fmt.Sprint(len(r.migrations)), Renamed: map[string]string{}, Merged: map[string]string{}}
	next := maps.Clone(r.spaces)
	touched := make(map[string]bool)
	free := func(names []string) []string {
		return slices.DeleteFunc(names, func(name string) bool { return touched[name] })
	}
	shared := false
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		live := free(slices.Sorted(maps.Keys(r.spaces)))
		dead := free(slices.DeleteFunc(
			[]string{"a", "b", "c", "d", "e"}, func(name string) bool { return r.spaces[name] != nil },
		))
		if len(live) < 2 || len(dead) == 0 {
			break
		}
		from := rapid.SampledFrom(live).Draw(t, "from")
		switch rapid.IntRange(0, 3).Draw(t, "change") {
		case 0:
			to := rapid.SampledFrom(dead).Draw(t, "to")
			m.Renamed[from] = to
			next[to] = next[from]
			delete(next, from)
			touched[from], touched[to] = true, true
		case 1:
			m.Deleted = append(m.Deleted, from)
			delete(next, from)
			touched[from] = true
		case 2:
			into := rapid.SampledFrom(
				slices.DeleteFunc(live, func(name string) bool { return name == from }),
			).Draw(t, "into")
			m.Merged[from] = into
			merged := maps.Clone(next[into])
			for object, value := range next[from] {
				_, both := merged[object]
				shared = shared || both
				merged[object] = value
			}
			next[into] = merged
			delete(next, from)
			touched[from], touched[into] = true, true
		case 3:
			name := dead[0]
			if !r.used[name] {
				continue
			}
			m.Created = append(m.Created, name)
			next[name] = map[string]string{}
			touched[name] = true
		}
	}
	migrations := append(slices.Clone(r.migrations), m)
	if shared {
		before := dump(t, r.engine)
		_, err := open(r.engine, migrations...)
		var refused *store.Refusal
		require.ErrorAs(t, err, &refused)
		require.Equal(t, before, dump(t, r.engine))
		return
	}
	for _, commits := range rapid.SliceOfN(rapid.IntRange(0, 4), 0, 3).Draw(t, "interruptions") {
		if _, err := open(&brittle{Engine: r.engine, commits: commits, reads: -1}, migrations...); err != nil {
			require.ErrorIs(t, err, errInterrupted)
		}
	}
	opened(t, r.engine, migrations...)
	r.migrations, r.spaces = migrations, next
	for name := range touched {
		r.used[name] = true
	}
}

func TestMigrate_AcrossReleases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &release{engine: store.NewMemory(), spaces: map[string]map[string]string{}, used: map[string]bool{}}
		for _, name := range []string{"a", "b", "c"} {
			r.spaces[name] = map[string]string{}
			r.used[name] = true
		}
		r.register(t)
		for range rapid.IntRange(1, 6).Draw(t, "releases") {
			r.migrate(t)
			r.register(t)
		}
	})
}

func TestMigrate_ReturnsWhenDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		outcome := make(chan error, 1)
		migrate := func() {
			go func() {
				_, err := open(engine, renameAToB)
				outcome <- err
			}()
			synctest.Wait()
		}
		migrate()
		require.Empty(t, outcome)
		engine.Flush()
		require.NoError(t, <-outcome)

		lost := errors.New("lost")
		engine = storetest.New()
		migrate()
		engine.Fail(lost)
		require.ErrorIs(t, <-outcome, lost)
	})
}
