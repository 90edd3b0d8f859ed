package pebblekv_test

import (
	"bytes"
	"log/slog"
	"path"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

// stored returns an image of a store with so many commits, all reported as
// durable, each by a sync of its own. It was closed, or has crashed.
func stored(t *testing.T, commits int, closed bool) *faultfs.FS {
	fsys := faultfs.New()
	cfg := small(fsys)
	cfg.Memtable = 16 << 20
	e := open(t, cfg)
	var h history
	for range commits {
		n, err := h.commit(e, 50)
		require.NoError(t, err)
		require.NoError(t, wait(e, n))
	}
	if closed {
		require.NoError(t, e.Close())
		return fsys.Crash(0, 0)
	}
	image := fsys.Crash(0, 0)
	require.NoError(t, e.Close())
	return image
}

func newestLog(t *testing.T, fsys *faultfs.FS) string {
	log := ""
	for _, name := range list(t, fsys) {
		if strings.HasSuffix(name, ".log") {
			log = max(log, name)
		}
	}
	return path.Join("/a/data", log)
}

// openLogged opens an image, and returns how many commits it has and what was
// logged; or the error.
func openLogged(t *testing.T, image *faultfs.FS) (count uint64, logged string, err error) {
	var log bytes.Buffer
	e, err := pebblekv.Open(
		small(image), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	)
	if err != nil {
		return 0, log.String(), err
	}
	count = check(t, e, 0, 50)
	require.NoError(t, e.Close())
	return count, log.String(), nil
}

// A commit that was reported as durable is there, or the store is refused as
// damaged, or its loss is logged, wherever the newest log is damaged. The end
// of a log that is cut off or zeroed proves nothing unless the store was
// closed: a crash leaves the same. Then the commits up to some point are there,
// as openLogged checks, at least those before the damage, and nothing else.
func TestLogEnd_LossOfDurableCommitsIsReported(t *testing.T) {
	const commits = 400
	for _, closed := range []bool{true, false} {
		image := stored(t, commits, closed)
		log := newestLog(t, image)
		end := len(bytes.TrimRight(read(t, image, log), "\x00"))
		require.Greater(t, end, 32<<10+8<<10, "more than a block")
		refused := 0
		least := map[string]uint64{} // what is there after damage nearer the beginning
		for at := 20; at < end; at += 61 + 900*min(1, (end-at)/900) {
			for what, damage := range map[string]func([]byte) []byte{
				"flipped": flip(at),
				"cut":     func(b []byte) []byte { return b[:at] },
				"zeroed":  func(b []byte) []byte { return append(b[:at:at], make([]byte, len(b)-at)...) },
			} {
				count, logged, err := openLogged(t, damaged(t, image, log, damage))
				switch {
				case err != nil:
					require.ErrorIs(t, err, store.ErrCorrupt)
					refused++
				case closed:
					require.EqualValues(t, commits, count, "%s at %d of %d: it was closed", what, at, end)
				case what == "flipped" && count < commits:
					require.Contains(
						t, logged, "level=WARN", "%s at %d of %d: %d of %d are there", what, at, end, count, commits,
					)
					require.Contains(t, logged, path.Base(log))
					require.Contains(t, logged, "bytes=")
					require.EqualValues(t, commits-1, count, "whatever follows it proves that it was there")
				case what != "flipped":
					require.GreaterOrEqual(t, count, least[what], "%s at %d of %d", what, at, end)
					require.LessOrEqual(t, commits-count, uint64(end-at)/50+1, "%s at %d of %d", what, at, end)
					least[what] = count
				}
			}
		}
		require.Positive(t, refused)
	}
}

// A crash leaves no warning when nothing is lost, and none for a record that
// was being written.
func TestLogEnd_CrashLogsNoWarning(t *testing.T) {
	image := stored(t, 100, false)
	count, logged, err := openLogged(t, image.Crash(0, 0))
	require.NoError(t, err)
	require.EqualValues(t, 100, count)
	require.Empty(t, logged)
	log := newestLog(t, image)
	for cut := 1; cut < 60; cut++ {
		_, logged, err = openLogged(t, damaged(t, image, log, func(b []byte) []byte { return b[:len(b)-cut] }))
		require.NoError(t, err)
		require.Empty(t, logged)
	}
}

// Files of a store that are gone, or whose names are all there is to them.
func TestOpen_MissingFilesAreDamage(t *testing.T) {
	for _, lost := range []string{
		"marker.manifest", "marker.format", "marker.", "MANIFEST-", "log", "marker.|MANIFEST-|log|LOCK|dog.clean",
	} {
		for _, closed := range []bool{true, false} {
			image := stored(t, 10, closed)
			for _, name := range list(t, image) {
				for _, part := range strings.Split(lost, "|") {
					if strings.Contains(name, part) {
						require.NoError(t, image.Remove(path.Join("/a/data", name)))
						break
					}
				}
			}
			before := image.Count(faultfs.Create | faultfs.Remove | faultfs.Rename | faultfs.Write)
			_, _, err := openLogged(t, image)
			require.ErrorIs(t, err, store.ErrCorrupt, lost)
			if lost != "marker.format" {
				require.Equal(t, before, image.Count(faultfs.Create|faultfs.Remove|faultfs.Rename|faultfs.Write), lost)
			}
		}
	}
}

// A store of a later version is not damaged, and nothing is changed in it.
func TestOpen_LeavesALaterVersionUnchanged(t *testing.T) {
	for name, change := range map[string]func(*faultfs.FS){
		"layout": func(fsys *faultfs.FS) { put(t, fsys, "dog.store", `{"layout":2,"complete":true,"more":"of it"}`) },
		"files": func(fsys *faultfs.FS) {
			for _, name := range list(t, fsys) {
				if strings.HasPrefix(name, "marker.format-version.") {
					require.NoError(t, fsys.Remove(path.Join("/a/data", name)))
				}
			}
			put(t, fsys, "marker.format-version.000099.025", "")
		},
	} {
		for _, closed := range []bool{true, false} {
			image := stored(t, 10, closed)
			change(image)
			before := image.Count(faultfs.All)
			_, _, err := openLogged(t, image)
			require.ErrorIs(t, err, store.ErrTooNew, name)
			require.NotErrorIs(t, err, store.ErrCorrupt, name)
			require.Equal(t, before, image.Count(faultfs.All), name)
		}
	}
	for _, content := range []string{"", "x", "{}", `{"layout":0,"complete":true}`, `{"layout":"1"}`} {
		image := stored(t, 10, true)
		put(t, image, "dog.store", content)
		_, _, err := openLogged(t, image)
		require.ErrorIs(t, err, store.ErrCorrupt, content)
	}
}

func put(t *testing.T, fsys *faultfs.FS, name, content string) {
	f, err := fsys.Create(path.Join("/a/data", name), vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
