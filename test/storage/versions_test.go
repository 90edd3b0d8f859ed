package storage_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/store"
)

// engineFormats are the formats of Pebble's files by layout. An update of
// Pebble changes none of them: see "When you change what is stored" in
// CONTRIBUTING.md.
var engineFormats = map[int]pebble.FormatMajorVersion{1: 24}

// requireEngineFormat requires that a directory has this layout's format.
func requireEngineFormat(t *testing.T, dir string, layout int) {
	t.Helper()
	found, err := pebble.Peek(dir, vfs.Default)
	require.NoError(t, err)
	require.True(t, found.Exists)
	require.Equal(t, engineFormats[layout], found.FormatMajorVersion)
}

func TestLayout_PinsTheFormatOfTheEngine(t *testing.T) {
	for layout := 1; layout <= store.Layout; layout++ {
		requireEngineFormat(t, goldenDir(layout), layout)
	}
	for _, golden := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "data")
		if golden {
			require.NoError(t, os.CopyFS(dir, os.DirFS(goldenDir(store.Layout))))
		}
		o := openGolden(t, dir, "")
		fill(t, o.parcels.Named("a"), "x")
		requireEngineFormat(t, dir, store.Layout)
		backup := filepath.Join(t.TempDir(), "backup")
		require.NoError(t, o.rt.Backup(t.Context(), backup))
		requireEngineFormat(t, backup, store.Layout)
		require.NoError(t, o.rt.Shutdown(t.Context()))
		requireEngineFormat(t, dir, store.Layout)
	}
}

func TestLayout_StoreOfALaterVersionIsTooNew(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"layout": func(t *testing.T, dir string) {
			file := filepath.Join(dir, "dog.store")
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			var mark map[string]any
			require.NoError(t, json.Unmarshal(data, &mark))
			require.EqualValues(t, store.Layout, mark["layout"])
			mark["layout"], mark["unknown"] = store.Layout+1, true
			data, err = json.Marshal(mark)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(file, data, 0o600))
		},
		"format of the engine": func(t *testing.T, dir string) {
			markers, err := filepath.Glob(filepath.Join(dir, "marker.format-version.*"))
			require.NoError(t, err)
			require.Len(t, markers, 1)
			require.NoError(t, os.Rename(markers[0], filepath.Join(dir, "marker.format-version.000099.025")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			require.NoError(t, os.CopyFS(dir, os.DirFS(goldenDir(store.Layout))))
			change(t, dir)
			before := tree(t, dir)
			rt, err := dog.New(dog.Options{Store: disk.At(dir)})
			require.ErrorIs(t, err, dog.ErrStoreTooNew)
			require.NotErrorIs(t, err, dog.ErrStoreCorrupt)
			require.Nil(t, rt)
			require.Equal(t, before, tree(t, dir))
		})
	}
}
