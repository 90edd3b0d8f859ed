package sqlite

import sqlite3 "github.com/ncruces/go-sqlite3"

// A machine is what SQLite runs in, beneath a connection of the binding: a C
// program translated to Go, whose memory is one range of addresses. It is
// reached the way that extensions are. It is owned by its connection.
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
	return m, sqlite3.ExtensionInit(db, load, nothing) //nolint:staticcheck // the generic method wants a newer Go
}

// Xsqlite3_extension_init is how the binding starts an extension.
func (m *machine) Xsqlite3_extension_init(db, _, _ int32) int32 { //nolint:staticcheck // the binding's name
	m.db = db
	return 0
}

// askEvery makes SQLite ask whether to go on whenever it has run so many
// instructions. The binding has it ask after a thousand.
func (m *machine) askEvery(instructions int32) {
	m.env.Xsqlite3_progress_handler_go(m.db, instructions)
}

// size returns how many bytes of memory SQLite has taken. It never gives any
// back.
func (m *machine) size() int { return len(m.env.Buf) }

// all returns all the memory that SQLite may ever have. Where the memory can
// move while it grows, it is what SQLite has now.
func (m *machine) all() []byte { return m.env.Buf[:cap(m.env.Buf)] }

// overflowed reports whether the stack of the C program has no room left. It
// grows towards address 0, so that what is beyond panics.
func (m *machine) overflowed() bool { return *m.env.X__stack_pointer() < 0 }

// free releases the memory, whatever state SQLite is in.
func (m *machine) free() {
	if m.env.Wrapper.Memory != nil { // which closing takes away
		_ = m.env.Wrapper.Close()
	}
}
