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
// fails and fills up when it is told to. The storage engine on it is the one of
// package disk, with SQL. One runtime at a time may use it; what is durable
// when that is shut down or [Disk.Crash] is called, the next one finds. A
// [dog.Runtime.Backup] of it is a directory of the operating system, for
// disk.At. It is safe for concurrent use, and works inside and outside of
// bubbles.
type Disk struct {
	dog.Store // fixed

	t testing.TB // fixed

	mu      sync.Mutex
	fs      *faultfs.FS  // guarded by mu, like all below
	user    *cutOff      // of the latest runtime; nil when none has opened it
	runtime *dog.Runtime // the latest that New made on this disk; nil when none
	full    bool
}

// Sizes of a disk. All of it is memory, and tests store little.
const (
	diskCache     = 1 << 20
	diskSpace     = 1 << 40
	diskDatabases = 16 // that stay open
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
// unless nobody else has the disk.
func (d *Disk) insert(fs *faultfs.FS) {
	d.fs = fs
	d.sizeLocked()
}

// sizeLocked tells the file system how much of it is free. The caller must hold
// mu.
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

// opened says which runtime has opened the disk.
func (d *Disk) opened(rt *dog.Runtime) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runtime = rt
}

// Crash is a power cut: what was not durable is gone. The runtime that used the
// disk is cut off: what it has stored since is lost, and what depends on that
// is never said; if [New] made it, its connections are cut and it answers with
// 503. What its handlers under way do in memory cannot be undone, so a test
// should not look at that. The next runtime finds what was durable. All faults
// end.
func (d *Disk) Crash() { d.crash(0, 0) }

// CrashTorn is [Disk.Crash], but of what was not durable a part is left, chosen
// at random by the seed, as a power cut leaves it that comes while the disk
// writes.
func (d *Disk) CrashTorn(seed uint64) { d.crash(rand.New(rand.NewPCG(seed, 1)).IntN(101), seed) }

func (d *Disk) crash(percent int, seed uint64) {
	d.mu.Lock()
	if d.user != nil {
		d.user.crash() // before the copy is made, so that nobody is told of what that may not have
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
		_ = rt.Shutdown(cut) // it goes on ending without us
	}
}

// Fail has the n-th change of the disk from now on, counted from 1, fail with
// err: creating, writing, syncing, renaming, linking or removing a file. The
// store then writes nothing any more ([dog.ErrStoreFailed]) until a runtime
// opens the disk anew; where err is that of a full disk (syscall.ENOSPC), it
// waits and tries again, but for syncs. Only the latest call counts; an n of 0
// ends it.
func (d *Disk) Fail(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fs.Fail(faultfs.All, n, err)
}

// Changes returns how many changes of the disk there have been since it was
// made or has crashed.
func (d *Disk) Changes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fs.Count(faultfs.All)
}

// Fill leaves no space on the disk: storing anything fails with
// [dog.ErrStoreFull]. The store notices within a second.
func (d *Disk) Fill() { d.setFull(true) }

// Free ends what Fill began. The store notices within a second.
func (d *Disk) Free() { d.setFull(false) }

func (d *Disk) setFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
	d.sizeLocked()
}

// cutOff is the engine of a disk that may have crashed: from then on nothing
// more becomes durable, whatever a sync says that was under way.
type cutOff struct {
	*pebblekv.Engine // fixed

	mu      sync.Mutex
	crashed bool   // guarded by mu
	durable uint64 // when it crashed. guarded by mu
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
func (e *cutOff) OnDurable(commit uint64, told func(error)) {
	e.Engine.OnDurable(commit, func(err error) {
		if err == nil && commit > e.Durable() {
			err = fmt.Errorf("%w: %w", store.ErrFailed, errCrashed)
		}
		told(err)
	})
}

// Close implements [store.Engine]. That a disk fails which was told to is no
// error.
func (e *cutOff) Close() error {
	if err := e.Engine.Close(); !errors.Is(err, store.ErrFailed) {
		return err
	}
	return nil
}
