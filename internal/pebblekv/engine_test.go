package pebblekv_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	"github.com/godurable/dog/internal/store/enginetest"
)

// The store does what a sorted map does, also over restarts and crashes.
func TestEngine_IsASortedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := faultfs.New()
		m := enginetest.NewMap(open(t, small(fsys)))
		m.Repeated = []int{1, 8000}
		defer func() { _ = m.Engine.Close() }() // rapid gives up some runs half way.
		actions := m.Actions()
		actions["empty"] = func(t *rapid.T) {
			for key := range m.Model {
				v, _, err := m.Engine.Get([]byte(key))
				require.NoError(t, err)
				require.NotNil(t, v)
			}
			v, _, err := m.Engine.Get([]byte("none"))
			require.NoError(t, err)
			require.Nil(t, v)
		}
		actions["restart"] = func(t *rapid.T) {
			require.NoError(t, m.Engine.Close())
			m.Engine = open(t, small(fsys))
		}
		actions["crash"] = func(t *rapid.T) {
			m.Durable(t)
			old := m.Engine
			fsys = fsys.Crash(rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept"), rapid.Uint64().Draw(t, "seed"))
			require.NoError(t, old.Close())
			m.Engine = open(t, small(fsys))
		}
		actions[""] = func(t *rapid.T) { require.Equal(t, m.Model, contents(t, m.Engine)) }
		t.Repeat(actions)
		require.NoError(t, m.Engine.Close())
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
