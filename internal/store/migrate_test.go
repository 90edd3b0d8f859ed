package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// open opens the catalog of an engine and applies migrations.
func open(engine store.Engine, migrations ...store.Migration) (*store.Catalog, error) {
	c, err := store.OpenCatalog(engine)
	if err != nil {
		return nil, err
	}
	return c, c.Migrate(migrations, baseOf)
}

// opened is open that has to succeed.
func opened(t require.TestingT, engine store.Engine, migrations ...store.Migration) *store.Catalog {
	c, err := open(engine, migrations...)
	require.NoError(t, err)
	return c
}

func register(t require.TestingT, c *store.Catalog, name string, kind int) store.Namespace {
	n, err := c.Register(name, kind)
	require.NoError(t, err)
	return n
}

// putNamed stores something, an alarm included, for the object of a name.
func putNamed(t require.TestingT, engine store.Engine, n store.Namespace, name, value string) {
	putObject(t, engine, store.Identity{Namespace: n.Number, Base: baseOf(n.Origin, name), Name: name}, value)
}

func putObject(t require.TestingT, engine store.Engine, id store.Identity, value string) {
	o := store.NewObject(engine, id)
	o.Put(store.Keys, "k", []byte(value))
	require.NoError(t, o.SetAlarm(store.Alarm{Name: "a", At: alarmOf(value), Serial: 1}))
	_, err := o.Commit()
	require.NoError(t, err)
}

// alarmOf returns the time of the alarm of the object with a value.
func alarmOf(value string) int64 { return int64(1000 + len(value)) }

// getNamed returns what putNamed has stored.
func getNamed(t require.TestingT, engine store.Engine, n store.Namespace, name string) string {
	return getObject(t, engine, store.Identity{Namespace: n.Number, Base: baseOf(n.Origin, name), Name: name})
}

func getObject(t require.TestingT, engine store.Engine, id store.Identity) string {
	found, ok, err := store.Find(engine, id.Base)
	require.NoError(t, err)
	require.True(t, ok, "object %q is lost", id.Name)
	require.Equal(t, id, found)
	o := store.NewObject(engine, id)
	value, ok, err := o.Get(store.Keys, "k")
	require.NoError(t, err)
	require.True(t, ok)
	a, ok, err := o.FirstAlarm()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, alarmOf(string(value)), a.At)
	due := store.DueAlarm{At: a.At, Namespace: id.Namespace, Base: id.Base}
	set, err := due.Set(engine)
	require.NoError(t, err)
	require.True(t, set, "the alarm is not in the index")
	return string(value)
}

func TestCatalog_NamespaceKeepsNumberOriginAndKind(t *testing.T) {
	engine := store.NewMemory()
	c := opened(t, engine)
	a, b := register(t, c, "a", objects), register(t, c, "b", groups)
	require.NotEqual(t, a.Number, b.Number)
	require.Equal(t, "a", a.Origin)

	c = opened(t, engine)
	require.Equal(t, b, register(t, c, "b", groups))
	require.Equal(t, a, register(t, c, "a", objects))
	_, err := c.Register("a", groups)
	require.ErrorContains(t, err, "another kind")
}

func TestCatalog_DamageIsCorruption(t *testing.T) {
	for _, key := range []string{"na", "g\x00\x00\x00\x00"} {
		engine := store.NewMemory()
		b := engine.Begin()
		b.Set([]byte(key), []byte("{"))
		_, err := b.Commit()
		require.NoError(t, err)
		_, err = open(engine)
		require.ErrorIs(t, err, store.ErrCorrupt)
	}
}

var renameAToB = store.Migration{Tag: "v2", Renamed: map[string]string{"a": "b"}}

func TestMigrate_RenamedNamespaceKeepsItsObjects(t *testing.T) {
	engine := store.NewMemory()
	before := register(t, opened(t, engine), "a", objects)
	putNamed(t, engine, before, "x", "1")

	c := opened(t, engine, renameAToB)
	require.Equal(t, before, register(t, c, "b", objects))
	require.Equal(t, "1", getNamed(t, engine, before, "x"))
	_, err := c.Register("a", objects)
	require.EqualError(t, err, `the namespace was renamed to "b" by migration "v2"`)
}

func TestMigrate_FreshStoreAgreesWithAMigratedOne(t *testing.T) {
	fresh, err := opened(t, store.NewMemory(), renameAToB).Register("b", objects)
	require.NoError(t, err)
	require.Equal(t, "a", fresh.Origin)
}

func TestMigrate_ReusedNameHasOtherIDs(t *testing.T) {
	again := store.Migration{Tag: "v3", Created: []string{"a"}}
	engine := store.NewMemory()
	before := register(t, opened(t, engine), "a", objects)

	c := opened(t, engine, renameAToB, again)
	after := register(t, c, "a", objects)
	require.NotEqual(t, before.Number, after.Number)
	require.NotEqual(t, before.Origin, after.Origin)
	require.Equal(t, before, register(t, c, "b", objects))

	fresh := opened(t, store.NewMemory(), renameAToB, again)
	require.Equal(t, after.Origin, register(t, fresh, "a", objects).Origin)

	back := store.Migration{Tag: "v4", Renamed: map[string]string{"a": "c"}}
	backToo := store.Migration{Tag: "v5", Renamed: map[string]string{"b": "a"}}
	c = opened(t, engine, renameAToB, again, back, backToo)
	require.Equal(t, before, register(t, c, "a", objects))
	require.Equal(t, after, register(t, c, "c", objects))
}

func TestCatalog_NamespacesMustNotShareIDs(t *testing.T) {
	engine := store.NewMemory()
	b := engine.Begin()
	b.Set([]byte("nb"), []byte(`{"Number":1,"Origin":"a","Kind":3}`))
	_, err := b.Commit()
	require.NoError(t, err)
	_, err = opened(t, engine).Register("a", objects)
	require.ErrorContains(t, err, `its IDs would be those of "b"`)
}

func TestMigrate_RefusesContradictoryMigrations(t *testing.T) {
	rename := func(tag string, names ...string) store.Migration {
		m := store.Migration{Tag: tag, Renamed: map[string]string{}}
		for i := 0; i < len(names); i += 2 {
			m.Renamed[names[i]] = names[i+1]
		}
		return m
	}
	deletion := func(tag string, names ...string) store.Migration { return store.Migration{Tag: tag, Deleted: names} }
	creation := func(tag string, names ...string) store.Migration { return store.Migration{Tag: tag, Created: names} }
	merge := func(tag, from, into string) store.Migration {
		return store.Migration{Tag: tag, Merged: map[string]string{from: into}}
	}
	both := func(a, b store.Migration) store.Migration {
		return store.Migration{Tag: a.Tag, Renamed: a.Renamed, Merged: a.Merged, Deleted: b.Deleted}
	}
	cases := map[string]struct {
		migrations []store.Migration
		tag        string
	}{
		"it has no tag":           {[]store.Migration{{}}, ""},
		"the tag is used twice":   {[]store.Migration{rename("1", "a", "b"), rename("1", "b", "c")}, "1"},
		"it has an empty name":    {[]store.Migration{rename("1", "a", "")}, "1"},
		`it mentions "a" twice`:   {[]store.Migration{both(rename("1", "a", "b"), deletion("1", "a"))}, "1"},
		`it mentions "b" twice`:   {[]store.Migration{rename("1", "a", "b", "b", "c")}, "1"},
		`it mentions "c" twice`:   {[]store.Migration{rename("1", "a", "c", "b", "c")}, "1"},
		`it mentions "d" twice`:   {[]store.Migration{merge("1", "d", "d")}, "1"},
		`it mentions "e" twice`:   {[]store.Migration{{Tag: "1", Merged: map[string]string{"d": "e", "e": "f"}}}, "1"},
		`it mentions "f" twice`:   {[]store.Migration{deletion("1", "f", "f")}, "1"},
		`it mentions "g" twice`:   {[]store.Migration{both(merge("1", "h", "g"), deletion("1", "g"))}, "1"},
		`"a" was renamed to "b"`:  {[]store.Migration{rename("1", "a", "b"), rename("2", "a", "c")}, "2"},
		`"a" was deleted`:         {[]store.Migration{deletion("1", "a"), rename("2", "a", "b")}, "2"},
		`"b" was deleted`:         {[]store.Migration{deletion("1", "b"), merge("2", "a", "b")}, "2"},
		`"a" was merged into "b"`: {[]store.Migration{merge("1", "a", "b"), deletion("2", "a")}, "2"},
		`"b" exists already`:      {[]store.Migration{rename("1", "a", "b"), rename("2", "c", "b")}, "2"},
		`"c" exists already`:      {[]store.Migration{merge("1", "a", "c"), rename("2", "b", "c")}, "2"},
		`"a" needs no migration`:  {[]store.Migration{creation("1", "a")}, "1"},
		`"b" needs no migration`:  {[]store.Migration{rename("1", "a", "b"), creation("2", "b")}, "2"},
		`"a" needs no migration: no e`: {
			[]store.Migration{rename("1", "a", "b"), creation("2", "a"), creation("3", "a")}, "3",
		},
	}
	for problem, c := range cases {
		t.Run(problem, func(t *testing.T) {
			engine := store.NewMemory()
			_, err := open(engine, c.migrations...)
			var refused *store.Refusal
			require.ErrorAs(t, err, &refused)
			require.Equal(t, c.tag, refused.Tag)
			require.Contains(t, refused.Problem, problem)
			require.Empty(t, dump(t, engine))
		})
	}
}

func TestMigrate_RefusesToContradictTheStoreWithoutChanges(t *testing.T) {
	harmless := store.Migration{Tag: "1", Renamed: map[string]string{"plain": "flat"}, Deleted: []string{"old"}}
	cases := map[string]store.Migration{
		`the store has no "typo"`:                    {Renamed: map[string]string{"typo": "new"}},
		`the store has no "tyqo"`:                    {Deleted: []string{"tyqo"}},
		`the store has no "tyro"`:                    {Merged: map[string]string{"tyro": "other"}},
		`the store has no "type"`:                    {Merged: map[string]string{"other": "type"}},
		`the store has a "other" already`:            {Renamed: map[string]string{"flat": "other"}},
		`"group" and "other" cannot be merged`:       {Merged: map[string]string{"group": "other"}},
		`"other" and "group" cannot be merged`:       {Merged: map[string]string{"other": "group"}},
		`"replica" and "other" cannot be merged`:     {Merged: map[string]string{"replica": "other"}},
		`"flat" and "other" both have an object "x`:  {Merged: map[string]string{"flat": "other"}},
		`"other" and "third" both have an object "x`: {Merged: map[string]string{"flat": "third", "other": "third"}},
	}
	for problem, m := range cases {
		t.Run(problem, func(t *testing.T) {
			engine := store.NewMemory()
			c := opened(t, engine)
			for _, name := range []string{"plain", "old", "other", "third"} {
				n := register(t, c, name, objects)
				if name != "third" {
					putNamed(t, engine, n, "x", name)
				}
			}
			register(t, c, "group", groups)
			register(t, c, "replica", replicas)
			before := dump(t, engine)
			m.Tag = "2"
			_, err := open(engine, harmless, m)
			var refused *store.Refusal
			require.ErrorAs(t, err, &refused)
			require.Equal(t, "2", refused.Tag)
			require.Contains(t, refused.Problem, problem)
			require.Equal(t, before, dump(t, engine))
		})
	}
}

func TestMigrate_RefusesChangesOfAppliedMigrations(t *testing.T) {
	one := store.Migration{Tag: "1", Deleted: []string{"a", "b"}}
	two := store.Migration{Tag: "2", Renamed: map[string]string{"c": "d"}}
	three := store.Migration{Tag: "3", Deleted: []string{"e"}}
	cases := map[string]struct {
		migrations []store.Migration
		tag        string
		problem    string
	}{
		"none left":   {nil, "1", "no longer declared"},
		"one left":    {[]store.Migration{one}, "2", "no longer declared"},
		"one is gone": {[]store.Migration{two}, "1", "no longer declared"},
		"reordered":   {[]store.Migration{two, one}, "1", "applied as number 1 and is now number 2"},
		"inserted":    {[]store.Migration{one, three, two}, "2", "applied as number 2 and is now number 3"},
		"changed":     {[]store.Migration{{Tag: "1", Deleted: []string{"a"}}, two}, "1", "has been changed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			engine := store.NewMemory()
			opened(t, engine, one, two)
			before := dump(t, engine)
			_, err := open(engine, c.migrations...)
			var refused *store.Refusal
			require.ErrorAs(t, err, &refused)
			require.Equal(t, c.tag, refused.Tag)
			require.Contains(t, refused.Problem, c.problem)
			require.Equal(t, before, dump(t, engine))
		})
	}
	engine := store.NewMemory()
	opened(t, engine, one, two)
	before := dump(t, engine)
	opened(t, engine, store.Migration{Tag: "1", Deleted: []string{"b", "a"}}, two) // the order of a list means nothing
	require.Equal(t, before, dump(t, engine))
	opened(t, engine, one, two, three)
	require.NotEqual(t, before, dump(t, engine))
}

func TestMigrate_AcceptsNamespacesOfEarlierMigrations(t *testing.T) {
	engine := store.NewMemory()
	register(t, opened(t, engine, renameAToB), "other", objects) // b was not registered
	next := store.Migration{Tag: "v3", Renamed: map[string]string{"b": "c"}}
	c := opened(t, engine, renameAToB, next)
	require.Equal(t, "a", register(t, c, "c", objects).Origin)
}
