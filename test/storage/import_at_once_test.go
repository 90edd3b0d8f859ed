package storage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/osfile"
)

func TestImport_IsNotAffectedByAConcurrentImport(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	fill(t, o.Named("a"), "x")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, o.Named("a").Export(t.Context(), file))
	begun := false
	watchFiles(t, func(_ int, op osfile.Op, name string) error {
		if op == osfile.OpRemove && filepath.Base(name) == "dog.scratch" && strings.HasPrefix(name, os.TempDir()) &&
			!begun {
			begun = true
			other := make(chan error)
			go func() { other <- o.Named("c").Import(t.Context(), file) }()
			require.NoError(t, <-other)
		}
		return nil
	})
	require.NoError(t, o.Named("b").Import(t.Context(), file))
	require.True(t, begun)
}
