package pebblekv_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

// The store does what a sorted map does, also over restarts and crashes.
func TestEngine_IsASortedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := faultfs.New()
		e := open(t, small(fsys))
		defer func() { _ = e.Close() }() // rapid gives up some runs half way.
		model := map[string]string{}
		keys := rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00\xff")), 1, 3, -1)
		bound := func(t *rapid.T, name string) []byte {
			if rapid.Bool().Draw(t, name+" open") {
				return nil
			}
			return []byte(keys.Draw(t, name))
		}
		commit := func(t *rapid.T) uint64 {
			b := e.Begin()
			next := maps.Clone(model)
			for range rapid.IntRange(0, 6).Draw(t, "changes") {
				k := []byte(keys.Draw(t, "key"))
				switch rapid.IntRange(0, 3).Draw(t, "change") {
				case 0, 1:
					v := strings.Repeat(
						rapid.StringN(0, 3, -1).Draw(t, "value"), rapid.SampledFrom([]int{1, 8000}).Draw(t, "times"),
					)
					b.Set(k, []byte(v))
					next[string(k)] = v
				case 2:
					b.Delete(k)
					delete(next, string(k))
				case 3:
					upper := keys.Draw(t, "upper")
					b.DeleteRange(k, []byte(upper))
					maps.DeleteFunc(next, func(key, _ string) bool { return string(k) <= key && key < upper })
				}
				clear(k)
			}
			if rapid.IntRange(0, 4).Draw(t, "discard") == 0 {
				b.Discard()
				return 0
			}
			n, err := b.Commit()
			require.NoError(t, err)
			model = next
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) { commit(t) },
			"get": func(t *rapid.T) {
				k := keys.Draw(t, "key")
				v, found, err := e.Get([]byte(k))
				require.NoError(t, err)
				want, exists := model[k]
				require.Equal(t, exists, found)
				require.Equal(t, want, string(v))
				require.Equal(t, exists, v != nil)
			},
			"scan": func(t *rapid.T) {
				lower, upper, reverse := bound(t, "lower"), bound(t, "upper"), rapid.Bool().Draw(t, "reverse")
				limit := rapid.IntRange(1, 10).Draw(t, "limit")
				want := slices.Sorted(maps.Keys(model))
				want = slices.DeleteFunc(want, func(k string) bool {
					return k < string(lower) || upper != nil && k >= string(upper)
				})
				if reverse {
					slices.Reverse(want)
				}
				want = want[:min(limit, len(want))]
				var got []string
				for p, err := range e.Scan(lower, upper, reverse) {
					require.NoError(t, err)
					require.Equal(t, model[string(p.Key)], string(p.Value))
					if got = append(got, string(p.Key)); len(got) == limit {
						break
					}
				}
				require.Equal(t, append([]string{}, want...), append([]string{}, got...))
			},
			"restart": func(t *rapid.T) {
				require.NoError(t, e.Close())
				e = open(t, small(fsys))
			},
			"crash": func(t *rapid.T) {
				b := e.Begin()
				b.Set([]byte("a"), nil)
				n, err := b.Commit()
				require.NoError(t, err)
				model["a"] = ""
				require.NoError(t, wait(e, n))
				old := e
				fsys = fsys.Crash(rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept"), rapid.Uint64().Draw(t, "seed"))
				require.NoError(t, old.Close())
				e = open(t, small(fsys))
			},
			"": func(t *rapid.T) { require.Equal(t, model, contents(t, e)) },
		})
		require.NoError(t, e.Close())
	})
}

func TestCommit_NumbersAreInOrder(t *testing.T) {
	e := open(t, pebblekv.Config{FS: vfs.NewMem(), Dir: "data"})
	defer e.Close()
	var last uint64
	for range 100 {
		n := set(t, e, "k", "v")
		require.Greater(t, n, last)
		last = n
	}
	n, err := e.Begin().Commit()
	require.NoError(t, err)
	require.Zero(t, n, "nothing was changed")
	require.NoError(t, wait(e, 0))
	require.NoError(t, wait(e, last))
	require.GreaterOrEqual(t, e.Durable(), last)
	s := e.Stats()
	require.EqualValues(t, 100, s.Commits)
	require.Positive(t, s.Syncs)
	require.Zero(t, s.Unsynced)
	require.Positive(t, s.Disk)
	require.Positive(t, s.Memory)
	require.NoError(t, s.Failed)
}

func TestCommit_RefusesAnEmptyKey(t *testing.T) {
	cfg := pebblekv.Config{FS: vfs.NewMem(), Dir: "data"}
	e := open(t, cfg)
	b := e.Begin()
	b.Set(nil, []byte("v"))
	_, err := b.Commit()
	require.ErrorIs(t, err, pebblekv.ErrEmptyKey)
	b = e.Begin()
	b.Delete(nil)
	_, err = b.Commit()
	require.ErrorIs(t, err, pebblekv.ErrEmptyKey)
	b = e.Begin()
	b.Set([]byte("k"), nil)
	b.DeleteRange(nil, []byte("x"))
	_, err = b.Commit()
	require.NoError(t, err)
	require.Empty(t, contents(t, e))
	require.NoError(t, e.Close())
	e = open(t, cfg) // Writes the range to a table.
	require.Empty(t, contents(t, e))
	require.NoError(t, e.Close())
}

func TestScan_EndsWithItsLoop(t *testing.T) {
	e := open(t, pebblekv.Config{FS: vfs.NewMem(), Dir: "data"})
	for _, k := range []string{"a", "b", "c"} {
		set(t, e, k, k)
	}
	for range e.Scan(nil, nil, false) {
		break
	}
	func() {
		defer func() { _ = recover() }()
		for range e.Scan(nil, nil, false) {
			panic("in the loop")
		}
	}()
	for p := range e.Scan(nil, nil, false) {
		set(t, e, string(p.Key)+"x", "")
	}
	require.Len(t, contents(t, e), 6, "a loop sees what there was when it began")
	require.NoError(t, e.Close(), "Pebble finds no iterator left open")
}

func TestClose_RefusesFurtherUse(t *testing.T) {
	e := open(t, pebblekv.Config{FS: vfs.NewMem(), Dir: "data"})
	n := set(t, e, "k", "v")
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	require.NoError(t, wait(e, n), "closing made it durable")
	require.ErrorIs(t, wait(e, n+1), store.ErrClosed)
	require.ErrorIs(t, e.Writable(), store.ErrClosed)
	_, _, err := e.Get([]byte("k"))
	require.ErrorIs(t, err, store.ErrClosed)
	for _, err := range e.Scan(nil, nil, false) {
		require.ErrorIs(t, err, store.ErrClosed)
	}
	require.ErrorIs(t, e.Stats().Failed, store.ErrClosed)
	require.ErrorIs(t, e.Backup(t.Context(), "elsewhere"), store.ErrClosed)
	_, err = e.OpenSQL(nil, store.SQLLimits{})
	require.ErrorIs(t, err, store.ErrNoStore)
}

func TestOpen_LocksTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data")
	e := open(t, pebblekv.Config{Dir: dir})
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	for _, same := range []string{dir, link, dir + "/../data"} {
		_, err := pebblekv.Open(pebblekv.Config{Dir: same}, nil)
		require.ErrorIs(t, err, store.ErrLocked)
		require.ErrorContains(t, err, same)
	}
	require.NoError(t, e.Close())
	e = open(t, pebblekv.Config{Dir: link})
	require.NoError(t, e.Close())
}

func TestOpen_ReportsProblemsOfTheDirectory(t *testing.T) {
	_, err := pebblekv.Open(pebblekv.Config{}, nil)
	require.Error(t, err)

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = pebblekv.Open(pebblekv.Config{Dir: file}, nil)
	require.Error(t, err)
	require.NotErrorIs(t, err, store.ErrLocked)
	require.NotErrorIs(t, err, store.ErrCorrupt)
}

func TestOpen_MissingTableIsDamage(t *testing.T) {
	dir := t.TempDir()
	cfg := pebblekv.Config{Dir: dir, Memtable: 64 << 10}
	e := open(t, cfg)
	for i := range 100 {
		set(t, e, string(rune('a'+i)), strings.Repeat("v", 4000))
	}
	require.NoError(t, e.Close())
	open(t, cfg).Close() // Replays the log into tables.
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	require.NoError(t, os.Remove(tables[0]))
	_, err = pebblekv.Open(cfg, nil)
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func TestGet_RefusesADamagedTable(t *testing.T) {
	dir := t.TempDir()
	cfg := pebblekv.Config{Dir: dir, Memtable: 64 << 10}
	e := open(t, cfg)
	for i := range 100 {
		set(t, e, string(rune('a'+i)), strings.Repeat("v", 4000)+string(rune('a'+i)))
	}
	require.NoError(t, e.Close())
	open(t, cfg).Close()
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	for _, table := range tables {
		data, err := os.ReadFile(table)
		require.NoError(t, err)
		for i := 0; i < len(data)/2; i += 64 {
			data[i] ^= 1
		}
		require.NoError(t, os.WriteFile(table, data, 0o600))
	}
	e = open(t, cfg)
	defer e.Close()
	var damage error
	for p, err := range e.Scan(nil, nil, false) {
		if damage = err; err == nil {
			require.True(t, bytes.HasSuffix(p.Value, p.Key))
		}
	}
	require.ErrorIs(t, damage, store.ErrCorrupt)
}

func TestBackup_WhileWriting(t *testing.T) {
	e := open(t, pebblekv.Config{Dir: t.TempDir(), Memtable: 64 << 10})
	var h history
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := h.commit(e, 1000); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	parent := t.TempDir()
	for _, name := range []string{"one", "two", "three"} {
		dir := filepath.Join(parent, name)
		h.mu.Lock()
		before := h.last
		h.mu.Unlock()
		require.NoError(t, e.Backup(t.Context(), dir))
		copied := open(t, pebblekv.Config{Dir: dir})
		check(t, copied, before, 1000)
		require.NoError(t, copied.Close())
		require.ErrorIs(t, e.Backup(t.Context(), dir), fs.ErrExist)
	}
	close(stop)
	writer.Wait()

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, e.Backup(cancelled, filepath.Join(parent, "four")), context.Canceled)
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Len(t, left, 3)
	require.NoError(t, e.Close())
}

// A failed backup does not fail the store.
func TestBackup_FailureDoesNotAffectTheStore(t *testing.T) {
	fsys := faultfs.New()
	e := open(t, small(fsys))
	var h history
	_, err := h.commit(e, 10)
	require.NoError(t, err)
	require.ErrorIs(t, e.Backup(t.Context(), "/a/data/inside"), fs.ErrInvalid)
	fsys.Fail(faultfs.Link|faultfs.Create, 1, errDisk)
	require.ErrorIs(t, e.Backup(t.Context(), "/backup"), errDisk)
	require.NoError(t, e.Writable())
	require.NoError(t, e.Backup(t.Context(), "/backup"))
	copied := open(t, pebblekv.Config{FS: fsys, Dir: "/backup"})
	check(t, copied, 1, 10)
	require.NoError(t, copied.Close())
	require.NoError(t, e.Close())
}

// unlinked is a file system that has no links, like one of two volumes.
type unlinked struct{ *faultfs.FS }

func (unlinked) Link(string, string) error { return vfs.ErrUnsupported }

// A backup that copies files to another volume ends with its context, and with
// the engine, long before it is complete.
func TestBackup_CopyEndsWithItsContextOrTheEngine(t *testing.T) {
	for _, closes := range []bool{false, true} {
		fsys := faultfs.New()
		var copied atomic.Int64
		begun, goOn := make(chan struct{}), make(chan struct{})
		fsys.Watch(func(op faultfs.Op, name string) {
			if op == faultfs.Write && strings.HasPrefix(name, "/b/") && strings.HasSuffix(name, ".sst") {
				if copied.Add(1) == 1 {
					close(begun)
					<-goOn
				}
			}
		})
		cfg := small(fsys)
		cfg.FS = unlinked{fsys}
		e := open(t, cfg)
		var h history
		for range 2000 {
			_, err := h.commit(e, valueSize)
			require.NoError(t, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- e.Backup(ctx, "/b/copy") }()
		<-begun
		if closes {
			closed := make(chan error, 1)
			go func() { closed <- e.Close() }()
			require.Eventually(
				t, func() bool { return errors.Is(e.Stats().Failed, store.ErrClosed) }, time.Minute, time.Millisecond,
			)
			close(goOn)
			require.NoError(t, <-closed)
			require.ErrorIs(t, <-ended, store.ErrClosed)
		} else {
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			close(goOn)
			require.NoError(t, e.Close())
		}
		require.LessOrEqual(t, copied.Load(), int64(2), "the write that was under way is the last")
		names, _ := fsys.List("/b") // it need not be there
		require.Empty(t, names)
	}
}
