package replog

import (
	"context"
	"iter"
	"sync"
)

// Memory is a log in memory, for tests and for a cluster of one process. It
// ends with the process.
type Memory struct {
	mu      sync.Mutex
	purged  uint64   // guarded by mu: records that it has no more
	records [][]byte // guarded by mu: those after purged
}

// Append implements [Log]. It calls done before it returns.
func (m *Memory) Append(follows Mark, record []byte, done func(error)) {
	m.mu.Lock()
	fits := follows == m.lastLocked()
	if fits {
		m.records = append(m.records, record)
	}
	m.mu.Unlock()
	if fits {
		done(nil)
	} else {
		done(ErrConflict)
	}
}

// lastLocked returns the mark of the last record. The caller must hold mu.
func (m *Memory) lastLocked() Mark {
	if len(m.records) == 0 {
		return Mark{}
	}
	return MarkOf(m.purged+uint64(len(m.records)), m.records[len(m.records)-1])
}

// Last implements [Log].
func (m *Memory) Last(context.Context) (seq uint64, record []byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.records) == 0 {
		return 0, nil, nil
	}
	return m.purged + uint64(len(m.records)), m.records[len(m.records)-1], nil
}

// Read implements [Log].
func (m *Memory) Read(_ context.Context, from uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for seq := from; ; seq++ {
			record, err := m.record(seq)
			if record == nil && err == nil || !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// record returns the record with a number, or nil behind the last one.
func (m *Memory) record(seq uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case seq <= m.purged:
		return nil, ErrPurged
	case seq > m.purged+uint64(len(m.records)):
		return nil, nil
	}
	return m.records[seq-m.purged-1], nil
}

// Purge implements [Log].
func (m *Memory) Purge(_ context.Context, to uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.purged < to && len(m.records) > 1 {
		m.records[0] = nil
		m.records = m.records[1:]
		m.purged++
	}
	return nil
}
