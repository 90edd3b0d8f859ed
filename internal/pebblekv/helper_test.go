package pebblekv_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	goleak.VerifyTestMain(m)
}

// small is a configuration in which a few dozen commits fill logs and tables.
func small(fs *faultfs.FS) pebblekv.Config {
	return pebblekv.Config{FS: fs, Dir: "/a/data", Memtable: 64 << 10}
}

func open(t require.TestingT, cfg pebblekv.Config) *pebblekv.Engine {
	e, err := pebblekv.Open(cfg, nil)
	require.NoError(t, err)
	return e
}

func set(t require.TestingT, e *pebblekv.Engine, key, value string) uint64 {
	b := e.Begin()
	b.Set([]byte(key), []byte(value))
	n, err := b.Commit()
	require.NoError(t, err)
	return n
}

// wait returns the outcome of a commit, by OnDurable.
func wait(e *pebblekv.Engine, commit uint64) error {
	outcome := make(chan error, 1)
	e.OnDurable(commit, func(err error) { outcome <- err })
	return <-outcome
}

// contents returns everything that is stored.
func contents(t require.TestingT, e store.Engine) map[string]string {
	all := map[string]string{}
	for p, err := range e.Scan(nil, nil, false) {
		require.NoError(t, err)
		all[string(p.Key)] = string(p.Value)
	}
	return all
}

// A history makes commits, each of which changes several keys, and knows what
// any number of them leaves.
type history struct {
	mu   sync.Mutex // held over a commit, so that the order of commits is known
	last uint64     // guarded by mu: the last commit

	durableMu sync.Mutex
	durable   uint64  // guarded by durableMu: the last that was reported as durable
	calls     int     // guarded by durableMu
	failed    []error // guarded by durableMu: the outcomes of others
}

const window = 20 // commits after which what one has set is deleted

func name(i uint64) []byte { return fmt.Appendf(nil, "n/%08d", i) }

// commit makes the next commit.
func (h *history) commit(e *pebblekv.Engine, size int) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commitLocked(e, size)
}

// commitLocked is commit, with mu held.
func (h *history) commitLocked(e *pebblekv.Engine, size int) (uint64, error) {
	i := h.last + 1
	b := e.Begin()
	b.Set([]byte("count"), binary.BigEndian.AppendUint64(nil, i))
	b.Set(name(i), fill(i, size))
	switch {
	case i%window == 0:
		b.DeleteRange(name(0), name(i-window+1))
	case i > window && i%3 == 0:
		b.Delete(name(i - window))
	}
	n, err := b.Commit()
	if err == nil {
		h.last = i
	}
	return n, err
}

// fill returns a value that only commit i sets.
func fill(i uint64, size int) []byte {
	v := make([]byte, 8, 8+size)
	binary.BigEndian.PutUint64(v, i)
	for x := i; len(v) < cap(v); x = x*6364136223846793005 + 1442695040888963407 {
		v = append(v, byte(x>>33))
	}
	return v
}

// follow asks for the outcome of the i-th commit, which has number n.
func (h *history) follow(e *pebblekv.Engine, i, n uint64) {
	e.OnDurable(n, func(err error) {
		h.durableMu.Lock()
		defer h.durableMu.Unlock()
		h.calls++
		if err != nil {
			h.failed = append(h.failed, err)
			return
		}
		h.durable = max(h.durable, i)
	})
}

func (h *history) durableSoFar() uint64 {
	h.durableMu.Lock()
	defer h.durableMu.Unlock()
	return h.durable
}

// check checks that the store has the result of the first so many commits,
// including the durable ones, and returns how many.
func check(t require.TestingT, e *pebblekv.Engine, durable uint64, size int) uint64 {
	all := contents(t, e)
	var count uint64
	if v, found := all["count"]; found {
		count = binary.BigEndian.Uint64([]byte(v))
		delete(all, "count")
	}
	require.GreaterOrEqual(t, count, durable, "a durable commit is lost")
	want := map[string]string{}
	for i := uint64(1); i <= count; i++ {
		want[string(name(i))] = string(fill(i, size))
		switch {
		case i%window == 0:
			maps.DeleteFunc(want, func(k, _ string) bool { return k < string(name(i-window+1)) })
		case i > window && i%3 == 0:
			delete(want, string(name(i-window)))
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(all)))
	require.Equal(t, want, all)
	return count
}

var errDisk = errors.New("the disk is broken")

// requireFailed checks the error of a store whose disk has failed with cause.
func requireFailed(t require.TestingT, err, cause error) {
	require.ErrorIs(t, err, store.ErrFailed)
	require.ErrorIs(t, err, cause)
}
