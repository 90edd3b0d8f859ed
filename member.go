package dog

import "github.com/godurable/dog/internal/roster"

// member is a replica's part in its group.
type member struct {
	// fixed
	obj   *object
	books *books
	entry *roster.Replica[*member, *Socket]
}
