package dog

import (
	"context"

	"github.com/godurable/dog/internal/object"
)

// Await gives up the turn and runs f. It is for slow work such as a request to
// another service. Other events of the object run in the meantime, so state
// read before the call may have changed after it. f may use ctx and call
// anything, but must not access the object's fields and storage. Because f may
// pass on the object's state, it starts only when the object's earlier writes
// are durable.
//
// Await returns f's error. It returns one of these errors without running f:
// ErrOutsideTurn if ctx's handler has returned, [ErrReset] if earlier writes
// could not be made durable, ErrInTransaction inside [Storage.Transaction], and
// a [UsageError] if f is nil. If ctx belongs to no handler, Await just runs f.
func Await(ctx context.Context, f func() error) error {
	if f == nil {
		return misuse("Await", "f is nil")
	}
	return object.Await(ctx, nil, f)
}

// Go runs f as a separate event of the object whose handler ctx belongs to,
// after the current event or while it waits. The event runs in a goroutine that
// [Runtime.Shutdown] waits for. Events begin in the order of the calls to Go.
// Events that have not begun when the object is reset are dropped. So are those
// of a transaction that is rolled back because the handler returns an error
// (RollbackOnError). f's context has the values of the call or request that
// caused the first event, not those that handlers added. An error from f is
// logged.
//
// Go returns ErrOutsideTurn if ctx belongs to no handler or to one that has
// returned, ErrOverloaded if Options.MaxWaiting events are waiting already, and
// a [UsageError] if f is nil.
func Go(ctx context.Context, f func(ctx context.Context) error) error {
	life, err := object.Running(ctx)
	if err != nil {
		return err
	}
	if f == nil {
		return misuse("Go", "f is nil")
	}
	return life.Go(ctx, f)
}

// BlockConcurrencyWhile runs f and keeps the turn, even while f waits: no other
// event of the object runs until f returns. If f returns an error or panics,
// the object is reset. The error returned is then [ErrReset], and a panic
// continues. A call that could never return because it needs a turn kept in
// this way fails with [ErrDeadlock]. If ctx belongs to no handler that has its
// turn, BlockConcurrencyWhile returns ErrOutsideTurn and does not run f. A nil
// f is a [UsageError], and does not reset the object.
func BlockConcurrencyWhile(ctx context.Context, f func(ctx context.Context) error) error {
	life, err := object.Running(ctx)
	if err != nil {
		return err
	}
	if f == nil {
		return misuse("BlockConcurrencyWhile", "f is nil")
	}
	return life.Block(ctx, f)
}
