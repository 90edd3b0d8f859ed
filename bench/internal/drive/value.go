package drive

import (
	"encoding/binary"
	"math/rand/v2"
)

// ValueSize is the size of what an object stores, in bytes.
const ValueSize = 100

// Value returns a new value that does not compress. It must not be the one that
// is stored already: SQLite writes nothing then.
func Value() []byte {
	b := make([]byte, 0, ValueSize+8)
	for len(b) < ValueSize {
		b = binary.NativeEndian.AppendUint64(b, rand.Uint64())
	}
	return b[:ValueSize]
}

// The SQL of every row of the bench: an object's database holds one row.
const (
	Table  = "CREATE TABLE kept (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID"
	Upsert = "INSERT INTO kept VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
	Select = "SELECT value FROM kept WHERE key = ?"
)
