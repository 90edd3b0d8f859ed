package storage_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// openDir opens a data directory.
func openDir(t testing.TB, dir string) (*dog.Runtime, *dog.Namespace[parcel], error) {
	rt, err := dog.New(dog.Options{Store: disk.At(dir), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { _ = rt.Shutdown(context.Background()) })
	var d parcels
	ns, err := dog.RegisterObject(
		rt, "parcel",
		&dog.ObjectOptions[parcel]{New: func() *parcel { return &parcel{starts: &d.starts, alarms: &d.alarms} }},
	)
	return rt, ns, err
}

// mustOpenDir opens a data directory and stores something in it.
func mustOpenDir(t testing.TB, dir string) (*dog.Runtime, *dog.Namespace[parcel]) {
	rt, ns, err := openDir(t, dir)
	require.NoError(t, err)
	fill(t, ns.Named("a"), "precious")
	return rt, ns
}

// requireStore checks that a directory is a store with what mustOpenDir stores.
func requireStore(t testing.TB, dir string) {
	t.Helper()
	rt, ns, err := openDir(t, dir)
	require.NoError(t, err)
	require.Equal(t, "precious", contentOf(t, ns.Named("a")))
	require.NoError(t, rt.Shutdown(t.Context()))
}

// tree returns the names, rights and contents of everything in a directory.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(content)
			what += string(sum[:])
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += to
		}
		all[path] = what
		return nil
	}))
	return all
}

func write(t testing.TB, file, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
}

// Whatever lies beside the target of a backup or an export, and whatever its
// name: it is somebody else's.
func TestDirectory_BackupTouchesOnlyItsFiles(t *testing.T) {
	base := t.TempDir()
	others := filepath.Join(base, "others")
	write(t, filepath.Join(others, "copy.partial", "thesis"), "x")
	write(t, filepath.Join(others, ".dog-0123456789abcdef", "thesis"), "x")
	write(t, filepath.Join(others, ".dog-1123456789abcdef", "dog.scratch"), "a story of a dog that scratches")
	write(t, filepath.Join(others, ".dog-2123456789abcdef"), "x")
	require.NoError(t, os.Mkdir(filepath.Join(others, ".dog-3123456789abcdef"), 0o755))
	write(t, filepath.Join(base, "far", "thesis"), "x")
	require.NoError(t, os.Symlink(filepath.Join(base, "far"), filepath.Join(others, ".dog-4123456789abcdef")))
	data := filepath.Join(others, "data.partial")
	rt, ns := mustOpenDir(t, data)
	before := tree(t, base)
	for _, name := range []string{"copy", "data", ".dog-4123456789abcdee"} {
		require.NoError(t, rt.Backup(t.Context(), filepath.Join(others, name)))
		require.NoError(t, ns.Named("a").Export(t.Context(), filepath.Join(others, name+".db")))
	}
	after := tree(t, base)
	for path, what := range before {
		if path != others && !strings.HasPrefix(path, data) {
			require.Equal(t, what, after[path], path)
		}
	}
	entries, err := os.ReadDir(others)
	require.NoError(t, err)
	require.Len(t, entries, 7+3+3, "what was made on the way is gone")
	fill(t, ns.Named("a"), "precious")
	require.NoError(t, rt.Shutdown(t.Context()))
	for _, name := range []string{"copy", "data", ".dog-4123456789abcdee", "data.partial"} {
		requireStore(t, filepath.Join(others, name))
	}
}

// A target that exists stays what it is, and nothing is written into the
// directory of a store, by whatever way.
func TestDirectory_BackupRequiresANewPath(t *testing.T) {
	base := t.TempDir()
	at := func(elem ...string) string { return filepath.Join(append([]string{base}, elem...)...) }
	_, _ = mustOpenDir(t, at("other"))
	rt, ns := mustOpenDir(t, at("data"))
	require.NoError(t, rt.Backup(t.Context(), at("earlier")))
	write(t, at("file"), "x")
	write(t, at("dir", "file"), "x")
	require.NoError(t, os.Mkdir(at("empty"), 0o700))
	require.NoError(t, os.Symlink(at("nowhere"), at("dangling")))
	require.NoError(t, os.Symlink(at("dir"), at("link")))
	require.NoError(t, os.Symlink(at("data"), at("into")))
	require.NoError(t, os.Symlink(at("into"), at("dir", "further")))
	before := tree(t, base)
	for target, want := range map[string]error{
		at("data"):                          fs.ErrExist,
		at("other"):                         fs.ErrExist,
		at("earlier"):                       fs.ErrExist,
		at("file"):                          fs.ErrExist,
		at("dir"):                           fs.ErrExist,
		at("empty"):                         fs.ErrExist,
		at("empty") + "/":                   fs.ErrExist,
		at("dangling"):                      fs.ErrExist,
		at("link"):                          fs.ErrExist,
		base:                                fs.ErrExist,
		"/":                                 fs.ErrExist,
		"":                                  fs.ErrInvalid,
		at("data", "new"):                   fs.ErrInvalid,
		at("data", "deep", "deeper", "new"): fs.ErrInvalid,
		at("data", "000099.log"):            fs.ErrInvalid,
		at("dir", "..", "data", "new"):      fs.ErrInvalid,
		at("into", "new"):                   fs.ErrInvalid,
		at("dir", "further", "new"):         fs.ErrInvalid,
		at("link", "further", "deep", "x", "new"): fs.ErrInvalid,
		at("other", "new"):                        fs.ErrInvalid,
		at("earlier", "new"):                      fs.ErrInvalid,
		at("dangling", "new"):                     fs.ErrNotExist,
		at("file", "new"):                         nil,
	} {
		for kind, err := range map[string]error{
			"backup": rt.Backup(t.Context(), target),
			"export": ns.Named("a").Export(t.Context(), target),
		} {
			require.Error(t, err, "%s to %s", kind, target)
			if want != nil {
				require.ErrorIs(t, err, want, "%s to %s", kind, target)
			}
		}
	}
	after := tree(t, base)
	for path, what := range before {
		if path == at("data") || !strings.HasPrefix(path, at("data")) {
			require.Equal(t, what, after[path], path)
		}
	}
	require.NoError(t, rt.Backup(t.Context(), at("deep", "deeper", "copy")), "parents are made")
	requireStore(t, at("deep", "deeper", "copy"))
}

func TestDirectory_OneOfConcurrentBackupsToOnePathSucceeds(t *testing.T) {
	base := t.TempDir()
	var rts []*dog.Runtime
	var all []*dog.Namespace[parcel]
	for _, name := range []string{"one", "two"} {
		rt, ns := mustOpenDir(t, filepath.Join(base, name))
		rts, all = append(rts, rt), append(all, ns)
	}
	target := filepath.Join(base, "made", "copy")
	file := filepath.Join(base, "made", "file")
	require.NoError(t, os.Mkdir(filepath.Dir(target), 0o700))
	for range 5 {
		var done sync.WaitGroup
		var mu sync.Mutex
		made := map[string]int{}
		count := func(kind string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made[kind]++
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		}
		for i := range 6 {
			done.Go(func() { count("backup", rts[i%2].Backup(context.Background(), target)) })
			done.Go(func() { count("export", all[i%2].Named("a").Export(context.Background(), file)) })
		}
		done.Wait()
		require.Equal(t, map[string]int{"backup": 1, "export": 1}, made)
		entries, err := os.ReadDir(filepath.Dir(target))
		require.NoError(t, err)
		require.Len(t, entries, 2)
		requireStore(t, target)
		require.NoError(t, errors.Join(os.RemoveAll(target), os.Remove(file)))
	}
}

// A store whose directory is not there any more acknowledges nothing, and
// changes nothing in what has come in its place.
func TestDirectory_RemovedOneIsReported(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"renamed": func(dir string) error { return os.Rename(dir, dir+".old") },
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Rename(filepath.Join(filepath.Dir(dir), "copy"), dir))
		},
		"emptied": func(dir string) error {
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			for _, file := range files {
				err = errors.Join(err, os.Remove(file))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir := filepath.Join(base, "data")
			rt, ns := mustOpenDir(t, dir)
			require.NoError(t, rt.Backup(t.Context(), filepath.Join(base, "copy")))
			require.NoError(t, take(dir))
			before := tree(t, base)
			for range 2 {
				err := dog.CallErr(t.Context(), ns.Named("a"), (*parcel).Fill, "lost")
				require.ErrorIs(t, err, dog.ErrStoreFailed)
				require.ErrorContains(t, err, "the data directory is gone")
			}
			require.ErrorIs(t, rt.Stats().Store.Err, dog.ErrStoreFailed)
			require.ErrorIs(t, rt.Backup(t.Context(), filepath.Join(base, "another")), dog.ErrStoreFailed)
			require.ErrorIs(t, rt.Shutdown(t.Context()), dog.ErrStoreFailed)
			after := tree(t, base)
			for path := range after {
				if filepath.Dir(path) != dir+".old" { // the log's end is there
					require.Equal(t, before[path], after[path], path)
				}
			}
			switch name {
			case "renamed": // it may have what was not acknowledged
				rt, ns, err := openDir(t, dir+".old")
				require.NoError(t, err)
				require.NotEmpty(t, contentOf(t, ns.Named("a")))
				require.NoError(t, rt.Shutdown(t.Context()))
			case "replaced":
				requireStore(t, dir)
			}
		})
	}
}

const otherProcessDir = "DOG_OTHER_PROCESS_DIR"

// The lock belongs to the runtime that has it: nothing that others do in the
// directory takes it away.
func TestDirectory_BelongsToOneRuntime(t *testing.T) {
	if dir := os.Getenv(otherProcessDir); dir != "" { // the other process
		_, _, err := openDir(t, dir)
		require.ErrorIs(t, err, dog.ErrStoreLocked)
		return
	}
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	rt, ns := mustOpenDir(t, dir)
	link := filepath.Join(base, "link")
	require.NoError(t, os.Symlink(dir, link))
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"nothing", func() error { return nil }},
		{"reads the lock", func() error { _, err := os.ReadFile(filepath.Join(dir, "LOCK")); return err }},
		{"reads everything", func() error { return os.CopyFS(filepath.Join(base, "copied"), os.DirFS(dir)) }},
		{"writes the lock", func() error { return os.WriteFile(filepath.Join(dir, "LOCK"), nil, 0o600) }},
		{"removes the lock", func() error { return os.Remove(filepath.Join(dir, "LOCK")) }},
	} {
		require.NoError(t, c.do(), c.what)
		for _, same := range []string{dir, link} {
			_, _, err := openDir(t, same)
			require.ErrorIs(t, err, dog.ErrStoreLocked, c.what)
			second := exec.Command(os.Args[0], "-test.run", "^TestDirectory_BelongsToOneRuntime$")
			second.Env = append(os.Environ(), otherProcessDir+"="+same)
			out, err := second.CombinedOutput()
			require.NoError(t, err, "%s: %s", c.what, out)
		}
	}
	fill(t, ns.Named("a"), "precious")
	require.NoError(t, rt.Shutdown(t.Context()))
	requireStore(t, dir)
}

// A directory of which a store would overwrite something is refused, and left
// as it is. What a store does not touch may be there.
func TestDirectory_ForeignContentsAreUntouched(t *testing.T) {
	for _, name := range []string{
		"20260101.log", "000004.sst", "7.blob", "000004-001.log", "MANIFEST-000001", "OPTIONS-000003", "CURRENT",
		"marker.format-version.000001.024", "marker.mine", "temporary.000001.dbtmp", "CURRENT.000001.dbtmp", "LOCK",
	} {
		dir := filepath.Join(t.TempDir(), "data")
		write(t, filepath.Join(dir, name), "x")
		before := tree(t, dir)
		_, _, err := openDir(t, dir)
		require.ErrorIs(t, err, dog.ErrStoreForeign, name)
		require.ErrorContains(t, err, name)
		require.Equal(t, before, tree(t, dir), name)
	}
	dir := filepath.Join(t.TempDir(), "data")
	for _, name := range []string{"README", "lost+found/x", "app.log", "x.sst", "dog.db"} {
		write(t, filepath.Join(dir, name), "x")
	}
	before := tree(t, dir)
	for range 2 {
		rt, _ := mustOpenDir(t, dir)
		require.NoError(t, rt.Shutdown(t.Context()))
		after := tree(t, dir)
		for path, what := range before {
			require.Equal(t, what, after[path], path)
		}
	}
}

// A lock file that is a link is not emptied.
func TestDirectory_LinksInADirectoryAreNotFollowed(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	thesis := filepath.Join(base, "thesis")
	write(t, thesis, "x")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Symlink(thesis, filepath.Join(dir, "LOCK")))
	require.NoError(t, os.Symlink(thesis, filepath.Join(dir, "dog.store.new")))
	_, _, err := openDir(t, dir)
	require.Error(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, "LOCK")))
	requireEmptyStore(t, dir)
	content, err := os.ReadFile(thesis)
	require.NoError(t, err)
	require.Equal(t, "x", string(content))
}

// requireEmptyStore checks that a directory is opened as an empty store.
func requireEmptyStore(t testing.TB, dir string) {
	t.Helper()
	rt, ns, err := openDir(t, dir)
	require.NoError(t, err)
	require.Empty(t, contentOf(t, ns.Named("a")))
	require.NoError(t, rt.Shutdown(t.Context()))
}
