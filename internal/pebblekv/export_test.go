package pebblekv

import "context"

// Compact tidies up everything, as happens by itself in time.
func (e *Engine) Compact(ctx context.Context) error {
	return e.db.Compact(ctx, []byte{0}, []byte{0xff}, true)
}
