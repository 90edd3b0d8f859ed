package faults_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/sqlite"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// troubledDisk is a dog.Store on a file system that fills up and hangs.
type troubledDisk struct {
	*faultfs.FS
	hangs atomic.Pointer[chan struct{}] // every change waits until it is closed
}

func newTroubledDisk() *troubledDisk {
	v := &troubledDisk{FS: faultfs.New()}
	v.Limit(64 << 20)
	v.Watch(func(faultfs.Op, string) {
		if hangs := v.hangs.Load(); hangs != nil {
			<-*hangs
		}
	})
	return v
}

// hang has the volume hang until the returned function is called.
func (v *troubledDisk) hang() (answer func()) {
	hangs := make(chan struct{})
	v.hangs.Store(&hangs)
	return func() {
		v.hangs.Store(nil)
		close(hangs)
	}
}

// fill leaves no space until the returned function is called.
func (v *troubledDisk) fill() (release func()) {
	ballast := v.Ballast(math.MaxInt64)
	return func() { v.Ballast(-ballast) }
}

func (v *troubledDisk) OpenEngine(log *slog.Logger) (store.Engine, error) {
	return pebblekv.Open(pebblekv.Config{FS: v.FS, Dir: "/data", Cache: 1 << 20, SQL: sqlite.New(4, log)}, log)
}

// Whatever waits for the disk, Shutdown returns when its context ends. All else
// ends soon on a full disk, and on one that hangs when it answers.
func TestDisk_ShutdownReturnsOnAHangingDisk(t *testing.T) {
	for name, stop := range map[string]func(*troubledDisk) func(){
		"hangs": (*troubledDisk).hang, "is full": (*troubledDisk).fill,
	} {
		for _, traffic := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", traffic: ", traffic), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := newTroubledDisk()
					rt, err := dog.New(dog.Options{Store: fixture.StoreOf(v), Logger: slog.New(slog.DiscardHandler)})
					require.NoError(t, err)
					ledgers, _, err := newLedgers(rt)
					require.NoError(t, err)
					srv := dogtest.Serve(t, ledgers.Named("ada"))
					post := func() error {
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						req, err := http.NewRequestWithContext(ctx, http.MethodPost, dogtest.URL, nil)
						require.NoError(t, err)
						answer, err := srv.Client().Do(req)
						if err == nil {
							require.NoError(t, answer.Body.Close())
						}
						return err
					}
					require.NoError(t, post())
					resume := stop(v)
					if traffic {
						for post() == nil {
						}
					}
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					defer cancel()
					start := time.Now()
					err = rt.Shutdown(ctx)
					require.LessOrEqual(t, time.Since(start), 5*time.Second)
					switch {
					case name == "hangs":
						require.ErrorIs(t, err, context.DeadlineExceeded)
						resume()
						require.NoError(t, rt.Shutdown(context.Background()))
					case traffic:
						require.ErrorIs(t, err, context.DeadlineExceeded)
						require.ErrorIs(t, rt.Shutdown(context.Background()), dog.ErrStoreFull)
						require.LessOrEqual(t, time.Since(start), 15*time.Second)
					default:
						require.NoError(t, err)
					}
				})
			})
		}
	}
}
