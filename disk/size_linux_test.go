package disk_test

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/disk"
)

// lateBlocks are file systems that count the blocks of a file after they have
// compressed it, or only once it has been written to the disk.
var lateBlocks = map[uint32]string{0x2fc12fc1: "ZFS", 0x9123683e: "btrfs", 0xca451a4e: "bcachefs"}

// As documented, a directory takes 1 MiB at first, with what is allocated
// beyond the ends of files.
func TestAt_TakesLittleAtFirst(t *testing.T) {
	var on syscall.Statfs_t
	require.NoError(t, syscall.Statfs(t.TempDir(), &on))
	if name, late := lateBlocks[uint32(on.Type)]; late {
		t.Skipf("%s does not tell at once what a file takes: set TMPDIR to another file system", name)
	}
	dir := filepath.Join(t.TempDir(), "data")
	e := open(t, disk.At(dir))
	set(t, e, "k", "v")
	blocks := int64(0)
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var s syscall.Stat_t
		if err == nil {
			err = syscall.Stat(path, &s)
			blocks += s.Blocks
		}
		return err
	}))
	require.NoError(t, e.Close())
	require.Greater(t, blocks, int64(1<<20/512/2))
	require.Less(t, blocks, int64(2<<20/512))
}
