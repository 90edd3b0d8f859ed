//go:build unix

package sqlite

import (
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// canSeal reports whether there is a watchdog.
const canSeal = true

// seal makes the memory inaccessible.
func seal(memory []byte) error { return unix.Mprotect(memory, unix.PROT_NONE) }

// expectFaults sets whether an access to sealed memory by this goroutine panics
// instead of crashing the process. It returns the previous setting.
func expectFaults(expect bool) (before bool) { return debug.SetPanicOnFault(expect) }
