package dog

import (
	"sync/atomic"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/roster"
)

// member is a replica's part in its group.
type member struct {
	// fixed
	obj   *object
	books *books
	entry *roster.Replica[*member, *Socket]

	sockets conn.Set
	leaving atomic.Int32 // sockets that have left, or are about to, and whose OnClose has not returned
}

// hasSocketsOf reports whether there are open sockets of an instance's era.
func (m *member) hasSocketsOf(inst *instance) bool {
	for c := range m.sockets.Each() {
		if c.Data.(*Socket).era == inst.era && !c.Closing() {
			return true
		}
	}
	return false
}

// closeSocketsOf closes the sockets of an instance that has been reset; the
// next one may have some of its own already.
func (m *member) closeSocketsOf(inst *instance) {
	for c := range m.sockets.Each() {
		if c.Data.(*Socket).era == inst.era {
			_ = c.Close(1011, "")
		}
	}
}

// closeSockets closes all sockets of the replica with a code and a reason that
// are valid.
func (m *member) closeSockets(code int, reason string) {
	if err := m.sockets.Close(code, reason); err != nil {
		m.obj.log().Error("cannot close sockets", "error", err)
	}
}
