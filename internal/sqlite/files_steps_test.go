package sqlite

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/osfile"
	"github.com/godurable/dog/internal/store"
)

// A crash is what a directory may hold after the process, or the machine, has
// died before a change.
type crash struct {
	before string
	files  map[string]string // contents by name; that of a directory is "/", of a link what it points at
}

// A camera takes what a crash before each change of a directory leaves.
type camera struct {
	t       *testing.T
	dir     string
	durable map[string]string // contents that a sync has written, by name
	syncing string
	crashes []crash
}

// film returns what crashes leave while f runs: what the process has written,
// and only those contents that were synced.
func film(t *testing.T, dir string, f func()) []crash {
	c := &camera{t: t, dir: dir}
	c.durable = c.files()
	restore := osfile.Watch(c.step)
	defer restore()
	f()
	_ = c.step("the end", dir)
	return c.crashes
}

func (c *camera) step(op osfile.Op, name string) error {
	files := c.files()
	if c.syncing != "" {
		c.durable[c.syncing] = files[c.syncing]
		c.syncing = ""
	}
	lost := maps.Clone(files)
	for name, content := range files {
		if content != "/" && !strings.HasPrefix(content, "->") {
			lost[name] = c.durable[name]
		}
	}
	before := string(op) + " " + name
	for _, now := range []crash{{before, files}, {before + ", the power goes", lost}} {
		if !slices.ContainsFunc(c.crashes, func(other crash) bool { return maps.Equal(other.files, now.files) }) {
			c.crashes = append(c.crashes, now)
		}
	}
	relative, err := filepath.Rel(c.dir, name)
	require.NoError(c.t, err)
	switch op {
	case osfile.OpSync:
		c.syncing = relative
	case osfile.OpRename: // keeps its content
		for name, content := range maps.Clone(c.durable) {
			if strings.HasPrefix(name, ".dog-") && filepath.Base(name) == "database" {
				c.durable[relative] = content
			}
		}
	}
	return nil
}

func (c *camera) files() map[string]string {
	files := map[string]string{}
	require.NoError(c.t, filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == c.dir {
			return err
		}
		name, err := filepath.Rel(c.dir, path)
		require.NoError(c.t, err)
		switch {
		case d.IsDir():
			files[name] = "/"
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			require.NoError(c.t, err)
			files[name] = "->" + to
		default:
			content, err := os.ReadFile(path)
			require.NoError(c.t, err)
			files[name] = string(content)
		}
		return nil
	}))
	return files
}

// restore makes a directory that has these files.
func (c crash) restore(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		content, path := c.files[name], filepath.Join(dir, name)
		switch to, link := strings.CutPrefix(content, "->"); {
		case content == "/":
			require.NoError(t, os.Mkdir(path, 0o700))
		case link:
			require.NoError(t, os.Symlink(to, path))
		default:
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		}
	}
	return dir
}

// neighbours puts into a directory what is somebody else's, also where its name
// looks like one of ours.
func neighbours(t *testing.T, dir string) map[string]string {
	theirs := map[string]string{
		"thesis": "x", "link": "->thesis", "dangling": "->nowhere", "database": "y",
		".dog-0123456789abcdef": "/", ".dog-1123456789abcdef": "z",
	}
	for name, content := range theirs {
		c := crash{files: map[string]string{name: content}}
		from := c.restore(t)
		require.NoError(t, os.Rename(filepath.Join(from, name), filepath.Join(dir, name)))
	}
	return theirs
}

// left returns what a directory has besides what is theirs.
func left(t *testing.T, files, theirs map[string]string) (ours []string) {
	t.Helper()
	for name, content := range theirs {
		require.Equal(t, content, files[name], name)
	}
	for name := range files {
		if _, found := theirs[name]; !found {
			ours = append(ours, name)
		}
	}
	slices.Sort(ours)
	return ours
}

func small(t *testing.T) (*Pool, *memoryPages) {
	s, pages := newSQL(t)
	run(t, s, "CREATE TABLE t (a); INSERT INTO t SELECT randomblob(500) FROM generate_series(1, 20)")
	require.NoError(t, s.Commit())
	return newPool(t, 1), pages
}

// begun reports whether files are what a crash in the first steps of a scratch
// directory leaves: its owner is not recorded yet, so nobody may remove it.
func begun(files []string) bool {
	return len(files) == 1 || len(files) == 2 && strings.HasSuffix(files[1], "/dog.scratch")
}

func TestExport_SurvivesACrashAtAnyMoment(t *testing.T) {
	p, pages := small(t)
	dir := t.TempDir()
	theirs := neighbours(t, dir)
	crashes := film(t, dir, func() {
		require.NoError(t, p.Export(t.Context(), filepath.Join(dir, "out"), pages, []store.Table{keyTable()}))
	})
	require.Greater(t, len(crashes), 15)
	placed := 0
	for _, c := range crashes {
		if _, found := c.files["out"]; found {
			placed++
			file := filepath.Join(c.restore(t), "out")
			require.Equal(t, [][]any{{int64(20)}}, fromFile(t, file, "SELECT count(*) FROM t"), c.before)
			require.Equal(t, [][]any{{int64(3)}}, fromFile(t, file, "SELECT count(*) FROM _dog_keys"), c.before)
		}
		after := c.restore(t)
		require.NoError(t, p.Export(t.Context(), filepath.Join(after, "another"), pages, nil), c.before)
		ours := left(t, (&camera{t: t, dir: after}).files(), theirs)
		ours = slices.DeleteFunc(ours, func(name string) bool { return name == "out" || name == "another" })
		if len(ours) > 0 {
			require.True(t, begun(ours), "%s: %v", c.before, ours)
		}
	}
	require.Positive(t, placed)
	require.Equal(t, []string{"out"}, left(t, (&camera{t: t, dir: dir}).files(), theirs))
}

func TestImport_SurvivesACrashAtAnyMoment(t *testing.T) {
	p, pages := small(t)
	source, temp := t.TempDir(), t.TempDir()
	file := filepath.Join(source, "in")
	require.NoError(t, p.Export(t.Context(), file, pages, []store.Table{keyTable()}))
	unchanged := (&camera{t: t, dir: source}).files()
	theirs := neighbours(t, temp)
	t.Setenv("TMPDIR", temp)
	imported := func() {
		require.NoError(
			t,
			p.Import(
				t.Context(), file, newPages(), testLimits, []store.Table{keyTable()},
				func(string, []any) error { return nil },
			),
		)
	}
	crashes := film(t, temp, imported)
	require.Greater(t, len(crashes), 15)
	for _, c := range crashes {
		after := c.restore(t)
		t.Setenv("TMPDIR", after)
		imported()
		if ours := left(t, (&camera{t: t, dir: after}).files(), theirs); len(ours) > 0 {
			require.True(t, begun(ours), "%s: %v", c.before, ours)
		}
	}
	require.Empty(t, left(t, (&camera{t: t, dir: temp}).files(), theirs))
	require.Equal(t, unchanged, (&camera{t: t, dir: source}).files())
}

// Whatever fails, for want of space in particular, nothing half-made is left,
// and the error states the cause.
func TestFiles_FailedExportOrImportLeavesNothing(t *testing.T) {
	p, pages := small(t)
	file := filepath.Join(t.TempDir(), "in")
	require.NoError(t, p.Export(t.Context(), file, pages, []store.Table{keyTable()}))
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	theirs := neighbours(t, dir)
	for name, work := range map[string]func() error{
		"export": func() error {
			return p.Export(t.Context(), filepath.Join(dir, "out"), pages, []store.Table{keyTable()})
		},
		"import": func() error {
			return p.Import(
				t.Context(), file, newPages(), testLimits, []store.Table{keyTable()},
				func(string, []any) error { return nil },
			)
		},
	} {
		t.Run(name, func(t *testing.T) {
			causes := []error{syscall.ENOSPC, syscall.EDQUOT, errDisk}
			for n := 1; ; n++ {
				cause, steps, failed := causes[n%len(causes)], 0, ""
				restore := osfile.Watch(func(op osfile.Op, name string) error {
					if op == osfile.OpRemove {
						return nil
					}
					if steps++; steps != n {
						return nil
					}
					failed = string(op) + " " + name
					return &fs.PathError{Op: "change", Path: name, Err: cause}
				})
				err := work()
				restore()
				ours := left(t, (&camera{t: t, dir: dir}).files(), theirs)
				if steps < n {
					require.NoError(t, err)
					require.NoError(t, os.RemoveAll(filepath.Join(dir, "out")))
					require.Greater(t, n, 15)
					return
				}
				require.ErrorIs(t, err, cause, failed)
				require.NotErrorIs(t, err, store.ErrCorrupt, failed)
				require.Empty(t, ours, failed)
			}
		})
	}
	require.ErrorIs(t, damaged(sqlite3.FULL), store.ErrFull)
}
