package turn

// End ends the event and hands the turn on. closed is the reason given to
// [Lock.Close], if the lock has been closed. misuse is [ErrOutside] if another
// goroutine is still using the event's context, which means that the exclusion
// was broken.
func (e *Event) End() (closed, misuse error) {
	l := e.lock
	if l.Strict {
		e.disown()
	}
	if e.is(held) && e.change(held, free) {
		return nil, nil
	}
	e.enter()
	if e.waits > 0 || e.place != nil {
		misuse = ErrOutside
	}
	e.waiting = false
	if w := e.place; w != nil { // a turn that it got later would not be returned
		l.removeLocked(w)
		close(w.ready)
	}
	l.events--
	if e.hasTurnLocked() {
		l.handOverLocked()
	}
	closed = l.closed
	var callbacks map[*func()]struct{}
	if len(l.onEnd) > 0 {
		callbacks = l.onEnd[e]
		delete(l.onEnd, e)
	}
	l.unlock()
	for f := range callbacks {
		(*f)()
	}
	return closed, misuse
}

// OnEnd arranges for f to be called when the event has ended. If it has ended
// already, f is called at once. f must not block. stop cancels the call, unless
// it has begun.
func (e *Event) OnEnd(f func()) (stop func()) {
	l := e.lock
	e.enter()
	if e.endedLocked() {
		l.unlock()
		f()
		return func() {}
	}
	defer l.unlock()
	if l.onEnd == nil {
		l.onEnd = make(map[*Event]map[*func()]struct{})
	}
	if l.onEnd[e] == nil {
		l.onEnd[e] = make(map[*func()]struct{})
	}
	key := &f
	l.onEnd[e][key] = struct{}{}
	return func() {
		l.lock()
		defer l.unlock()
		delete(l.onEnd[e], key)
	}
}

// HasTurn reports whether the event has its turn at this moment: it is not
// waiting, or it keeps its turn while it waits.
func (e *Event) HasTurn() bool {
	if e.is(held) {
		return true
	}
	e.enter()
	defer e.lock.unlock()
	return e.hasTurnLocked()
}

// Caller returns the event that waits for this event to end, or nil.
func (e *Event) Caller() *Event {
	graph.Lock()
	defer graph.Unlock()
	return e.call.caller()
}

// CausedBy returns the event that waited for this event when this one began, or
// nil. It is also nil if that has stopped waiting because the start of the
// object took too long.
func (e *Event) CausedBy() *Event {
	graph.Lock()
	defer graph.Unlock()
	return e.call.by
}
