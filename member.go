package dog

import "github.com/godurable/dog/internal/roster"

// member connects a replica with its group.
type member struct {
	// fixed
	obj   *object
	books *books
	entry *roster.Replica[*member, *Socket]
}
