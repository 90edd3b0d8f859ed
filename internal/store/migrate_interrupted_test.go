package store_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// interrupted applies migrations again and again, each time with one more
// commit before the engine ends, and calls reopened after each. It returns how
// many times that took.
func interrupted(t *testing.T, engine store.Engine, reopened func(), migrations ...store.Migration) int {
	t.Helper()
	for n := 0; ; n++ {
		_, err := open(&brittle{Engine: engine, commits: n, reads: -1}, migrations...)
		if err == nil {
			return n
		}
		require.ErrorIs(t, err, errInterrupted)
		reopened()
	}
}

func TestMigrate_DeletionSurvivesInterruption(t *testing.T) {
	engine := store.NewMemory()
	c := opened(t, engine)
	doomed, stays := register(t, c, "doomed", objects), register(t, c, "stays", objects)
	putNamed(t, engine, stays, "x", "s")
	left := dump(t, engine)
	for i := range 20 {
		name := fmt.Sprint(i)
		putLarge(
			t, engine, store.Identity{Namespace: doomed.Number, Base: baseOf(doomed.Origin, name), Name: name}, 1<<10,
		)
		putObject(t, engine, store.Identity{Namespace: doomed.Number, Base: baseOf("random", name)}, "r")
	}
	m := store.Migration{Tag: "1", Deleted: []string{"doomed"}}
	n := interrupted(t, engine, func() {
		require.Equal(t, "s", getNamed(t, engine, stays, "x"))
	}, m)
	require.Greater(t, n, 1)

	after := dump(t, engine)
	maps.DeleteFunc(after, func(key, _ string) bool { return key[0] == 'g' })
	delete(left, "ndoomed")
	require.Equal(t, left, after, "something was left behind, or taken")
}

// putLarge stores 100 values of a size.
func putLarge(t require.TestingT, engine store.Engine, id store.Identity, size int) {
	putObject(t, engine, id, "large")
	o := store.NewObject(engine, id)
	for i := range 100 {
		o.Put(store.Sheets, fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, size))
	}
	o.Put(store.About, "schema", []byte("v1"))
	_, err := o.Commit()
	require.NoError(t, err)
}

func TestMigrate_DeletingGroupsDeletesTheirReplicas(t *testing.T) {
	engine := store.NewMemory()
	c := opened(t, engine)
	doomed, stays := register(t, c, "doomed", groups), register(t, c, "stays", groups)
	rooms := register(t, c, "rooms", replicas)
	replicaOf := func(n store.Namespace, name string) store.Identity {
		owner := &store.Owner{Namespace: n.Number, Base: baseOf(n.Origin, "x"), Name: "x"}
		return store.Identity{Namespace: rooms.Number, Base: baseOf(n.Origin, name), Name: name, Group: owner}
	}
	for _, n := range []store.Namespace{doomed, stays} {
		putNamed(t, engine, n, "x", n.Origin)
		putObject(t, engine, replicaOf(n, "one"), n.Origin)
		putObject(t, engine, replicaOf(n, ""), n.Origin)
	}
	interrupted(t, engine, func() {}, store.Migration{Tag: "1", Deleted: []string{"doomed"}})
	require.Empty(t, named(t, engine, doomed.Number))
	require.ElementsMatch(
		t, []store.Base{replicaOf(stays, "one").Base, replicaOf(stays, "").Base}, unnamed(t, engine, rooms.Number),
	)
	require.Equal(t, "stays", getObject(t, engine, replicaOf(stays, "one")))
	require.Len(t, pending(t, engine), 3)
}

func TestMigrate_MergingSurvivesInterruption(t *testing.T) {
	engine := store.NewMemory()
	c := opened(t, engine)
	from, into := register(t, c, "from", objects), register(t, c, "into", objects)
	putNamed(t, engine, into, "already", "i")
	random := store.Identity{Namespace: from.Number, Base: baseOf("random", "r")}
	putObject(t, engine, random, "r")
	large := store.Identity{Namespace: from.Number, Base: baseOf(from.Origin, "large"), Name: "large"}
	putLarge(t, engine, large, 30<<10) // takes several batches
	for i := range 10 {
		putNamed(t, engine, from, fmt.Sprint(i), strings.Repeat("v", i))
	}
	m := store.Migration{Tag: "1", Merged: map[string]string{"from": "into"}}
	n := interrupted(t, engine, func() {
		names := slices.Concat(named(t, engine, from.Number), named(t, engine, into.Number))
		require.Len(t, names, 12, "each object is in one place")
		require.Len(t, pending(t, engine), 13)
	}, m)
	require.Greater(t, n, 3)

	c = opened(t, engine, m)
	require.Equal(t, into, register(t, c, "into", objects))
	require.Equal(t, "i", getNamed(t, engine, into, "already"))
	random.Namespace = into.Number
	require.Equal(t, "r", getObject(t, engine, random))
	for i := range 10 {
		require.Equal(t, strings.Repeat("v", i), getNamed(t, engine, into, fmt.Sprint(i)))
	}
	large.Namespace, large.Base = into.Number, baseOf(into.Origin, "large")
	require.Equal(t, "large", getObject(t, engine, large))
	o := store.NewObject(engine, large)
	for i := range 100 {
		value, _, err := o.Get(store.Sheets, fmt.Sprint(i))
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat([]byte{byte(i)}, 30<<10), value)
	}
	value, _, err := o.Get(store.About, "schema")
	require.NoError(t, err)
	require.Equal(t, "v1", string(value))

	// Of the namespace that was merged nothing is left, not even what was
	// copied by an interrupted run.
	require.Len(t, pending(t, engine), 13)
	require.Empty(t, named(t, engine, from.Number))
	require.Empty(t, unnamed(t, engine, from.Number))
	bases := make(map[string]bool)
	for key := range dump(t, engine) {
		if key[0] == 'o' {
			bases[key[1:25]] = true
		}
	}
	require.Len(t, bases, 13)
	_, err = c.Register("from", objects)
	require.ErrorContains(t, err, `was merged into "into"`)
}

func TestMigrate_RefusesToDropAStartedMigration(t *testing.T) {
	engine := store.NewMemory()
	n := register(t, opened(t, engine), "a", objects)
	putNamed(t, engine, n, "x", "1")
	m := store.Migration{Tag: "1", Deleted: []string{"a"}}
	_, err := open(&brittle{Engine: engine, commits: 1, reads: -1}, m)
	require.ErrorIs(t, err, errInterrupted)
	var refused *store.Refusal
	_, err = open(engine)
	require.ErrorAs(t, err, &refused)
	_, err = open(engine, store.Migration{Tag: "1", Renamed: map[string]string{"a": "b"}})
	require.ErrorAs(t, err, &refused)
	opened(t, engine, m)
}

func TestMigrate_MergingCreatesAMissingTarget(t *testing.T) {
	engine := store.NewMemory()
	from := register(t, opened(t, engine, renameAToB), "from", objects)
	putNamed(t, engine, from, "x", "1")
	m := store.Migration{Tag: "v3", Merged: map[string]string{"from": "b"}}
	interrupted(t, engine, func() {}, renameAToB, m)
	into := register(t, opened(t, engine, renameAToB, m), "b", objects)
	require.Equal(t, "a", into.Origin)
	require.Equal(t, "1", getNamed(t, engine, into, "x"))
}
