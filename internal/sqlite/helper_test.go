package sqlite

import (
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testLimits = store.SQLLimits{Steps: 10_000_000, Statement: 100_000, Parameters: 100, Columns: 100, Value: 2 << 20,
	Pages: 100_000, Time: time.Minute, Pattern: 50, Memory: 128 << 20}

// memoryPages keeps pages in a map. With save and undo it stands for the batch
// of a turn.
type memoryPages struct {
	pages  map[uint32][pageSize]byte
	count  uint32
	reads  int
	writes int
	failOp func(op string) error // asked before each operation
}

func newPages() *memoryPages { return &memoryPages{pages: map[uint32][pageSize]byte{}} }

func (p *memoryPages) fail(op string) error {
	if p.failOp == nil {
		return nil
	}
	return p.failOp(op)
}

func (p *memoryPages) ReadPage(n uint32, buf []byte) (bool, error) {
	if err := p.fail("read"); err != nil {
		return false, err
	}
	p.reads++
	page, ok := p.pages[n]
	if ok {
		copy(buf, page[:])
	}
	return ok, nil
}

func (p *memoryPages) WritePage(n uint32, data []byte) error {
	if err := p.fail("write"); err != nil {
		return err
	}
	p.writes++
	p.pages[n] = [pageSize]byte(data)
	return nil
}

func (p *memoryPages) Count() (uint32, error) { return p.count, p.fail("count") }

func (p *memoryPages) SetCount(n uint32) error {
	if err := p.fail("setcount"); err != nil {
		return err
	}
	p.count = n
	maps.DeleteFunc(p.pages, func(k uint32, _ [pageSize]byte) bool { return k >= n })
	return nil
}

func (p *memoryPages) clone() *memoryPages {
	return &memoryPages{pages: maps.Clone(p.pages), count: p.count}
}

// undo makes the pages those of an earlier clone.
func (p *memoryPages) undo(to *memoryPages) { p.pages, p.count = maps.Clone(to.pages), to.count }

func newPool(t testing.TB, maxOpen int) *Pool {
	p := New(maxOpen, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func openSQL(t testing.TB, p *Pool, pages store.Pages) store.SQL {
	s, err := p.OpenSQL(pages, testLimits)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func newSQL(t testing.TB) (store.SQL, *memoryPages) {
	pages := newPages()
	return openSQL(t, newPool(t, 10), pages), pages
}

func run(t testing.TB, s store.SQL, query string, args ...any) [][]any {
	t.Helper()
	out, err := try(s, query, args...)
	require.NoError(t, err)
	return out
}

func try(s store.SQL, query string, args ...any) ([][]any, error) {
	r, err := s.Run(query, args, noted)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out [][]any
	for r.Next() {
		row := make([]any, len(r.Columns()))
		for i := range row {
			row[i] = r.Value(i)
		}
		out = append(out, row)
	}
	return out, r.Err()
}

// needsWatchdog skips the test where nothing would end it.
func needsWatchdog(t *testing.T) {
	t.Helper()
	if !canSeal {
		t.Skip("no watchdog here")
	}
}

// noted is the write function where the test does not care.
func noted() error { return nil }
