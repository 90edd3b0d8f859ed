package pebblekv

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
)

// format is the format of Pebble's files. An update of Pebble must not change
// it: a later format requires a later store.Layout.
const format = pebble.FormatValueSeparation

// markerName is the name of the file that identifies the directory of a store.
const markerName = osfile.StoreMarker

// A mark is the content of the marker.
type mark struct {
	About    string `json:"about"`
	Layout   int    `json:"layout"`           // see store.Layout
	Complete bool   `json:"complete"`         // creation of the store was completed
	Secret   string `json:"secret,omitempty"` // see newSecret
	Copy     string `json:"copy,omitempty"`   // see store.Engine; empty in a backup until it is opened
}

// secretSize is the size of the secret known only to the store and its backups.
const secretSize = 16 // bytes

// newSecret returns a new secret in hexadecimal. The secret distinguishes the
// store's own records in a log from bytes sent by clients; see logEnd.
func newSecret() string {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	return hex.EncodeToString(secret)
}

const about = "The directory of a store of github.com/godurable/dog. It belongs to the program that has it open."

// A directory is the locked directory of a store.
type directory struct {
	fs     vfs.FS       // fixed
	name   string       // fixed
	lock   *os.File     // fixed; of the operating system; nil on other file systems
	pebble *pebble.Lock // fixed
	new    bool         // fixed; it contains no store yet
	secret string       // fixed; as in the mark
	copy   string       // fixed; as in the mark
	marker fs.FileInfo  // nil until complete, which is called before the directory is shared
}

// openDirectory creates the directory if it does not exist, and locks it. It
// changes nothing in a directory that is locked, of a later version, damaged,
// or used for something else.
func openDirectory(fsys vfs.FS, name string, log *slog.Logger) (d *directory, err error) {
	if name, err = resolve(fsys, name); err != nil {
		return nil, err
	}
	if _, err := makeDir(fsys, name); err != nil {
		return nil, err
	}
	d = &directory{fs: fsys, name: name}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if isOS(fsys) {
		if d.lock, err = osfile.Lock(name); errors.Is(err, osfile.ErrLocked) {
			return d, store.ErrLocked
		} else if err != nil {
			return d, err
		}
	}
	names, err := fsys.List(name)
	if err != nil {
		return d, err
	}
	if err := d.examine(names); err != nil {
		return d, err
	}
	if d.pebble, err = pebble.LockDirectory(name, fsys); err != nil {
		return d, lockError(err)
	}
	if isOS(fsys) {
		d.narrow(names, log)
	}
	if d.secret != "" && d.copy != "" {
		return d, nil
	}
	if d.secret == "" { // of a new store, or one created without a secret
		d.secret = newSecret()
	}
	if d.copy == "" {
		d.copy = newSecret()
	}
	return d, d.write(d.mark(!d.new))
}

// pebbleNames matches the names that Pebble considers its own: it reads,
// overwrites and removes these files.
var pebbleNames = regexp.MustCompile(
	`^(CURRENT.*|MANIFEST-.*|OPTIONS-.*|REMOTE-OBJ-CATALOG-.*|marker\..*|.*\.dbtmp|\d+(-\d+)?\.(log|sst|blob))$`,
)

// ourNames matches the names of the other files of a store.
var ourNames = regexp.MustCompile(`^(LOCK|dog\.(store|clean)(\.new)?)$`)

// examine checks the contents of the directory.
func (d *directory) examine(names []string) error {
	m, found, err := d.read()
	if err != nil {
		return err
	}
	if !found || !m.Complete {
		d.new = true
	}
	if !found {
		for _, name := range names {
			if pebbleNames.MatchString(name) || name == "LOCK" && d.size(name) > 0 {
				return fmt.Errorf("%w: it has no %s, but it has %s", store.ErrForeign, markerName, name)
			}
		}
		return nil
	}
	if m.Layout > store.Layout {
		return fmt.Errorf("%w: layout %d, and this version reads up to %d", store.ErrTooNew, m.Layout, store.Layout)
	}
	value, err := atomicfs.ReadMarker(d.fs, d.name, "format-version")
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	if value == "" && d.new {
		return nil
	}
	version, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: the version of the files is %q", store.ErrCorrupt, value)
	}
	if version > uint64(format) {
		return fmt.Errorf("%w: files of version %d, and this version reads up to %d", store.ErrTooNew, version, format)
	}
	if d.new {
		return nil
	}
	if secret, err := hex.DecodeString(m.Secret); err != nil || len(secret) != secretSize && m.Secret != "" {
		return fmt.Errorf("%w: the secret in %s is invalid", store.ErrCorrupt, markerName)
	}
	d.secret, d.copy = m.Secret, m.Copy
	// Pebble creates an empty store if it does not find its files, and removes
	// the others.
	found, err = d.hasManifest(names)
	if err == nil && !found {
		err = fmt.Errorf("%w: files are missing: a store needs its empty files, too", store.ErrCorrupt)
	}
	return err
}

// hasManifest reports whether the manifest, which lists the store's files, and
// a log exist.
func (d *directory) hasManifest(names []string) (bool, error) {
	manifest, err := atomicfs.ReadMarker(d.fs, d.name, "manifest")
	if err != nil {
		return false, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	found, logs := false, false
	for _, name := range names {
		found = found || manifest != "" && name == manifest
		logs = logs || logName.MatchString(name)
	}
	return found && logs, nil
}

// size returns the size of a file, or 0 if it does not exist.
func (d *directory) size(name string) int64 {
	info, err := d.fs.Stat(d.path(name))
	if err != nil {
		return 0
	}
	return info.Size()
}

func (d *directory) path(name string) string { return d.fs.PathJoin(d.name, name) }

// read returns the content of the marker.
func (d *directory) read() (m mark, found bool, err error) {
	f, err := d.fs.Open(d.path(markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	content, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return m, false, err
	}
	if err := json.Unmarshal(content, &m); err != nil || m.Layout < 1 {
		return m, false, fmt.Errorf("%w: %s contains %q", store.ErrCorrupt, markerName, content)
	}
	return m, true, nil
}

func (d *directory) mark(complete bool) mark {
	return mark{About: about, Layout: store.Layout, Complete: complete, Secret: d.secret, Copy: d.copy}
}

// write writes the marker.
func (d *directory) write(m mark) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writeFile(d.fs, d.name, markerName, append(content, '\n'))
}

// writeFile durably replaces the content of a file in a directory.
func writeFile(fsys vfs.FS, dir, name string, content []byte) error {
	name = fsys.PathJoin(dir, name)
	f, err := fsys.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

// complete records that creation of the store was completed. After it, check
// works.
func (d *directory) complete() (err error) {
	if d.new {
		if err := d.write(d.mark(true)); err != nil {
			return err
		}
	}
	d.marker, err = d.stat()
	return err
}

// stat returns the FileInfo of the marker.
func (d *directory) stat() (fs.FileInfo, error) {
	if d.lock != nil {
		return os.Stat(d.path(markerName)) // os.SameFile works only with these
	}
	return d.fs.Stat(d.path(markerName))
}

// check returns an error if the directory is no longer the one that was opened.
// Writes would then be lost.
func (d *directory) check() error {
	if d.marker == nil {
		return nil
	}
	info, err := d.stat()
	if err == nil && (d.lock == nil || os.SameFile(info, d.marker)) {
		return nil
	}
	if err == nil {
		err = errors.New("another directory is in its place")
	}
	return fmt.Errorf("%w: %s: %w", store.ErrGone, d.name, err)
}

// Close unlocks the directory.
func (d *directory) Close() error {
	var errs []error
	if d.pebble != nil {
		errs = append(errs, d.pebble.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// narrow removes the access rights of other users. It does not change the mode
// of a directory that also contains other files, since it may belong to another
// user.
func (d *directory) narrow(names []string, log *slog.Logger) {
	all := true
	var failed error
	for _, name := range names {
		if !pebbleNames.MatchString(name) && !ourNames.MatchString(name) {
			all = false
			continue
		}
		failed = errors.Join(failed, narrow(d.path(name)))
	}
	if all {
		failed = errors.Join(failed, narrow(d.name))
	}
	if failed != nil {
		log.Warn("others on this machine may read the store", "error", failed)
	}
}

func narrow(name string) error {
	info, err := os.Lstat(name)
	if err != nil || info.Mode().Perm()&^osfile.DirMode == 0 || !info.Mode().IsRegular() && !info.IsDir() {
		return err
	}
	return os.Chmod(name, info.Mode()&^0o077)
}
