package answer

// This file bounds and counts what responses hold back while gates are shut.

// flushCost is the cost of an entry in a gate, in addition to the output.
const flushCost = 128

// mustEnd reports whether the gate can only open once the handler's turn has
// ended, so that nothing can wait for it before.
func (r *response) mustEnd() bool { return r.gate.Writing() && r.event.HasTurn() }

// weightLocked returns how much output waits in memory. The caller must hold
// mu.
func (r *response) weightLocked() int { return len(r.body) + r.flushes*flushCost }

// admitLocked returns an error if n further bytes are too much to hold back
// until the end of the turn. From then on the response is broken: the client
// gets none of what it has not got, and sees that. A single piece of any length
// is admitted. The caller must hold mu.
func (r *response) admitLocked(n int) error {
	if weight := r.weightLocked(); weight == 0 || weight+n <= r.host.MaxHeld {
		return nil
	}
	r.failed, r.refused, r.body = r.host.ErrHeldBack, true, nil
	r.countLocked(false)
	return r.failed
}

// countLocked counts the output in memory as held back if shut is set, and
// otherwise as not. The caller must hold mu.
func (r *response) countLocked(shut bool) {
	held := 0
	if shut && !r.over && !r.refused {
		held = r.weightLocked()
	}
	if held != r.held {
		r.host.Held.Add(int64(held - r.held))
		r.held = held
	}
}

// Drop drops what a response holds back whose handler has called
// runtime.Goexit, so that there is no Finish. It does nothing after Finish.
func (a *Answer) Drop() {
	r := &a.w
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over = true
		r.countLocked(false)
	}
}

// recountLocked is countLocked after a part of the output has left. The caller
// must hold mu.
func (r *response) recountLocked() { r.countLocked(r.held > 0) }
