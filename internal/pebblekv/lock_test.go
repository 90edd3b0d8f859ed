package pebblekv_test

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/store"
)

// unlockable is a file system whose locks fail.
type unlockable struct {
	vfs.FS
	err error
}

func (u unlockable) Lock(string) (io.Closer, error) { return nil, u.err }

func TestLock_OnlyAHeldLockMeansInUse(t *testing.T) {
	for err, held := range map[error]bool{
		syscall.EAGAIN: true, syscall.ENOLCK: false, syscall.EIO: false, errors.New("held by this process"): true,
	} {
		_, got := pebblekv.Open(pebblekv.Config{Dir: "data", FS: unlockable{vfs.NewMem(), err}}, nil)
		require.ErrorIs(t, got, err)
		require.Equal(t, held, errors.Is(got, store.ErrLocked), "%v", err)
	}
}
