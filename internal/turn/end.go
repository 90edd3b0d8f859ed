package turn

// End ends the event and hands the turn on. closed is the reason given to
// [Lock.Close], if the lock has been closed. misuse is [ErrOutside] if another
// goroutine is still using the event's context, which means that the exclusion
// was broken.
func (e *Event) End() (closed, misuse error) {
	l := e.lock
	if l.Strict {
		e.delist()
	}
	l.mu.Lock()
	if e.waits > 0 || e.place != nil {
		misuse = ErrOutside
	}
	if w := e.place; w != nil { // a turn that it got later would not be returned
		l.removeLocked(w)
		close(w.ready)
	}
	e.ended = true
	l.events--
	if l.holder == e {
		l.handOverLocked()
	}
	closed = l.closed
	var callbacks map[*func()]struct{}
	if len(l.onEnd) > 0 {
		callbacks = l.onEnd[e]
		delete(l.onEnd, e)
	}
	l.mu.Unlock()
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
	l.mu.Lock()
	if e.ended {
		l.mu.Unlock()
		f()
		return func() {}
	}
	defer l.mu.Unlock()
	if l.onEnd == nil {
		l.onEnd = make(map[*Event]map[*func()]struct{})
	}
	if l.onEnd[e] == nil {
		l.onEnd[e] = make(map[*func()]struct{})
	}
	key := &f
	l.onEnd[e][key] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.onEnd[e], key)
	}
}

// HasTurn reports whether the event has its turn at this moment: it is not
// waiting, or it keeps its turn while it waits.
func (e *Event) HasTurn() bool {
	e.lock.mu.Lock()
	defer e.lock.mu.Unlock()
	return e.lock.holder == e
}

// Caller returns the event that waits for this event to end, or nil.
func (e *Event) Caller() *Event { return e.call.caller() }
