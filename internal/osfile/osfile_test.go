package osfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// ways are those to rename, of which a file system may have the last only, and
// that for files.
var ways = map[string]func(string, string) error{
	"new": RenameNew, "otherwise": renameOtherwise, "claimed": renameClaimed,
}

func TestRenameNew_ReplacesNothing(t *testing.T) {
	for name, rename := range ways {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			require.NoError(t, os.WriteFile(at("file"), []byte("file"), 0o600))
			require.NoError(t, os.Mkdir(at("empty"), 0o700))
			require.NoError(t, os.Mkdir(at("full"), 0o700))
			require.NoError(t, os.WriteFile(at("full/x"), []byte("x"), 0o600))
			require.NoError(t, os.Symlink(at("nowhere"), at("dangling")))
			taken := []string{"file", "empty", "full", "dangling"}
			for _, what := range []string{"file", "full"} {
				if name == "claimed" && what == "full" {
					continue
				}
				for _, other := range taken {
					require.ErrorIs(t, rename(at(what), at(other)), fs.ErrExist, "%s to %s", what, other)
				}
				require.NoError(t, rename(at(what), at(what+" moved")))
				require.NoFileExists(t, at(what))
				require.ErrorIs(t, rename(at(what), at("else")), fs.ErrNotExist)
				require.NoError(t, rename(at(what+" moved"), at(what)))
			}
			content, err := os.ReadFile(at("full/x"))
			require.NoError(t, err)
			require.Equal(t, "x", string(content))
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, len(taken))
		})
	}
}

func TestRenameNew_OneOfConcurrentRenamesSucceeds(t *testing.T) {
	for name, rename := range ways {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 20 {
				var done atomic.Int32
				var all sync.WaitGroup
				target := filepath.Join(dir, "target")
				for j := range 4 {
					what := filepath.Join(dir, string(rune('a'+j)))
					if i%2 == 0 && name != "claimed" {
						require.NoError(t, os.MkdirAll(filepath.Join(what, "full"), 0o700))
					} else {
						require.NoError(t, os.WriteFile(what, nil, 0o600))
					}
					all.Go(func() {
						if rename(what, target) == nil {
							done.Add(1)
						}
					})
				}
				all.Wait()
				require.EqualValues(t, 1, done.Load())
				for j := range 4 {
					require.NoError(t, os.RemoveAll(filepath.Join(dir, string(rune('a'+j)))))
				}
				require.NoError(t, os.RemoveAll(target))
			}
		})
	}
}

// die leaves what a process leaves that is killed.
func (s *Scratch) die(t *testing.T) { require.NoError(t, s.lock.Close()) }

func TestScratch_RemovesLeftoversOfKilledProcesses(t *testing.T) {
	parent := t.TempDir()
	made := func(name, content string) {
		t.Helper()
		name = filepath.Join(parent, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	}
	open, err := NewScratch(parent)
	require.NoError(t, err)
	dead, err := NewScratch(parent)
	require.NoError(t, err)
	made(filepath.Base(dead.Dir)+"/deep/file", "x")
	require.NoError(t, os.Mkdir(filepath.Join(parent, "mine"), 0o700))
	made("mine/file", "x")
	require.NoError(t, os.Symlink(filepath.Join(parent, "mine"), filepath.Join(dead.Dir, "link")))
	dead.die(t)
	made(".dog-a/file", "x")
	made(".dog-b/"+scratchMarker, scratchContent[1:]+"x")
	made("dog-c/"+scratchMarker, scratchContent)
	require.NoError(t, os.MkdirAll(filepath.Join(parent, ".dog-d", scratchMarker), 0o700))
	made("marker", scratchContent)
	require.NoError(t, os.Mkdir(filepath.Join(parent, ".dog-e"), 0o700))
	require.NoError(t, os.Symlink(filepath.Join(parent, "marker"), filepath.Join(parent, ".dog-e", scratchMarker)))

	var all sync.WaitGroup
	for range 4 { // all of them sweep
		all.Go(func() {
			s, err := NewScratch(parent)
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.NoDirExists(t, dead.Dir)
	for _, name := range []string{"mine/file", ".dog-a/file", ".dog-b/dog.scratch", "dog-c/dog.scratch", "marker"} {
		require.FileExists(t, filepath.Join(parent, name))
	}
	for _, name := range []string{".dog-d", ".dog-e", filepath.Base(open.Dir)} {
		require.DirExists(t, filepath.Join(parent, name))
	}
	made(filepath.Base(open.Dir)+"/file", "x")
	require.NoError(t, open.Close())
	require.NoDirExists(t, open.Dir)
}

func TestLock_BelongsToTheOpenDirectory(t *testing.T) {
	dir := t.TempDir()
	l, err := Lock(dir)
	require.NoError(t, err)
	_, err = Lock(dir)
	require.ErrorIs(t, err, ErrLocked)
	d, err := os.Open(dir)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	_, err = Lock(dir)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, l.Close())
	l, err = Lock(dir)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
