package store_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

func TestArchive_RoundTrips(t *testing.T) {
	engine := store.NewMemory()
	id := store.Identity{Namespace: 1, Base: baseOf("o", "x"), Name: "x"}
	o := store.NewObject(engine, id)
	o.Put(store.Keys, "", []byte("empty key"))
	o.Put(store.Keys, "\xff\x00", nil)
	o.Put(store.About, "schema", []byte("v1"))
	require.NoError(t, o.SetAlarm(store.Alarm{Name: "pending", At: 5, Serial: 1, Payload: []byte("p")}))
	require.NoError(t, o.SetAlarm(store.Alarm{Name: "failed", At: 4, Serial: 2, Failed: true, Err: "why"}))
	_, err := o.Commit()
	require.NoError(t, err)

	copied := store.NewMemory()
	into := store.NewObject(copied, id)
	var names []string
	for _, table := range o.Archive("namespace", "x", "id") {
		names = append(names, table.Name)
		for row, err := range table.Rows {
			require.NoError(t, err)
			require.Len(t, row, len(table.Columns))
			require.NoError(t, into.Unarchive(table.Name, row))
		}
	}
	var taken []string
	for _, table := range store.ArchiveTables {
		taken = append(taken, table.Name)
	}
	require.Equal(t, taken, names)
	_, err = into.Commit()
	require.NoError(t, err)
	require.Equal(t, dump(t, engine), dump(t, copied))
}

func TestUnarchive_RefusesUnknownRows(t *testing.T) {
	o := store.NewObject(store.NewMemory(), store.Identity{Namespace: 1})
	cases := map[string][][]any{
		"_dog_object": {nil, {int64(1)}, {int64(0), "n", "x", "id"}, {"1", "n", "x", "id"}},
		"_dog_keys":   {nil, {[]byte("k")}, {"k", []byte("v")}, {[]byte("k"), nil}, {nil, []byte("v")}},
		"_dog_alarms": {{[]byte("a"), []byte("b")}, {[]byte("a"), nil}},
		"_dog_about":  {{[]byte(""), []byte("v")}},
		"other":       {{[]byte("k"), []byte("v")}},
	}
	for table, rows := range cases {
		for _, row := range rows {
			require.ErrorIs(t, o.Unarchive(table, row), store.ErrCorrupt, "%s %v", table, row)
		}
	}
	require.ErrorIs(t, o.Unarchive("_dog_object", []any{int64(2), "n", "more"}), store.ErrTooNew)
	require.False(t, o.Dirty())
}

func TestUnarchive_ReportsDamage(t *testing.T) {
	o := store.NewObject(store.NewMemory(), store.Identity{Namespace: 1})
	o.Put(store.Alarms, "a", []byte("damaged"))
	var all []error
	for _, table := range o.Archive("", "", "") {
		for _, err := range table.Rows {
			all = append(all, err)
		}
	}
	require.ErrorIs(t, errors.Join(all...), store.ErrCorrupt)
}
