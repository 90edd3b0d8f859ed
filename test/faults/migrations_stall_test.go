package faults_test

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

// hangingDisk is a disk that hangs from the moment on when it has been opened.
type hangingDisk struct {
	fs    *faultfs.FS
	until atomic.Pointer[chan struct{}]
	hangs chan struct{} // nil: it does not
}

func newHangingDisk() *hangingDisk {
	d := &hangingDisk{fs: faultfs.New(), hangs: make(chan struct{})}
	d.fs.Watch(func(op faultfs.Op, name string) {
		if c := d.until.Load(); c != nil && op == faultfs.Sync && strings.HasSuffix(name, ".log") {
			<-*c
		}
	})
	return d
}

func (d *hangingDisk) OpenEngine(log *slog.Logger) (store.Engine, error) {
	e, err := pebblekv.Open(pebblekv.Config{FS: d.fs, Dir: "/data"}, log)
	if err == nil && d.hangs != nil {
		c := d.hangs
		d.until.Store(&c)
	}
	return e, err
}

func TestMigrations_NewEndsOnADiskThatHangsDuringMigrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newHangingDisk()
		options := dog.Options{
			Store: fixture.StoreOf(d), Logger: slog.New(slog.DiscardHandler),
			Migrations: []dog.Migration{{Tag: "v2", Renamed: map[string]string{"a": "b"}}},
		}
		start := time.Now()
		_, err := dog.New(options)
		require.ErrorIs(t, err, dog.ErrStoreStalled)
		require.Equal(t, 10*time.Second, time.Since(start))
		_, err = dog.New(options)
		require.ErrorIs(t, err, dog.ErrStoreLocked, "until the disk answers")

		d.until.Store(nil)
		close(d.hangs)
		d.hangs = nil
		synctest.Wait()
		rt, err := dog.New(options)
		require.NoError(t, err)
		require.NoError(t, rt.Shutdown(t.Context()))
	})
}
