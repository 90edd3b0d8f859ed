package turn

import (
	"bytes"
	"runtime"
	"strconv"
)

// own notes the goroutine that runs the event. It is called by that goroutine, while nobody else uses the event.
func (e *Event) own() {
	if e.lock.Strict {
		e.routine = goroutine()
	}
}

// ownedByCaller reports whether the calling goroutine runs the event; true when the lock is not strict.
func (e *Event) ownedByCaller() bool {
	return !e.lock.Strict || e.routine == goroutine()
}

// goroutine returns the number of the calling goroutine. The runtime tells it only in the head of a stack trace, which takes
// about 3 µs: too much for every wait of every program, little for a test.
func goroutine() uint64 {
	var buf [64]byte
	head := buf[:runtime.Stack(buf[:], false)]
	head = bytes.TrimPrefix(head, []byte("goroutine "))
	number, _, _ := bytes.Cut(head, []byte(" "))
	n, _ := strconv.ParseUint(string(number), 10, 64)
	return n
}
