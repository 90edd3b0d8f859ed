package replog

import (
	"fmt"
	"slices"

	"github.com/godurable/dog/internal/store"
)

// fail ends writing. What the log is not known to have is lost for this node,
// also for reading: it may or may not be in the log.
func (e *Engine) fail(cause error) {
	e.mu.Lock()
	first := e.err == nil
	if first {
		e.err = fmt.Errorf("%w: %w", store.ErrFailed, cause)
		e.waiters.Fail(e.err)
		e.open, e.queue, e.flight = nil, nil, nil
		e.keepLocked()
		e.progressLocked()
	}
	e.mu.Unlock()
	if first {
		e.cancel(cause)
		e.opts.Logger.Error("the log of this store is lost to this node", "error", cause)
	}
}

// keepLocked reduces the overlay to what the log has. The caller must hold mu.
func (e *Engine) keepLocked() {
	e.overlay, e.pending = overlay{}, 0
	for _, g := range slices.Concat(e.applied, e.acked) {
		for c, err := range changesIn(g.payload) {
			if err == nil { // it is what Commit has encoded
				c.value = slices.Clone(c.value)
				e.overlay.apply(c, g.last)
			}
		}
		e.pending += g.size
	}
}
