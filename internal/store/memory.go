package store

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/tidwall/btree"
)

// Memory is an engine that stores everything in memory and loses it when the
// process ends. Commits count as durable at once, so nothing ever waits.
type Memory struct {
	mu   sync.RWMutex
	tree btree.Map[string, []byte] // guarded by mu; values are immutable

	commits uint64 // guarded by mu
}

// NewMemory returns an empty engine.
func NewMemory() *Memory { return new(Memory) }

// Get implements [Engine].
func (m *Memory) Get(key []byte) (value []byte, found bool, err error) {
	m.mu.RLock()
	value, found = m.tree.Get(string(key))
	m.mu.RUnlock()
	return slices.Clone(value), found, nil
}

// fewPairs is the maximum number of pairs that a scan copies. Beyond that it
// shares the tree, which makes the next change of the tree copy nodes.
const fewPairs = 32

// Scan implements [Engine].
func (m *Memory) Scan(lower, upper []byte, reverse bool) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		few := make([]Pair, 0, 4)
		m.mu.Lock()
		walk(&m.tree, lower, upper, reverse, func(p Pair) bool {
			few = append(few, p)
			return len(few) <= fewPairs
		})
		var tree *btree.Map[string, []byte]
		if len(few) > fewPairs {
			tree = m.tree.Copy() // nodes are shared until one of the trees changes
		}
		m.mu.Unlock()
		if tree != nil {
			walk(tree, lower, upper, reverse, func(p Pair) bool { return yield(p, nil) })
			return
		}
		for _, p := range few {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// walk calls step with the pairs of a range until step returns false.
func walk(tree *btree.Map[string, []byte], lower, upper []byte, reverse bool, step func(Pair) bool) {
	from, to := string(lower), string(upper)
	copied := func(key string, value []byte) bool { return step(Pair{Key: []byte(key), Value: slices.Clone(value)}) }
	if !reverse {
		tree.Ascend(
			from, func(key string, value []byte) bool { return (upper == nil || key < to) && copied(key, value) },
		)
		return
	}
	down := func(key string, value []byte) bool {
		if upper != nil && key >= to {
			return true
		}
		return key >= from && copied(key, value)
	}
	if upper == nil {
		tree.Reverse(down)
	} else {
		tree.Descend(to, down)
	}
}

// Begin implements [Engine].
func (m *Memory) Begin() Batch { return &memoryBatch{engine: m} }

// Durable implements [Engine].
func (m *Memory) Durable() uint64 { return 0 }

// OnDurable implements [Engine].
func (m *Memory) OnDurable(_ uint64, notify func(error)) { notify(nil) }

// Writable implements [Engine].
func (m *Memory) Writable() error { return nil }

// Await implements [Engine].
func (m *Memory) Await(done <-chan error) error { return <-done }

// GiveUp implements [Engine].
func (m *Memory) GiveUp() {}

// Copy implements [Engine].
func (m *Memory) Copy() string { return "" }

// OpenSQL implements [Engine]. It always returns ErrNoStore.
func (m *Memory) OpenSQL(Pages, SQLLimits) (SQL, error) { return nil, ErrNoStore }

// Backup implements [Engine]. It always fails, because a copy could not be
// opened.
func (m *Memory) Backup(context.Context, string) error {
	return errors.New("dog: nothing to back up: Options.Store is nil")
}

// Stats implements [Engine].
func (m *Memory) Stats() EngineStats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return EngineStats{Commits: m.commits}
}

// Close implements [Engine].
func (m *Memory) Close() error { return nil }

type memoryBatch struct {
	engine *Memory
	steps  []memoryStep
}

type memoryStep struct {
	key, upper string // upper: end of a range
	value      []byte
	act        byte // 's'et, 'd'elete, delete 'r'ange
}

func (b *memoryBatch) Set(key, value []byte) {
	b.steps = append(b.steps, memoryStep{key: string(key), value: slices.Clone(value), act: 's'})
}

func (b *memoryBatch) Delete(key []byte) {
	b.steps = append(b.steps, memoryStep{key: string(key), act: 'd'})
}

func (b *memoryBatch) DeleteRange(lower, upper []byte) {
	b.steps = append(b.steps, memoryStep{key: string(lower), upper: string(upper), act: 'r'})
}

func (b *memoryBatch) Commit() (number uint64, err error) {
	m := b.engine
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits++
	for _, s := range b.steps {
		switch s.act {
		case 's':
			m.tree.Set(s.key, s.value)
		case 'd':
			m.tree.Delete(s.key)
		case 'r':
			var keys []string
			m.tree.Ascend(s.key, func(key string, _ []byte) bool {
				if key < s.upper {
					keys = append(keys, key)
				}
				return key < s.upper
			})
			for _, key := range keys {
				m.tree.Delete(key)
			}
		}
	}
	return 0, nil
}

func (b *memoryBatch) Discard() {}
