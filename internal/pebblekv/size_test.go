package pebblekv_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
)

var objects = flag.Int("objects", 0, "how many objects TestSize_OfManyObjects stores; 0 skips it")

// A stored object is what it holds and its identity, a few times: two keys with
// the identity in front, and one that is listed by it. What they take on the
// disk, and how long it takes to open the store again, is logged.
func TestSize_OfManyObjects(t *testing.T) {
	if *objects == 0 {
		t.Skip("no -objects")
	}
	cfg := pebblekv.Config{Dir: t.TempDir()}
	e := open(t, cfg)
	start := time.Now()
	for i := range uint64(*objects) {
		id := key(i)[:24]
		b := e.Begin()
		b.Set(append([]byte("o"), append(id, "/meta"...)...), []byte{1})
		b.Set(append([]byte("o"), append(id, "/k/key"...)...), fill(i, 100))
		b.Set(append([]byte("i"), id...), nil)
		_, err := b.Commit()
		require.NoError(t, err)
	}
	stored := time.Since(start)
	require.NoError(t, e.Close())

	start = time.Now()
	e = open(t, cfg)
	opened := time.Since(start)
	require.NoError(t, e.Compact(t.Context()))
	disk := e.Stats().Disk
	start = time.Now()
	const reads = 100_000
	for i := range uint64(reads) {
		id := key(i * 7 % uint64(*objects))[:24]
		_, found, err := e.Get(append([]byte("o"), append(id, "/k/key"...)...))
		require.NoError(t, err)
		require.True(t, found)
	}
	read := time.Since(start) / reads
	require.NoError(t, e.Close())
	var files int64
	require.NoError(t, filepath.Walk(cfg.Dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && filepath.Ext(info.Name()) == ".sst" {
			files += info.Size()
		}
		return err
	}))
	t.Log(fmt.Sprint(*objects), "objects stored in", stored, "opened in", opened, "a random read takes", read)
	perObject := files / int64(*objects)
	t.Log(perObject, "bytes each in tables,", disk/uint64(*objects), "with logs")
	require.Less(t, perObject, int64(200))
	require.Less(t, opened, time.Second)
}
