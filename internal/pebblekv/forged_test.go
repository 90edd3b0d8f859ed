package pebblekv_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
)

// forge returns a chunk as Pebble writes it to a log, with a commit of one key,
// or with nothing. Nothing in it is a secret.
func forge(log uint32, synced uint64, key string) []byte {
	b := make([]byte, 19, 64)
	b[6] = 9
	binary.LittleEndian.PutUint32(b[7:], log)
	binary.LittleEndian.PutUint64(b[11:], synced)
	if key != "" {
		b = binary.LittleEndian.AppendUint64(b, 1<<40)
		b = binary.LittleEndian.AppendUint32(b, 1)
		b = append(b, 1, byte(len(key)))
		b = append(append(b, key...), 1, 'v')
	}
	binary.LittleEndian.PutUint16(b[4:], uint16(len(b)-19))
	sum := crc32.Checksum(b[6:], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(b, (sum>>15|sum<<17)+0xa282ead8)
	return b
}

// behind returns the bytes behind the last chunk of the newest log that a chunk
// might begin with.
func behind(t *testing.T, fsys *faultfs.FS) []byte {
	name := newestLog(t, fsys)
	var number uint32
	_, err := fmt.Sscanf(path.Base(name), "%d.log", &number)
	require.NoError(t, err)
	log := read(t, fsys, name)
	at := 0
	for at+19 <= len(log) && binary.LittleEndian.Uint32(log[at+7:]) == number {
		at += 19 + int(binary.LittleEndian.Uint16(log[at+4:]))
		if room := 32<<10 - at%(32<<10); room < 19 {
			at += room
		}
	}
	if at%(32<<10) == 0 {
		return nil // only Pebble writes there
	}
	return log[min(at, len(log)):min(at+19, len(log))]
}

// forgeries are what a client may send to have it lie in a later log's file.
var forgeries = []func(log uint32) []byte{
	func(log uint32) []byte { return forge(log, 1<<62, "") },
	func(log uint32) []byte { return forge(log, 40_000, "") },
	func(log uint32) []byte { return forge(log, 0, "forged") },
	func(log uint32) []byte { return forge(log, 1<<62, "forged") },
	func(log uint32) []byte { return binary.LittleEndian.AppendUint32([]byte{6: 5}, log) }, // the end of a log
	func(log uint32) []byte { // a chunk that cannot be read, and one behind it
		b := forge(log, 0, "")
		b[4] = 19
		return append(append(b, forge(log, 0, "")...), forge(log, 1<<62, "")...)
	},
}

// A client that sends what a log is made of, for logs that are to come, at
// whatever place it comes to lie in the files that they are written into, has
// nothing of it taken for a record: not for a commit, and not for one that
// proves that others are missing.
func TestLog_ForgedRecordsAreNotRead(t *testing.T) {
	fsys := faultfs.New()
	e := open(t, small(fsys))
	opens := func(percent, seed int) {
		crashed := open(t, small(fsys.Crash(percent, uint64(seed))))
		_, found, err := crashed.Get([]byte("forged"))
		require.NoError(t, err)
		require.False(t, found)
		_, found, err = crashed.Get([]byte("long0"))
		require.NoError(t, err)
		require.True(t, found)
		require.NoError(t, crashed.Close())
	}
	for i := range 160 {
		var newest uint32
		_, err := fmt.Sscanf(path.Base(newestLog(t, fsys)), "%d.log", &newest)
		require.NoError(t, err)
		var value []byte
		for log := newest; len(value) < 20_000-i%97*41; log++ {
			value = append(value, forgeries[i%len(forgeries)](newest+1+log%8)...)
		}
		require.NoError(t, wait(e, set(t, e, fmt.Sprint("long", i%5), string(value[i%43:]))))
		n := set(t, e, "short", string(value[:i%300])) // what it is written over goes on behind it
		if i < 20 {
			continue
		}
		opens(100, i) // as if the process were killed
		opens(50, i)
		require.NoError(t, wait(e, n))
		opens(100, i)
		require.Empty(t, bytes.Trim(behind(t, fsys), "\x00"), "what may go on where the log ends")
		if i%10 == 0 {
			dir := fmt.Sprint("/b/", i)
			require.NoError(t, e.Backup(t.Context(), dir))
			copied := open(t, pebblekv.Config{FS: fsys.Crash(0, 0), Dir: dir})
			require.Equal(t, contents(t, e), contents(t, copied))
			require.NoError(t, copied.Close())
		}
	}
	require.NoError(t, e.Close())
}
