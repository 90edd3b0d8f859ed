package pebblekv

import (
	"context"
	"time"
)

// Compact tidies up everything, as happens by itself in time.
func (e *Engine) Compact(ctx context.Context) error {
	return e.db.Compact(ctx, []byte{0}, []byte{0xff}, true)
}

// SetOpenPatience sets how long opening waits while nothing moves.
func SetOpenPatience(d time.Duration) (restore func()) {
	openPatience = d
	return func() { openPatience = patience }
}
