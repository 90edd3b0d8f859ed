// Package enginetest tests that an engine does what store.Engine promises,
// whatever it stores in and wherever.
//
// It knows the interface of engines only. What an engine promises beside it,
// such as what is left after a crash, is tested with the engine.
package enginetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

// Run runs all tests. open returns a new and empty engine, which the caller
// closes.
func Run(t *testing.T, open func(t require.TestingT) store.Engine) {
	t.Run("SortedMap", func(t *testing.T) { sortedMap(t, open) })
	t.Run("Snapshot", func(t *testing.T) { snapshot(t, open) })
	t.Run("Concurrent", func(t *testing.T) { concurrent(t, open) })
	t.Run("Durable", func(t *testing.T) { durable(t, open) })
	t.Run("OrderOfCalls", func(t *testing.T) { orderOfCalls(t, open) })
	t.Run("BrokenLoop", func(t *testing.T) { brokenLoop(t, open) })
}

// Commit commits a batch and returns its number.
func Commit(t require.TestingT, e store.Engine, fill func(store.Batch)) uint64 {
	b := e.Begin()
	fill(b)
	n, err := b.Commit()
	require.NoError(t, err)
	return n
}

// Set commits a value and returns the number.
func Set(t require.TestingT, e store.Engine, key, value string) uint64 {
	return Commit(t, e, func(b store.Batch) { b.Set([]byte(key), []byte(value)) })
}

// await waits until a commit is durable.
func await(t require.TestingT, e store.Engine, commit uint64) {
	outcome := make(chan error, 1)
	e.OnDurable(commit, func(err error) { outcome <- err })
	require.NoError(t, <-outcome)
	require.GreaterOrEqual(t, e.Durable(), commit)
}

// pairs returns what a scan yields, in its order.
func pairs(t require.TestingT, e store.Engine, lower, upper []byte, reverse bool, most int) []string {
	got := []string{}
	for p, err := range e.Scan(lower, upper, reverse) {
		require.NoError(t, err)
		if got = append(got, string(p.Key)+"="+string(p.Value)); len(got) == most {
			break
		}
	}
	return got
}

// An engine is a sorted map whose batches are atomic.
func sortedMap(t *testing.T, open func(require.TestingT) store.Engine) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMap(open(t))
		defer func() { require.NoError(t, m.Engine.Close()) }()
		t.Repeat(m.Actions())
	})
}

// A Map is an engine beside a model: a map that gets the same batches.
type Map struct {
	Engine store.Engine
	Model  map[string]string
	// Repeated are the numbers of times that a value may be repeated. If nil,
	// values are short.
	Repeated []int
}

// NewMap returns a map for a new and empty engine.
func NewMap(e store.Engine) *Map { return &Map{Engine: e, Model: map[string]string{}} }

var mapKeys = rapid.StringOfN(rapid.RuneFrom([]rune("ab\x00\xff")), 1, 3, -1)

// Actions returns random actions that change the engine, and compare it with
// the model.
func (m *Map) Actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"batch": m.batch,
		"get": func(t *rapid.T) {
			key := mapKeys.Draw(t, "key")
			value, found, err := m.Engine.Get([]byte(key))
			require.NoError(t, err)
			want, exists := m.Model[key]
			require.Equal(t, exists, found)
			require.Equal(t, want, string(value))
		},
		"scan":    m.scan,
		"durable": m.Durable,
	}
}

// Durable commits something and waits until it is durable, and so all before
// it.
func (m *Map) Durable(t *rapid.T) {
	await(t, m.Engine, Set(t, m.Engine, "a", ""))
	m.Model["a"] = ""
}

func (m *Map) batch(t *rapid.T) {
	b, next := m.Engine.Begin(), maps.Clone(m.Model)
	for range rapid.IntRange(0, 6).Draw(t, "changes") {
		key := []byte(mapKeys.Draw(t, "key"))
		switch rapid.IntRange(0, 3).Draw(t, "change") {
		case 0, 1:
			value := []byte(rapid.StringN(0, 3, -1).Draw(t, "value"))
			if m.Repeated != nil {
				value = bytes.Repeat(value, rapid.SampledFrom(m.Repeated).Draw(t, "times"))
			}
			b.Set(key, value)
			next[string(key)] = string(value)
			clear(value) // the batch has its own copy
		case 2:
			b.Delete(key)
			delete(next, string(key))
		case 3:
			lower, upper := string(key), []byte(mapKeys.Draw(t, "upper"))
			end := string(upper)
			b.DeleteRange(key, upper)
			maps.DeleteFunc(next, func(k, _ string) bool { return lower <= k && k < end })
			clear(upper)
		}
		clear(key)
	}
	if rapid.IntRange(0, 4).Draw(t, "discard") == 0 {
		b.Discard()
		return
	}
	_, err := b.Commit()
	require.NoError(t, err)
	m.Model = next
}

func (m *Map) scan(t *rapid.T) {
	bound := func(name string) []byte {
		if rapid.Bool().Draw(t, name+" is open") {
			return nil
		}
		return []byte(mapKeys.Draw(t, name))
	}
	lower, upper, reverse := bound("lower"), bound("upper"), rapid.Bool().Draw(t, "reverse")
	most := rapid.IntRange(1, 10).Draw(t, "most")
	want := []string{}
	for _, k := range slices.Sorted(maps.Keys(m.Model)) {
		if k >= string(lower) && (upper == nil || k < string(upper)) {
			want = append(want, k+"="+m.Model[k])
		}
	}
	if reverse {
		slices.Reverse(want)
	}
	require.Equal(t, want[:min(most, len(want))], pairs(t, m.Engine, lower, upper, reverse, most))
}

// A loop gets what there was when it began, whatever is committed meanwhile.
func snapshot(t *testing.T, open func(require.TestingT) store.Engine) {
	e := open(t)
	for _, key := range []string{"a", "b", "c"} {
		Set(t, e, key, "")
	}
	var seen []string
	for p, err := range e.Scan(nil, nil, false) {
		require.NoError(t, err)
		seen = append(seen, string(p.Key))
		Commit(t, e, func(b store.Batch) { b.DeleteRange([]byte("a"), []byte("z")) })
		await(t, e, Set(t, e, "d", ""))
	}
	require.Equal(t, []string{"a", "b", "c"}, seen)
	require.Equal(t, []string{"d="}, pairs(t, e, nil, nil, false, 0))
	require.NoError(t, e.Close())
}

// While batches move a number from key to key, each of many loops finds it
// once, at one place, and each read finds a value that only grows.
func concurrent(t *testing.T, open func(require.TestingT) store.Engine) {
	const keys, moves, readers = 8, 1000, 2
	e := open(t)
	key := func(i int) []byte { return []byte{'k', byte(i)} }
	number := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	Commit(t, e, func(b store.Batch) { b.Set(key(0), number(0)); b.Set([]byte("n"), number(0)) })
	var over atomic.Bool
	var reading sync.WaitGroup
	for r := range readers {
		reading.Go(func() {
			last := uint64(0)
			for !over.Load() {
				found := 0
				for p, err := range e.Scan([]byte("k"), []byte("l"), r == 0) {
					if err != nil {
						t.Error(err)
						return
					}
					found++
					if n := binary.BigEndian.Uint64(p.Value); n < last {
						t.Errorf("a loop found %d after %d", n, last)
						return
					} else {
						last = n
					}
				}
				if found != 1 {
					t.Errorf("a loop found the number %d times", found)
					return
				}
				value, ok, err := e.Get([]byte("n"))
				if err != nil || !ok {
					t.Error(ok, err)
					return
				}
				if n := binary.BigEndian.Uint64(value); n < last {
					t.Errorf("a read found %d after a loop had found %d", n, last)
					return
				}
			}
		})
	}
	for i := range moves {
		Commit(t, e, func(b store.Batch) {
			if i%3 == 0 {
				b.DeleteRange([]byte("k"), []byte("l"))
			} else {
				b.Delete(key(i * 5 % keys))
			}
			b.Set(key((i+1)*5%keys), number(i+1))
			b.Set([]byte("n"), number(i+1))
		})
	}
	over.Store(true)
	reading.Wait()
	require.NoError(t, e.Close())
}

// Commits have growing numbers, unless there is nothing to wait for, and become
// durable by themselves.
func durable(t *testing.T, open func(require.TestingT) store.Engine) {
	e := open(t)
	n, err := e.Begin().Commit()
	require.NoError(t, err)
	require.Zero(t, n, "nothing was changed")
	await(t, e, 0)
	var mu sync.Mutex
	var writing sync.WaitGroup
	numbers := map[uint64]bool{}
	waits := true
	for w := range 4 {
		writing.Go(func() {
			last := uint64(0)
			for i := range 100 {
				n := Set(t, e, fmt.Sprint(w), fmt.Sprint(i))
				mu.Lock()
				if n == 0 {
					waits = false
				} else if n <= last || numbers[n] {
					t.Errorf("number %d after %d", n, last)
				}
				numbers[n] = true
				mu.Unlock()
				last = n
			}
		})
	}
	writing.Wait()
	if waits {
		require.Len(t, numbers, 400)
	}
	await(t, e, slices.Max(slices.Collect(maps.Keys(numbers))))
	require.NoError(t, e.Writable())
	require.NoError(t, e.Close())
}

// Each call of OnDurable gets one answer, in the order of the commits, one at a
// time.
func orderOfCalls(t *testing.T, open func(require.TestingT) store.Engine) {
	const commits = 500
	e := open(t)
	var calling sync.Mutex
	var order []int
	var all sync.WaitGroup
	all.Add(commits)
	for i := range commits {
		n := Set(t, e, "k", fmt.Sprint(i))
		e.OnDurable(n, func(err error) {
			defer all.Done()
			if !calling.TryLock() {
				t.Errorf("the call for commit %d did not wait for another", i)
				return
			}
			defer calling.Unlock()
			if order = append(order, i); err != nil || e.Durable() < n {
				t.Errorf("commit %d: durable up to %d: %v", n, e.Durable(), err)
			}
		})
	}
	all.Wait()
	require.Len(t, order, commits)
	require.True(t, slices.IsSorted(order))
	require.NoError(t, e.Close())
}

// A loop may end early, by break or panic, and leaves nothing behind.
func brokenLoop(t *testing.T, open func(require.TestingT) store.Engine) {
	e := open(t)
	for _, key := range []string{"a", "b", "c"} {
		Set(t, e, key, "")
	}
	require.Len(t, pairs(t, e, nil, nil, false, 1), 1)
	require.Panics(t, func() {
		for _, err := range e.Scan(nil, nil, true) {
			require.NoError(t, err)
			panic("in the loop")
		}
	})
	await(t, e, Set(t, e, "d", ""))
	require.Len(t, pairs(t, e, nil, nil, false, 0), 4)
	require.NoError(t, e.Close())
}
