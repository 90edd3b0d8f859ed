//go:build unix

package storage_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const umaskProcess = "DOG_UMASK"

// Data directories, backups and exports, with all that is in them.
func TestDirectory_IsReadableOnlyByItsOwner(t *testing.T) {
	if umask := os.Getenv(umaskProcess); umask != "" { // a process of its own, since a umask is for all of it
		mask, err := strconv.ParseInt(umask, 8, 32)
		require.NoError(t, err)
		storeWithUmask(t, int(mask))
		return
	}
	for _, umask := range []string{"0", "022", "0277"} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestDirectory_IsReadableOnlyByItsOwner$")
		cmd.Env = append(os.Environ(), umaskProcess+"="+umask)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", umask, out)
	}
}

func storeWithUmask(t *testing.T, umask int) {
	base := t.TempDir()
	defer syscall.Umask(syscall.Umask(umask))
	data := filepath.Join(base, "deep", "data")
	for range 2 {
		rt, _ := mustOpenDir(t, data)
		require.NoError(t, rt.Shutdown(t.Context()))
		rt, ns := mustOpenDir(t, data) // writes tables
		if _, err := os.Stat(filepath.Join(base, "copies")); err != nil {
			require.NoError(t, rt.Backup(t.Context(), filepath.Join(base, "copies", "copy")))
			require.NoError(t, ns.Named("a").Export(t.Context(), filepath.Join(base, "a.db")))
			require.NoError(t, ns.Named("b").Import(t.Context(), filepath.Join(base, "a.db")))
		}
		require.NoError(t, rt.Shutdown(t.Context()))
		requirePrivate(t, base)
		// What others have widened is narrowed again.
		require.NoError(t, filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chmod(path, 0o777)
		}))
	}
	rt, _ := mustOpenDir(t, data)
	requirePrivate(t, base)
	require.NoError(t, rt.Shutdown(t.Context()))
}

func requirePrivate(t *testing.T, base string) {
	t.Helper()
	n := 0
	require.NoError(t, filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if path == base {
			return err
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an open store has deleted it since its directory was read
		}
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		n++
		require.Equal(t, want, info.Mode().Perm()&^0o100|want&0o100, path) // a file that was 0777 may be run
		return nil
	}))
	require.Greater(t, n, 10)
}
