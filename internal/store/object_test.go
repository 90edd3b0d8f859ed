package store_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

// content is what an object should have: values by space and key, and alarms.
type content struct {
	values map[string]string
	alarms map[string]int64
	stored bool // it is among the stored ones
}

func (c content) clone() content {
	return content{maps.Clone(c.values), maps.Clone(c.alarms), c.stored}
}

func emptyContent() content { return content{values: map[string]string{}, alarms: map[string]int64{}} }

// modelled is an object, and what should be in it.
type modelled struct {
	engine    store.Engine
	id        store.Identity
	object    *store.Object
	committed content
	now       content
	wiped     bool
	saves     []content
	wipes     []bool // at the saves
	reverts   uint64
}

var spaces = []store.Space{store.Keys, store.Sheets}

// odd are keys that are empty, short or invalid UTF-8.
var odd = []string{"", "\x00", "\xff", "\xff\xff", "0\x80", "0\x80\xff", "0\x81", "0\xff"}

// drawKey returns one of few keys, so that what is done meets what was done
// before.
func drawKey(t *rapid.T) string {
	return rapid.OneOf(
		rapid.SampledFrom(odd),
		rapid.Map(rapid.IntRange(0, 120), func(i int) string { return fmt.Sprintf("%03d", i) }),
	).Draw(t, "key")
}

func drawSpace(t *rapid.T) store.Space { return rapid.SampledFrom(spaces).Draw(t, "space") }

func (m *modelled) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"put":         m.put,
		"put many":    m.putMany,
		"delete":      m.delete,
		"get":         m.get,
		"scan":        m.scan,
		"set alarm":   m.setAlarm,
		"drop alarm":  m.dropAlarm,
		"delete all":  m.deleteAll,
		"save":        m.save,
		"release":     m.release,
		"restore":     m.restore,
		"commit":      m.commit,
		"rollback":    m.rollback,
		"fail":        m.fail,
		"reopen":      m.open,
		"":            m.check,
		"first alarm": m.firstAlarm,
	}
}

func (m *modelled) set(space store.Space, key, value string) {
	m.object.Put(space, key, []byte(value))
	m.now.values[string(space)+key] = value
}

func (m *modelled) put(t *rapid.T) {
	m.set(drawSpace(t), drawKey(t), rapid.StringN(0, 3, -1).Draw(t, "value"))
}

func (m *modelled) putMany(t *rapid.T) {
	space, value := drawSpace(t), rapid.StringN(0, 3, -1).Draw(t, "value")
	for i := range 100 {
		m.set(space, fmt.Sprintf("%03d", i), value)
	}
}

func (m *modelled) delete(t *rapid.T) {
	space, key := drawSpace(t), drawKey(t)
	m.object.Delete(space, key)
	delete(m.now.values, string(space)+key)
}

func (m *modelled) get(t *rapid.T) {
	space, key := drawSpace(t), drawKey(t)
	value, found, err := m.object.Get(space, key)
	require.NoError(t, err)
	want, ok := m.now.values[string(space)+key]
	require.Equal(t, ok, found)
	require.Equal(t, want, string(value))
}

func (m *modelled) scan(t *rapid.T) {
	space := drawSpace(t)
	r := store.Range{Lower: drawKey(t), Upper: drawKey(t), Unbounded: rapid.Bool().Draw(t, "unbounded")}
	within := func(key string) bool { return key >= r.Lower && (r.Unbounded || key < r.Upper) }
	if rapid.Bool().Draw(t, "by prefix") {
		prefix := rapid.OneOf(rapid.SampledFrom(odd), rapid.SampledFrom([]string{"0", "01"})).Draw(t, "prefix")
		r = store.PrefixRange(prefix)
		within = func(key string) bool { return strings.HasPrefix(key, prefix) }
	}
	r.Reverse = rapid.Bool().Draw(t, "reverse")
	want := []string{}
	for key := range m.now.values {
		if key[0] == byte(space) && within(key[1:]) {
			want = append(want, key[1:]+"="+m.now.values[key])
		}
	}
	slices.SortFunc(want, func(a, b string) int { return cmpKeys(a, b, r.Reverse) })
	got := []string{}
	most := rapid.IntRange(1, 200).Draw(t, "at most")
	for e, err := range m.object.Scan(space, r) {
		require.NoError(t, err)
		got = append(got, e.Key+"="+string(e.Value))
		if len(got) == most {
			break
		}
	}
	require.Equal(t, want[:min(most, len(want))], got)
}

// cmpKeys compares "key=value" by key. No key has a "=".
func cmpKeys(a, b string, reverse bool) int {
	a, _, _ = strings.Cut(a, "=")
	b, _, _ = strings.Cut(b, "=")
	if reverse {
		a, b = b, a
	}
	return strings.Compare(a, b)
}

func (m *modelled) setAlarm(t *rapid.T) {
	name, at := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "name"), rapid.Int64Range(-2, 5).Draw(t, "at")
	if at == 0 {
		at = 1 // 0 stands for none
	}
	require.NoError(t, m.object.SetAlarm(store.Alarm{Name: name, At: at, Serial: 1}))
	m.now.alarms[name] = at
}

func (m *modelled) dropAlarm(t *rapid.T) {
	name := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "name")
	existed, err := m.object.DeleteAlarm(name)
	require.NoError(t, err)
	_, want := m.now.alarms[name]
	require.Equal(t, want, existed)
	delete(m.now.alarms, name)
}

func (c content) first() (at int64) {
	for _, other := range c.alarms {
		if at == 0 || other < at {
			at = other
		}
	}
	return at
}

func (m *modelled) firstAlarm(t *rapid.T) {
	a, found, err := m.object.FirstAlarm()
	require.NoError(t, err)
	require.Equal(t, len(m.now.alarms) > 0, found)
	require.Equal(t, m.now.first(), a.At)
}

func (m *modelled) deleteAll(*rapid.T) {
	m.object.DeleteAll()
	m.reverts++
	m.now, m.wiped = emptyContent(), true
}

func (m *modelled) save(*rapid.T) {
	m.object.Save()
	m.saves, m.wipes = append(m.saves, m.now.clone()), append(m.wipes, m.wiped)
}

func (m *modelled) release(t *rapid.T) {
	if len(m.saves) == 0 {
		t.Skip()
	}
	m.object.Release()
	m.saves, m.wipes = m.saves[:len(m.saves)-1], m.wipes[:len(m.wipes)-1]
}

func (m *modelled) restore(t *rapid.T) {
	if len(m.saves) == 0 {
		t.Skip()
	}
	m.object.Restore()
	m.reverts++
	last := len(m.saves) - 1
	m.now, m.wiped = m.saves[last], m.wipes[last]
	m.saves, m.wipes = m.saves[:last], m.wipes[:last]
}

func (m *modelled) commit(t *rapid.T) {
	done, err := m.object.Commit()
	if len(m.saves) > 0 {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	require.Zero(t, done.Number)
	m.now.stored = len(m.now.values)+len(m.now.alarms) > 0 || (m.committed.stored && !m.wiped)
	m.committed, m.wiped = m.now.clone(), false
}

func (m *modelled) rollback(*rapid.T) {
	m.object.Rollback()
	m.reverts++
	m.now, m.wiped, m.saves, m.wipes = m.committed.clone(), false, nil, nil
}

// fail has the engine refuse a commit, after which the object has to be as
// before.
func (m *modelled) fail(t *rapid.T) {
	if len(m.saves) > 0 || !m.object.Dirty() {
		t.Skip()
	}
	m.engine.(*brittle).commits = 0
	_, err := m.object.Commit()
	m.engine.(*brittle).commits = -1
	require.ErrorIs(t, err, errInterrupted)
	m.rollback(t)
}

func (m *modelled) open(t *rapid.T) {
	m.rollback(t)
	m.object, m.reverts = store.NewObject(m.engine, m.id), 0
}

// check compares what observers see, which is what has been committed.
func (m *modelled) check(t *rapid.T) {
	require.Equal(t, len(m.saves), m.object.Saves())
	require.Equal(t, m.reverts, m.object.Reverts())
	id, found, err := store.Find(m.engine, m.id.Base)
	require.NoError(t, err)
	require.Equal(t, m.committed.stored, found)
	if !found {
		require.Len(t, dump(t, m.engine), 0, "something is left")
		return
	}
	require.Equal(t, m.id, id)
	require.Equal(t, []string{"x"}, named(t, m.engine, m.id.Namespace))
	var due []store.DueAlarm
	if len(m.committed.alarms) > 0 {
		due = append(due, store.DueAlarm{At: m.committed.first(), Namespace: m.id.Namespace, Base: m.id.Base})
	}
	require.Equal(t, due, pending(t, m.engine))
}

func TestObject_BehavesAsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		engine := &brittle{Engine: store.NewMemory(), commits: -1, reads: -1}
		id := store.Identity{Namespace: 7, Base: baseOf("o", "x"), Name: "x"}
		m := &modelled{
			engine: engine, id: id, committed: emptyContent(), now: emptyContent(), object: store.NewObject(engine, id),
		}
		t.Repeat(m.actions())
	})
}

func TestObject_CopiesKeysAndValues(t *testing.T) {
	engine := store.NewMemory()
	o := store.NewObject(engine, store.Identity{Namespace: 1})
	value := []byte("abc")
	o.Put(store.Keys, "k", value)
	value[0] = 'x'
	for range 2 { // from the transaction, then from the engine
		got, _, err := o.Get(store.Keys, "k")
		require.NoError(t, err)
		require.Equal(t, "abc", string(got))
		got[0] = 'x'
		for e, err := range o.Scan(store.Keys, store.Range{Unbounded: true}) {
			require.NoError(t, err)
			require.Equal(t, "abc", string(e.Value))
			e.Value[0] = 'x'
		}
		_, err = o.Commit()
		require.NoError(t, err)
	}
}

func TestScan_IsASnapshot(t *testing.T) {
	o := store.NewObject(store.NewMemory(), store.Identity{Namespace: 1})
	for _, key := range []string{"a", "b", "c"} {
		o.Put(store.Keys, key, nil)
	}
	var seen []string
	for e, err := range o.Scan(store.Keys, store.Range{Unbounded: true}) {
		require.NoError(t, err)
		seen = append(seen, e.Key)
		o.DeleteAll()
		o.Put(store.Keys, "d", nil)
	}
	require.Equal(t, []string{"a", "b", "c"}, seen)
}

func TestObject_EmptyValueIsNotMissing(t *testing.T) {
	o := store.NewObject(store.NewMemory(), store.Identity{Namespace: 1})
	o.Put(store.Keys, "k", nil)
	for range 2 {
		value, found, err := o.Get(store.Keys, "k")
		require.NoError(t, err)
		require.True(t, found)
		require.Empty(t, value)
		_, err = o.Commit()
		require.NoError(t, err)
	}
}

func TestObject_GetsItsNameLater(t *testing.T) {
	engine := store.NewMemory()
	base := baseOf("o", "x")
	put := func(name, key string) {
		o := store.NewObject(engine, store.Identity{Namespace: 1, Base: base, Name: name})
		o.Put(store.Keys, key, nil)
		_, err := o.Commit()
		require.NoError(t, err)
	}
	put("", "a")
	require.Equal(t, []store.Base{base}, unnamed(t, engine, 1))

	put("x", "b")
	require.Empty(t, unnamed(t, engine, 1))
	require.Equal(t, []string{"x"}, named(t, engine, 1))

	put("", "c") // who does not know the name does not take it away
	require.Empty(t, unnamed(t, engine, 1))
	require.Equal(t, []string{"x"}, named(t, engine, 1))

	o := store.NewObject(engine, store.Identity{Namespace: 1, Base: base})
	o.DeleteAll()
	_, err := o.Commit()
	require.NoError(t, err)
	require.Empty(t, dump(t, engine))
}

func TestObject_UnknownNameKeepsTheStoredName(t *testing.T) {
	base, group := baseOf("o", "x"), baseOf("g", "x")
	for _, known := range []store.Identity{
		{Namespace: 1, Base: base, Name: "x"},
		{Namespace: 1, Base: base, Group: &store.Owner{Namespace: 2, Base: group, Name: "g"}},
		{Namespace: 1, Base: base, Name: "x", Group: &store.Owner{Namespace: 2, Base: group, Name: "g"}},
	} {
		for _, hidden := range []string{"own", "group's", "both"} {
			engine := store.NewMemory()
			put(t, engine, known)
			names, bases := named(t, engine, 1), unnamed(t, engine, 1)
			partly := known
			if hidden != "group's" {
				partly.Name = ""
			}
			if known.Group != nil && hidden != "own" {
				partly.Group = &store.Owner{Namespace: 2, Base: group}
			}
			put(t, engine, partly)
			found, ok, err := store.Find(engine, base)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, known, found, hidden)
			require.Equal(t, names, named(t, engine, 1))
			require.Equal(t, bases, unnamed(t, engine, 1))
		}
	}
}

func TestObject_ReturnsReadErrors(t *testing.T) {
	engine := &brittle{Engine: store.NewMemory(), commits: -1}
	o := store.NewObject(engine, store.Identity{Namespace: 1})
	_, _, err := o.Get(store.Keys, "k")
	require.ErrorIs(t, err, errInterrupted)
	o.Put(store.Keys, "k", nil)
	_, err = o.Commit()
	require.ErrorIs(t, err, errInterrupted)
	require.Empty(t, dump(t, engine))
}
