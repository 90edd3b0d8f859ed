package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/store"
)

// The pauses between two attempts to lock a directory. Locks of directories
// have no wait that can be bounded, so they are polled.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 250 * time.Millisecond
)

// checkWait returns an error if Options.Wait makes no sense.
func checkWait(wait time.Duration) error {
	if wait < 0 {
		return &dog.UsageError{
			Op:      "disk.Options.Wait",
			Problem: fmt.Sprintf("%v: it must not be negative; 0 does not wait", wait),
		}
	}
	return nil
}

// openWithin opens an engine. While the directory is locked, it tries again
// until wait is over. It returns any other error at once.
func openWithin(
	wait time.Duration, log *slog.Logger, open func() (*pebblekv.Engine, error),
) (*pebblekv.Engine, error) {
	began := time.Now()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		e, err := open()
		if wait == 0 || !errors.Is(err, store.ErrLocked) {
			return e, err
		}
		waited := time.Since(began)
		if waited >= wait {
			return nil, fmt.Errorf("%w, after waiting for %v", err, waited.Round(time.Millisecond))
		}
		if pause == firstPause && log != nil {
			log.Info("another runtime has the data directory open: waiting for its end", "error", err, "wait", wait)
		}
		time.Sleep(min(pause, wait-waited))
	}
}
