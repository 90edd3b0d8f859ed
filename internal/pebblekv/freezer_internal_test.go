package pebblekv

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// A crash while Pebble opens the database must not leave a store without a log,
// which would look like one whose log somebody has deleted.
func TestFreezer_RemovesLogsOnlyAfterOpening(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("/data", 0o700))
	z := newFreezer(mem, "/data", 0)
	create := func(name string) {
		f, err := mem.Create("/data/"+name, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	exists := func(name string) bool {
		_, err := mem.Stat("/data/" + name)
		return err == nil
	}
	for _, name := range []string{"000002.log", "000003.log", "000004.sst"} {
		create(name)
	}
	require.NoError(t, z.Remove("/data/000002.log"))
	require.NoError(t, z.Remove("/data/000004.sst"))
	require.True(t, exists("000002.log"))
	require.False(t, exists("000004.sst"))

	z.open()
	require.False(t, exists("000002.log"))
	require.True(t, exists("000003.log"))
	require.NoError(t, z.Remove("/data/000003.log"))
	require.False(t, exists("000003.log"))
	require.NoError(t, z.err())
}
