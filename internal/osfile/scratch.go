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

// A Scratch is a directory with a random name for what is made and then placed
// beside it. While it is used its marker is locked; by that and by the marker's
// content what a dead process has left is told from everything else; but one
// that dies before the marker is written leaves a directory without that.
type Scratch struct {
	Dir  string   // fixed
	root *os.Root // Dir, whatever has its name later; fixed
	lock *os.File // fixed; of the marker
}

// NewScratch makes a scratch directory in a directory. It removes what killed
// processes have left of theirs there, as far as that can be had.
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
	// Locked before it says what it is: a sweep leaves it alone until then.
	// Where there are no locks, whatever the file system says then, there is no
	// sweep either, which has to lock.
	if err = lockFile(s.lock); !errors.Is(err, ErrLocked) {
		_, err = f.Write([]byte(scratchContent))
	}
	if err == nil { // before there is anything that would be left by a power cut
		err = errors.Join(f.Sync(), SyncDir(s.Dir))
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close removes the directory with everything that is in it, and nothing else:
// what has the name of the directory by then is not followed.
func (s *Scratch) Close() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	errs := []error{err}
	for _, e := range entries {
		if e.Name() != scratchMarker { // which is the last, so that a crash leaves what is known
			errs = append(errs, s.remove(e.Name()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, s.lock.Close(), s.root.Close())
	}
	// Windows removes no file that is open.
	return errors.Join(s.lock.Close(), s.remove(scratchMarker), s.root.Close(), remove(s.Dir))
}

// remove removes an entry of the directory with everything that is in it.
func (s *Scratch) remove(name string) error {
	if err := Step(OpRemove, filepath.Join(s.Dir, name)); err != nil {
		return err
	}
	return s.root.RemoveAll(name)
}

// sweep removes the scratch directories of processes of this user's that are no
// more. Others may be able to write in the parent, as in a directory for
// temporary files: theirs are left alone, and links are not followed.
func sweep(parent string) {
	entries, _ := os.ReadDir(parent) // what cannot be read is not swept
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), scratchPrefix) {
			if s := abandoned(filepath.Join(parent, e.Name())); s != nil {
				_ = s.Close() // the next sweep tries again
			}
		}
	}
}

// abandoned takes over a scratch directory whose owner is no more, or returns
// nil.
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

// abandonedMarker returns the marker of a scratch directory, locked, or nil
// when it is somebody else's, or is no marker.
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
	if ours { // it may have been removed, by its owner or another sweep, before it was locked
		named, err = root.Lstat(scratchMarker)
		ours = err == nil && os.SameFile(named, opened)
	}
	if !ours {
		_ = f.Close()
		return nil
	}
	return f
}

// Place gives a file or directory in the scratch directory its place and makes
// that durable; see [RenameNew]. When it fails there is nothing of the new
// name that was not there before.
func (s *Scratch) Place(name, target string) error {
	if err := RenameNew(filepath.Join(s.Dir, name), target); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(target)); err != nil {
		return errors.Join(err, s.TakeBack(target, name))
	}
	return nil
}

// TakeBack takes what has been placed, to be removed by Close.
func (s *Scratch) TakeBack(target, name string) error {
	return RenameNew(target, filepath.Join(s.Dir, name))
}
