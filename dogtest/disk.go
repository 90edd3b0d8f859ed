package dogtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/sqlite"
	"github.com/godurable/dog/internal/store"
)

// Disk is a data directory in memory, for [dog.Options].Store, that crashes,
// fails and fills up on request. It uses the storage engine of package disk,
// with SQL. One runtime at a time may use it. The next runtime finds everything
// that was durable when the last one was shut down or [Disk.Crash] was called.
// A [dog.Runtime.Backup] of it is a directory of the operating system, for
// disk.At. A Disk is safe for concurrent use, and works inside and outside of
// bubbles.
type Disk struct {
	dog.Store // fixed

	t testing.TB // fixed

	mu      sync.Mutex
	fs      *faultfs.FS  // guarded by mu, like all fields below
	user    *cutOff      // of the latest runtime; nil if none has opened it
	runtime *dog.Runtime // the latest runtime that New made on this disk; nil if none
	full    bool
}

// Sizes of a disk. All of it is in memory, and tests store little.
const (
	diskCache     = 1 << 20
	diskSpace     = 1 << 40
	diskDatabases = 16 // kept open
)

var errCrashed = errors.New("dogtest: the disk has crashed")

// NewDisk returns an empty disk.
func NewDisk(t testing.TB) *Disk {
	d := &Disk{t: t}
	d.Store = hook.MakeStore(d.open).(dog.Store)
	d.insert(faultfs.New())
	return d
}

// insert makes fs the file system that runtimes find. The caller must hold mu
// unless no other goroutine has the disk.
func (d *Disk) insert(fs *faultfs.FS) {
	d.fs = fs
	d.sizeLocked()
}

// sizeLocked sets the file system's free space. The caller must hold mu.
func (d *Disk) sizeLocked() {
	free := uint64(diskSpace)
	if d.full {
		free = 0
	}
	d.fs.SetFree(free)
}

// open opens the disk for a runtime.
func (d *Disk) open(log *slog.Logger) (store.Engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pool := sqlite.New(diskDatabases, log)
	cfg := pebblekv.Config{FS: d.fs, Dir: "/data", Backups: vfs.Default, Cache: diskCache, SQL: pool}
	engine, err := pebblekv.Open(cfg, log)
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	d.user = &cutOff{Engine: engine}
	return d.user, nil
}

// opened records the runtime that has opened the disk.
func (d *Disk) opened(rt *dog.Runtime) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runtime = rt
}

// Crash simulates a power cut: data that was not durable is lost. The runtime
// that used the disk is cut off: its writes from then on are lost, and
// everything that depends on them is never sent. If [New] made it, its
// connections are cut and it responds with 503. Changes in memory by running
// handlers cannot be undone, so a test should not look at them. The next
// runtime finds the durable data. All faults end.
func (d *Disk) Crash() { d.crash(0, 0) }

// CrashTorn is like [Disk.Crash], but keeps a part of the data that was not
// durable, chosen at random by the seed, as in a power cut while the disk is
// writing.
func (d *Disk) CrashTorn(seed uint64) { d.crash(rand.New(rand.NewPCG(seed, 1)).IntN(101), seed) }

func (d *Disk) crash(percent int, seed uint64) {
	d.mu.Lock()
	if d.user != nil {
		d.user.crash() // before the copy is made, so that no commit is reported durable that it may lack
	}
	old := d.fs
	d.insert(old.Crash(percent, seed))
	old.Fail(faultfs.All, 1, errCrashed)
	rt := d.runtime
	d.user, d.runtime = nil, nil
	d.mu.Unlock()
	if rt != nil {
		cut, cancel := context.WithCancelCause(context.Background())
		cancel(errCrashed)
		_ = rt.Shutdown(cut) // it continues shutting down in the background
	}
}

// Fail makes the n-th change of the disk from now on, counted from 1, fail with
// err. Changes are creating, writing, syncing, renaming, linking and removing a
// file. The store then writes nothing more ([dog.ErrStoreFailed]) until a
// runtime opens the disk again. If err is the error of a full disk
// (syscall.ENOSPC), the store waits and tries again, except for syncs. Only the
// latest call counts. An n of 0 cancels it.
func (d *Disk) Fail(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fs.Fail(faultfs.All, n, err)
}

// Changes returns the number of changes of the disk since it was made or has
// crashed.
func (d *Disk) Changes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fs.Count(faultfs.All)
}

// Fill leaves no space on the disk: any write fails with [dog.ErrStoreFull].
// The store notices within a second.
func (d *Disk) Fill() { d.setFull(true) }

// Free undoes Fill. The store notices within a second.
func (d *Disk) Free() { d.setFull(false) }

func (d *Disk) setFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
	d.sizeLocked()
}

// cutOff is the engine of a disk that may have crashed. After the crash nothing
// more becomes durable, even if a sync that was in progress reports success.
type cutOff struct {
	*pebblekv.Engine // fixed

	mu      sync.Mutex
	crashed bool   // guarded by mu
	durable uint64 // the durable commit when it crashed. guarded by mu
}

func (e *cutOff) crash() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.crashed, e.durable = true, e.Engine.Durable()
}

// Durable implements [store.Engine].
func (e *cutOff) Durable() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.crashed {
		return e.durable
	}
	return e.Engine.Durable()
}

// OnDurable implements [store.Engine].
func (e *cutOff) OnDurable(commit uint64, notify func(error)) {
	e.Engine.OnDurable(commit, func(err error) {
		if err == nil && commit > e.Durable() {
			err = fmt.Errorf("%w: %w", store.ErrFailed, errCrashed)
		}
		notify(err)
	})
}

// Close implements [store.Engine]. The failure of a disk that was made to fail
// is not an error.
func (e *cutOff) Close() error {
	if err := e.Engine.Close(); !errors.Is(err, store.ErrFailed) {
		return err
	}
	return nil
}
