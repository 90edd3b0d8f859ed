package roster

import (
	"time"
)

// Time is an instant in nanoseconds since an arbitrary start. It should not go
// backwards from call to call. If it does, everything that depends on time
// happens later by that amount, and nothing else breaks.
type Time int64

// Config holds the limits of a [Book].
type Config struct {
	// Limit is the number of places per replica. Less than 1 means 1.
	Limit int
	// MaxReplicas is the maximum number of replicas, including draining
	// replicas. 0 or less means no limit.
	MaxReplicas int
	// Reserve is how long a reservation waits to be claimed. It should be
	// positive, since other reservations expire at once.
	Reserve time.Duration
	// Linger is how long an id is remembered on its replica after its last
	// connection. 0 or less means not at all. A lingering id takes about 40
	// bytes, whatever its length.
	Linger time.Duration
	// Retire is how long a replica stays after it has become empty, or after it
	// was added if it was never used. If Linger is longer, the replica stays
	// for Linger, unless Hold is set. A draining replica does not stay.
	Retire time.Duration
	// FullestFirst gives an id that is new to the book the replica with the
	// least free room, instead of the least loaded replica.
	FullestFirst bool
	// Hold keeps the place of a lingering id, not only its preference. A held
	// place counts as load. It needs about 200 bytes, and there are at most
	// Limit held places per replica.
	Hold bool
}

func (b *Book[R, S]) mayAdd() bool { return b.c.MaxReplicas <= 0 || b.Len() < b.c.MaxReplicas }

// passed reports whether a period of length d that began at since is over.
func passed(d time.Duration, since, now Time) bool { return time.Duration(now-since) >= d }
