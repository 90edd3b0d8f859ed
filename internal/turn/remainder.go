package turn

// A Remainder is what a call still delivers after it has returned, such as the
// rest of a response's body. The zero value belongs to no caller.
type Remainder struct {
	call    Call
	routine uint64 // runs the caller
}

// Remainder returns the remainder of a call. The calling goroutine must run the
// caller, if there is one.
func (c Call) Remainder() Remainder {
	if c.by == nil {
		return Remainder{}
	}
	return Remainder{call: c, routine: goroutine()}
}

// Wait records that the caller waits for the call's events again and keeps its
// turn until it calls done. If one of these events waits
// for the caller's turn, that wait ends with ErrDeadlock, now or when it
// begins. Wait does nothing where the caller's turn is not kept: the caller is
// in an Await, has ended, or is not the goroutine that waits.
func (r Remainder) Wait() (done func()) {
	nothing := func() {}
	e := r.call.by
	if e == nil || r.routine != goroutine() {
		return nothing
	}
	l := e.lock
	e.enter()
	if e.waiting || !e.hasTurnLocked() {
		l.unlock()
		return nothing
	}
	e.keeps++
	l.keeper = e
	r.call.over.Store(false)
	var queue []*waiter
	for w := l.head; w != nil; w = w.next {
		queue = append(queue, w)
	}
	l.unlock()
	for _, w := range queue {
		breakCycle(w)
	}
	return func() {
		r.call.over.Store(true)
		e.Unkeep()
	}
}
