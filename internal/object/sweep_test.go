package object

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// With more busy objects than MaxObjects, one more object does not cost a scan
// of them all: the sweeper scans once 1/regrowth of the objects are new.
func TestSweeper_OneMoreObjectIsNotAScan(t *testing.T) {
	const most, busy, more = 250, 500, 1000
	for name, test := range map[string]struct {
		idle  bool
		scans int
	}{
		"busy ones": {false, 20}, // 1,500 is 500 times 17/16 to the power of 18
		"idle ones": {true, more/(busy/regrowth) + 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t, Config{MaxObjects: most})
				c := add(h, nil)
				until, ended := make(chan struct{}), make(chan error, busy+more)
				occupy := func(name string) {
					go func() {
						ended <- run(
							t.Context(), c.named(name), func(context.Context, int) error { <-until; return nil },
						)
					}()
				}
				for i := range busy {
					occupy(strconv.Itoa(i))
					synctest.Wait()
				}
				next := func() chan struct{} {
					h.sweeper.mu.Lock()
					defer h.sweeper.mu.Unlock()
					return h.sweeper.swept
				}
				scans, scan := 0, next()
				for i := range more {
					if name := "more " + strconv.Itoa(i); test.idle {
						require.NoError(t, run(t.Context(), c.named(name), nothing))
						ended <- nil
					} else {
						occupy(name)
					}
					synctest.Wait()
					if now := next(); now != scan {
						scan = now
						scans++
					}
				}
				close(until)
				for range busy + more {
					require.NoError(t, <-ended)
				}
				require.Positive(t, scans)
				require.LessOrEqual(t, scans, test.scans)
			})
		})
	}
}
