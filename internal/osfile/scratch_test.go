package osfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScratch_NeedsNoLocks(t *testing.T) {
	defer func() { lockFile = lock }()
	for _, fault := range []error{syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.ENOLCK, syscall.EINVAL, errUnsupported} {
		lockFile = func(*os.File) error { return fault }
		dir := t.TempDir()
		s, err := NewScratch(dir)
		require.NoError(t, err, fault)
		other, err := NewScratch(dir)
		require.NoError(t, err)
		require.FileExists(t, filepath.Join(s.Dir, scratchMarker), "nobody has taken it for abandoned")
		require.NoError(t, errors.Join(s.Close(), other.Close()))
	}
	lockFile = func(*os.File) error { return ErrLocked }
	_, err := NewScratch(t.TempDir())
	require.ErrorIs(t, err, ErrLocked)
}

// left makes what a killed process has left.
func left(t *testing.T, parent, name string, mode os.FileMode) string {
	dir := filepath.Join(parent, name)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "made", "deep"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "made", "thesis"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, scratchMarker), []byte(scratchContent), 0o600))
	require.NoError(t, os.Chmod(dir, mode))
	return dir
}

func TestScratch_SweepsOnlyItsOwn(t *testing.T) {
	parent, home := t.TempDir(), t.TempDir()
	ours := left(t, parent, scratchPrefix+"ours", 0o700)
	shared := left(t, parent, scratchPrefix+"shared", 0o777)
	theirs := left(t, parent, scratchPrefix+"theirs", 0o700)
	if err := os.Lchown(theirs, 4711, 4711); err != nil { // only root may
		require.NoError(t, os.Rename(theirs, filepath.Join(t.TempDir(), "theirs")))
		theirs = shared
	}
	kept := left(t, home, "kept", 0o700)
	require.NoError(t, os.Symlink(kept, filepath.Join(parent, scratchPrefix+"link")))
	within := left(t, parent, scratchPrefix+"within", 0o700)
	require.NoError(t, os.Symlink(home, filepath.Join(within, "out")))

	s, err := NewScratch(parent)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoDirExists(t, ours)
	require.NoDirExists(t, within)
	for _, dir := range []string{shared, theirs, kept} {
		require.FileExists(t, filepath.Join(dir, "made", "thesis"))
	}
}

// A process that may rename in the parent may replace the directory at any
// moment.
func TestScratch_FollowsNoLinkThatReplacesIt(t *testing.T) {
	for name, take := range map[string]func(*testing.T, string) *Scratch{
		"of an ended process": func(t *testing.T, parent string) *Scratch {
			return abandoned(left(t, parent, scratchPrefix+"x", 0o700))
		},
		"in use": func(t *testing.T, parent string) *Scratch {
			s, err := NewScratch(parent)
			require.NoError(t, err)
			require.NoError(t, os.Mkdir(filepath.Join(s.Dir, "made"), 0o700))
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			parent, home := t.TempDir(), t.TempDir()
			victim := left(t, home, "victim", 0o700)
			s := take(t, parent)
			require.NotNil(t, s)
			require.NoError(t, os.Rename(s.Dir, s.Dir+".moved"))
			require.NoError(t, os.Symlink(victim, s.Dir))
			_ = s.Close()
			require.FileExists(t, filepath.Join(victim, "made", "thesis"))
			require.FileExists(t, filepath.Join(victim, scratchMarker))
			require.NoDirExists(t, filepath.Join(s.Dir+".moved", "made"))
		})
	}
}
