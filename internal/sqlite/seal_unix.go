//go:build unix

package sqlite

import (
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// canSeal says that there is a watchdog.
const canSeal = true

// seal makes the memory inaccessible.
func seal(memory []byte) error { return unix.Mprotect(memory, unix.PROT_NONE) }

// expectFaults makes the use of sealed memory a panic of this goroutine, rather
// than the end of the process, or not.
func expectFaults(expect bool) (before bool) { return debug.SetPanicOnFault(expect) }
