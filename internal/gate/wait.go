package gate

import (
	"context"
	"errors"
	"time"
)

// ErrUnended is the result of [Gate.WaitWithin] if the open transaction does
// not end.
var ErrUnended = errors.New("the open transaction has not ended in time")

// Wait waits until the gate opens, for a caller that has no part in the open
// transaction. It returns nil, the reason why the writes are lost, or the cause
// of ctx's end.
func (g *Gate) Wait(ctx context.Context) error { return g.WaitWithin(ctx, 0) }

// WaitWithin is Wait for a caller for whom the open transaction may be waiting.
// It returns ErrUnended if a transaction has not ended after patience, unless
// that is 0. It waits for commits without a limit.
func (g *Gate) WaitWithin(ctx context.Context, patience time.Duration) error {
	for {
		outcome, transaction := g.outcome()
		if outcome == nil {
			return nil
		}
		err := g.receive(ctx, outcome, transaction, patience)
		if _, undone := errors.AsType[*Undone](err); !undone {
			return err
		}
	}
}

// receive waits for an outcome on behalf of WaitWithin.
func (g *Gate) receive(
	ctx context.Context, outcome <-chan error, transaction uint64, patience time.Duration,
) error {
	var late <-chan time.Time
	if transaction != 0 && patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case err := <-outcome:
			return err
		case <-late:
			if g.isOpen(transaction) {
				return ErrUnended
			}
			late = nil // only the disk is left
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// isOpen reports whether a transaction has not ended.
func (g *Gate) isOpen(transaction uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.writing && g.begun == transaction
}
