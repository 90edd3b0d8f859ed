package sqlite

import sqlite3 "github.com/ncruces/go-sqlite3"

// A machine is the instance of SQLite below a connection of the binding: a C
// program translated to Go, whose memory is one range of addresses. It is
// accessed in the same way as by extensions. It is owned by its connection.
type machine struct {
	env *sqlite3.ExtEnv // fixed
	db  int32           // the sqlite3* of the connection; fixed
}

// machineOf returns the machine of an open connection.
func machineOf(db *sqlite3.Conn) (*machine, error) {
	m := &machine{}
	load := func(env *sqlite3.ExtEnv) *machine {
		m.env = env
		return m
	}
	nothing := func() (memorySize, memoryAlignment, tableSize, tableAlignment int64) { return }
	return m, sqlite3.ExtensionInit(db, load, nothing) //nolint:staticcheck // the generic method requires a newer Go
}

// Xsqlite3_extension_init is called by the binding to start an extension.
func (m *machine) Xsqlite3_extension_init(db, _, _ int32) int32 { //nolint:staticcheck // the binding's name
	m.db = db
	return 0
}

// askOften makes SQLite ask whether to continue every progressSteps
// instructions. The binding makes it ask every thousand.
func (m *machine) askOften() { m.env.Xsqlite3_progress_handler_go(m.db, progressSteps) }

// size returns the number of bytes of memory that SQLite has allocated. It
// never releases any.
func (m *machine) size() int { return len(m.env.Buf) }

// all returns all the memory that SQLite can ever have. On platforms where the
// memory can move when it grows, it returns the current memory.
func (m *machine) all() []byte { return m.env.Buf[:cap(m.env.Buf)] }

// overflowed reports whether the stack of the C program has overflowed. The
// stack grows towards address 0, so an access beyond its end panics.
func (m *machine) overflowed() bool { return *m.env.X__stack_pointer() < 0 }

// free releases the memory, regardless of the state of SQLite.
func (m *machine) free() {
	if m.env.Wrapper.Memory != nil { // set to nil by closing
		_ = m.env.Wrapper.Close()
	}
}
