package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
)

// Backup implements store.Engine. It makes the copy in a scratch directory next
// to dir and then moves it to dir, in one step that fails if dir exists by
// then. It creates missing parents, and removes them again if the backup fails
// and they are empty. The copy shares files with the store if the file system
// supports that, so it is quick and takes little space at first. Only one
// backup is made at a time. On another volume, files are copied; this stops
// before the next part of a file when ctx is done or the engine is closed.
//
// ctx counts until the copy is about to be moved. If it is done before that,
// Backup returns even while the disk does not respond; then dir is never made,
// and the partial copy is removed when the disk responds. After that, Backup
// waits for the outcome, because dir may exist.
func (e *Engine) Backup(ctx context.Context, dir string) error {
	select {
	case e.backups <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var decided atomic.Bool // whether the copy is placed or given up
	decide := func() bool { return decided.CompareAndSwap(false, true) }
	done := make(chan error, 1)
	e.work.Go(func() {
		defer func() { <-e.backups }()
		done <- asFull(e.backup(ctx, dir, decide))
	})
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		if err = context.Cause(ctx); !decide() {
			err = <-done
		}
	}
	if err != nil {
		return fmt.Errorf("backing the store up to %s: %w", dir, err)
	}
	return nil
}

// backup makes a backup. It gives up unless place returns true, which it calls
// when the copy is complete.
func (e *Engine) backup(ctx context.Context, dir string, place func() bool) (err error) {
	fsys := e.cfg.Backups
	if err := errors.Join(ctx.Err(), e.failure()); err != nil {
		return err
	}
	dir, err = e.target(dir)
	if err != nil {
		return err
	}
	made, err := makeDir(fsys, fsys.PathDir(dir))
	defer func() {
		if err != nil {
			err = errors.Join(err, unmakeDir(fsys, made))
		}
	}()
	if err != nil {
		return err
	}
	s, err := newScratch(fsys, fsys.PathDir(dir))
	if err != nil {
		return err
	}
	const name = "store"
	err = e.copyTo(ctx, fsys.PathJoin(s.dir(), name))
	switch {
	case err != nil:
	case place():
		err = s.place(name, dir)
	default:
		err = context.Cause(ctx)
	}
	if removed := s.close(); err == nil && removed != nil {
		e.log.Warn("removing what a backup has left", "error", removed)
	} else {
		err = errors.Join(err, removed)
	}
	return err
}

// target returns the full name of a directory to be created.
func (e *Engine) target(dir string) (string, error) {
	fsys := e.cfg.Backups
	if isOS(fsys) {
		return osfile.Target(dir)
	}
	dir, err := resolve(fsys, dir)
	if err != nil {
		return "", err
	}
	if e.fs.guards(dir) {
		return "", fmt.Errorf("%w: the data directory itself", fs.ErrInvalid)
	}
	return dir, absent(fsys, dir)
}

func absent(fsys vfs.FS, name string) error {
	if _, err := fsys.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist})
	}
	return nil
}

// copies is the maximum number of attempts to copy a log that is overwritten
// during the copy.
const copies = 3

// copyTo makes a complete store on the file system of backups.
func (e *Engine) copyTo(ctx context.Context, dir string) error {
	fsys := e.cfg.FS
	if e.cfg.Backups == fsys {
		return e.copyWithin(ctx, dir)
	}
	s, err := newScratch(fsys, fsys.PathDir(e.cfg.Dir))
	if err != nil {
		return err
	}
	copied := fsys.PathJoin(s.dir(), "store")
	err = e.copyWithin(ctx, copied)
	if err == nil {
		_, err = vfs.Clone(fsys, e.cfg.Backups, copied, dir, vfs.CloneSync)
	}
	return errors.Join(err, s.close())
}

// copyWithin makes a complete store on the same file system.
func (e *Engine) copyWithin(ctx context.Context, dir string) error {
	fsys := e.cfg.FS
	for attempt := 1; ; attempt++ {
		err := e.checkpoint(ctx, dir)
		if err != nil {
			return err
		}
		err = closeLog(fsys, dir, e.dir.secret)
		if err == nil {
			break
		}
		// The log's file may be recycled, so the copy may have the end of an
		// older state and the middle of a later one.
		if !errors.Is(err, store.ErrCorrupt) || attempt == copies {
			return err
		}
		if err := fsys.RemoveAll(dir); err != nil {
			return err
		}
	}
	d := &directory{fs: fsys, name: dir, secret: e.dir.secret}
	return d.write(d.mark(true))
}

// checkpoint makes Pebble copy its files. Pebble panics if it cannot make an
// entry of the copy's directory durable.
func (e *Engine) checkpoint(ctx context.Context, dir string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			failed, ok := r.(error)
			if !ok {
				failed = fmt.Errorf("%v", r)
			}
			err = failed
		}
	}()
	unwanted := func() error {
		if e.closed.Load() {
			return store.ErrClosed
		}
		return context.Cause(ctx)
	}
	e.fs.backup.Store(&unwanted)
	defer e.fs.backup.Store(nil)
	if err := e.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return readError(err)
	}
	// After a failure, the log on disk may lack commits that the store has in
	// memory.
	return errors.Join(ctx.Err(), e.failure())
}

// A scratch is a directory for files that are made there and then placed next
// to it.
type scratch interface {
	dir() string
	place(name, target string) error
	close() error
}

func newScratch(fsys vfs.FS, parent string) (scratch, error) {
	if isOS(fsys) {
		s, err := osfile.NewScratch(parent)
		return osScratch{s}, err
	}
	s := memScratch{fsys, fsys.PathJoin(parent, memScratchPrefix+fmt.Sprintf("%x", rand.Uint64()))}
	return s, s.make(parent)
}

type osScratch struct{ *osfile.Scratch }

func (s osScratch) dir() string                     { return s.Dir }
func (s osScratch) place(name, target string) error { return s.Place(name, target) }
func (s osScratch) close() error                    { return s.Close() }

// memScratch is the scratch of a file system in memory, which has no other
// users.
type memScratch struct {
	fs   vfs.FS
	name string
}

const memScratchPrefix = ".dog-"

func (s memScratch) make(parent string) error {
	names, err := s.fs.List(parent)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, memScratchPrefix) { // left by an interrupted backup
			if err := s.fs.RemoveAll(s.fs.PathJoin(parent, name)); err != nil {
				return err
			}
		}
	}
	made, err := makeDir(s.fs, s.name)
	if err != nil {
		return errors.Join(err, unmakeDir(s.fs, made))
	}
	return nil
}

func (s memScratch) dir() string { return s.name }

func (s memScratch) place(name, target string) error {
	if err := absent(s.fs, target); err != nil {
		return err
	}
	name = s.fs.PathJoin(s.name, name)
	if err := s.fs.Rename(name, target); err != nil {
		return err
	}
	if err := syncDir(s.fs, s.fs.PathDir(target)); err != nil {
		return errors.Join(err, s.fs.Rename(target, name))
	}
	return nil
}

func (s memScratch) close() error { return s.fs.RemoveAll(s.name) }
