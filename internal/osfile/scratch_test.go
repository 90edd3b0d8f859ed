package osfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAScratchDirectoryNeedsNoLocks(t *testing.T) {
	defer func() { lockFile = lock }()
	for _, says := range []error{syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.ENOLCK, syscall.EINVAL, errUnsupported} {
		lockFile = func(*os.File) error { return says }
		dir := t.TempDir()
		s, err := NewScratch(dir)
		require.NoError(t, err, says)
		other, err := NewScratch(dir)
		require.NoError(t, err)
		require.FileExists(t, filepath.Join(s.Dir, scratchMarker), "nobody has taken it for abandoned")
		require.NoError(t, errors.Join(s.Close(), other.Close()))
	}
	lockFile = func(*os.File) error { return ErrLocked }
	_, err := NewScratch(t.TempDir())
	require.ErrorIs(t, err, ErrLocked)
}
