package storage_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
)

// Whichever change of the disk fails, or is the last before a power cut: all of
// an import is stored, or nothing, and all if Import returned nil.
func TestImport_IsAllOrNothingAfterACrash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.db")
	alarm := time.Now().Add(time.Hour)
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	stow(t, o.Named("a"), alarm)
	require.NoError(t, o.Named("a").Export(t.Context(), file))
	for n := 1; ; n++ {
		d := dogtest.NewDisk(t)
		ns := newParcels(t, "parcel", dog.Options{Store: d})
		fill(t, ns.Named("other"), "y")
		before := d.Changes()
		d.Fail(n, errors.New("the disk has a scratch"))
		err := ns.Named("a").Import(t.Context(), file)
		reached := d.Changes()-before >= n
		d.CrashTorn(uint64(n))
		again := newParcels(t, "parcel", dog.Options{Store: d})
		require.Equal(t, "y", contentOf(t, again.Named("other")))
		if err == nil || contentOf(t, again.Named("a")) != "" {
			requireStowed(t, again.Named("a"), alarm)
		} else {
			require.NoError(t, again.Named("a").Import(t.Context(), file), "there is nothing of it")
		}
		if !reached {
			require.NoError(t, err)
			require.Greater(t, n, 1)
			return
		}
	}
}
