package osfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	scratchPrefix  = ".dog-"
	scratchMarker  = "dog.scratch"
	scratchContent = "dog makes something here and removes this directory afterwards\n"
)

// A Scratch is a directory with a random name, for files that are made there
// and then placed next to it. Its marker is locked while it is in use. The lock
// and the content of the marker distinguish a directory left by a dead process
// from everything else. A process that dies before it has written the marker
// leaves a directory that is not recognized.
type Scratch struct {
	Dir  string   // fixed
	root *os.Root // Dir, even if its name is reused later; fixed
	lock *os.File // fixed; of the marker
}

// NewScratch creates a scratch directory in parent. It also removes scratch
// directories there that were left by dead processes, as far as possible.
func NewScratch(parent string) (*Scratch, error) {
	sweep(parent)
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	s := &Scratch{Dir: filepath.Join(parent, scratchPrefix+hex.EncodeToString(random[:]))}
	if err := Mkdir(s.Dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, errors.Join(err, remove(s.Dir))
	}
	s.root = root
	f, err := Create(filepath.Join(s.Dir, scratchMarker))
	if err != nil {
		return nil, errors.Join(err, root.Close(), remove(s.Dir))
	}
	s.lock = f.f
	// The marker is locked before its content is written, because a sweep
	// ignores it without the content. Errors other than ErrLocked are ignored:
	// without support for locks, a sweep cannot lock the marker either, and
	// removes nothing.
	if err = lockFile(s.lock); !errors.Is(err, ErrLocked) {
		_, err = f.Write([]byte(scratchContent))
	}
	if err == nil { // before anything exists that a power failure could leave behind
		err = errors.Join(f.Sync(), SyncDir(s.Dir))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close removes the directory with its contents, and nothing else: if its name
// has been reused, Close does not follow it.
func (s *Scratch) Close() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	errs := []error{err}
	for _, e := range entries {
		if e.Name() != scratchMarker { // removed last, so that after a crash the directory is still recognized
			errs = append(errs, s.remove(e.Name()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, s.lock.Close(), s.root.Close())
	}
	// Windows does not remove open files.
	err = errors.Join(s.lock.Close(), s.remove(scratchMarker), s.root.Close())
	removed := remove(s.Dir)
	if errors.Is(removed, fs.ErrNotExist) { // a sweep has done it since the marker was unlocked
		removed = nil
	}
	return errors.Join(err, removed)
}

// remove removes an entry of the directory with its contents.
func (s *Scratch) remove(name string) error {
	if err := Step(OpRemove, filepath.Join(s.Dir, name)); err != nil {
		return err
	}
	return s.root.RemoveAll(name)
}

// sweep removes the scratch directories of this user's dead processes. Other
// users may be able to write to parent, as in a directory for temporary files.
// It does not touch their directories or follow links.
func sweep(parent string) {
	entries, _ := os.ReadDir(parent) // an unreadable directory is not swept
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), scratchPrefix) {
			if s := abandoned(filepath.Join(parent, e.Name())); s != nil {
				_ = s.Close() // the next sweep tries again
			}
		}
	}
}

// abandoned takes over a scratch directory whose owner is dead. Otherwise it
// returns nil.
func abandoned(dir string) *Scratch {
	named, err := os.Lstat(dir)
	if err != nil || !named.IsDir() {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil
	}
	opened, err := root.Stat(".")
	if err == nil && os.SameFile(named, opened) && private(opened) {
		if f := abandonedMarker(root); f != nil {
			return &Scratch{Dir: dir, root: root, lock: f}
		}
	}
	_ = root.Close()
	return nil
}

// abandonedMarker returns the locked marker of a scratch directory, or nil if
// it belongs to someone else or is not a marker.
func abandonedMarker(root *os.Root) *os.File {
	named, err := root.Lstat(scratchMarker)
	if err != nil || !named.Mode().IsRegular() || named.Size() != int64(len(scratchContent)) {
		return nil
	}
	f, err := root.OpenFile(scratchMarker, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	content := make([]byte, len(scratchContent))
	opened, err := f.Stat()
	ours := err == nil && os.SameFile(named, opened) && lockFile(f) == nil
	if ours {
		_, err = f.ReadAt(content, 0)
		ours = err == nil && string(content) == scratchContent
	}
	if ours { // its owner or another sweep may have removed it before it was locked
		named, err = root.Lstat(scratchMarker)
		ours = err == nil && os.SameFile(named, opened)
	}
	if !ours {
		_ = f.Close()
		return nil
	}
	return f
}

// Place moves a file or directory from the scratch directory to its target,
// durably; see [RenameNew]. If it fails, it leaves nothing new at target,
// unless something else has taken the name in the meantime.
func (s *Scratch) Place(name, target string) error {
	made := filepath.Join(s.Dir, name)
	placed, err := os.Lstat(made)
	if err != nil {
		return err
	}
	_ = os.SameFile(placed, placed) // on Windows, reads the identity while the file has this name
	if err := RenameNew(made, target); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(target)); err != nil {
		return errors.Join(err, takeBack(made, target, placed))
	}
	return nil
}

// takeBack moves what Place has placed back to the scratch directory, to be
// removed by Close. It leaves anything else with the name alone.
func takeBack(made, target string, placed os.FileInfo) error {
	found, err := os.Lstat(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !os.SameFile(found, placed) {
		return err
	}
	return RenameNew(target, made)
}
