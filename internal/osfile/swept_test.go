package osfile_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/osfile"
)

func TestScratch_MayBeSweptDuringClose(t *testing.T) {
	parent := t.TempDir()
	s, err := osfile.NewScratch(parent)
	require.NoError(t, err)
	swept := false
	t.Cleanup(osfile.Watch(func(op osfile.Op, name string) error {
		if op == osfile.OpRemove && filepath.Base(name) == "dog.scratch" && !swept {
			swept = true // its lock has just been released
			other, err := osfile.NewScratch(parent)
			require.NoError(t, err)
			require.NoError(t, other.Close())
		}
		return nil
	}))
	require.NoError(t, s.Close())
	require.True(t, swept)
	left, err := filepath.Glob(filepath.Join(parent, "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
