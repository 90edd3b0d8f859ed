package store

import (
	"fmt"
	"iter"
)

// AlarmsTable is the name of the table of alarms in an exported file.
const AlarmsTable = "_dog_alarms"

// The other tables of the library in an exported file.
const (
	objectTable = "_dog_object"
	keysTable   = "_dog_keys"
	aboutTable  = "_dog_about"
)

// archiveVersion is the version of these tables.
const archiveVersion = 1

// ArchiveTables are the tables of an exported file that [Object.Unarchive]
// accepts, without their rows. The first table must be read first.
var ArchiveTables = new(Object).Archive("", "", "")

// Archive returns the stored data of the object outside its SQLite database.
// namespace, name and id are information for readers of the file.
func (o *Object) Archive(namespace, name, id string) []Table {
	return []Table{
		{
			Name:    objectTable,
			Columns: []string{"version INTEGER", "namespace TEXT", "name TEXT", "id TEXT"},
			Rows: func(yield func([]any, error) bool) {
				yield([]any{int64(archiveVersion), namespace, name, id}, nil)
			},
		},
		{
			Name:    keysTable,
			Columns: []string{"key BLOB PRIMARY KEY", "value BLOB"},
			Rows:    o.rows(Keys, "", pairRow),
		},
		{
			Name:    AlarmsTable,
			Columns: []string{"name BLOB PRIMARY KEY", "record BLOB", "at INTEGER", "failed INTEGER", "payload BLOB"},
			Rows: o.rows(Alarms, "", func(e Entry) ([]any, error) {
				a, err := decodeAlarm(e.Key, e.Value)
				failed := int64(0)
				if a.Failed {
					failed = 1
				}
				return []any{[]byte(e.Key), e.Value, a.At, failed, a.Payload}, err
			}),
		},
		{
			Name:    aboutTable,
			Columns: []string{"key BLOB PRIMARY KEY", "value BLOB"},
			Rows:    o.rows(About, "\x00", pairRow), // "" is the object's identity
		},
	}
}

func pairRow(e Entry) ([]any, error) { return []any{[]byte(e.Key), e.Value}, nil }

// rows returns the entries of a space as rows, starting at key from.
func (o *Object) rows(space Space, from string, row func(Entry) ([]any, error)) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		for e, err := range o.Scan(space, Range{Lower: from, Unbounded: true}) {
			var values []any
			if err == nil {
				values, err = row(e)
			}
			if !yield(values, err) || err != nil {
				return
			}
		}
	}
}

// Unarchive stores the content of a row of an exported file. The error is
// [ErrCorrupt] if the row is invalid, and [ErrTooNew] if the file was exported
// by a later version.
func (o *Object) Unarchive(table string, row []any) error {
	damaged := fmt.Errorf("%w: row of the exported table %q", ErrCorrupt, table)
	if len(row) < 2 {
		return damaged
	}
	if table == objectTable { // every version has this column
		version, ok := row[0].(int64)
		switch {
		case !ok || version < 1:
			return damaged
		case version > archiveVersion:
			return fmt.Errorf(
				"%w: exported in a format of version %d, and this version reads up to %d", ErrTooNew, version,
				archiveVersion,
			)
		}
		return nil
	}
	name, named := row[0].([]byte)
	value, ok := row[1].([]byte)
	if !named || !ok {
		return damaged
	}
	key := string(name)
	switch {
	case table == keysTable:
		o.Put(Keys, key, value)
	case table == aboutTable && key != "":
		o.Put(About, key, value)
	case table == AlarmsTable:
		a, err := decodeAlarm(key, value)
		if err != nil {
			return err
		}
		return o.SetAlarm(a)
	default:
		return damaged
	}
	return nil
}
