package sqlite

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

func storedRow(b *testing.B) *memoryPages {
	s, pages := newSQL(b)
	run(b, s, "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'one')")
	require.NoError(b, s.Commit())
	require.NoError(b, s.Close())
	return pages
}

func one(b *testing.B, s store.SQL, query string, args ...any) {
	r, err := s.Run(query, args, noted)
	if err != nil || !r.Next() {
		b.Fatal(err)
	}
	_ = r.Value(0)
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWake opens a stored database, reads a row and closes it.
func BenchmarkWake(b *testing.B) {
	pages := storedRow(b)
	p := newPool(b, 10)
	b.ReportAllocs()
	for b.Loop() {
		s := openSQL2(b, p, pages)
		one(b, s, "SELECT v FROM t WHERE k = ?", 1)
		s.Close()
	}
	b.ReportMetric(float64(pages.reads)/float64(b.N), "reads/op")
}

func openSQL2(b *testing.B, p *Pool, pages store.Pages) store.SQL {
	s, err := p.OpenSQL(pages, testLimits)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkSelect(b *testing.B) {
	pages := storedRow(b)
	s := openSQL(b, newPool(b, 10), pages)
	b.ReportAllocs()
	for b.Loop() {
		one(b, s, "SELECT v FROM t WHERE k = ?", 1)
	}
}

func BenchmarkInsertCommit(b *testing.B) {
	pages := storedRow(b)
	s := openSQL(b, newPool(b, 10), pages)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Run("INSERT INTO t (v) VALUES (?)", []any{"value"}, noted); err != nil {
			b.Fatal(err)
		}
		if err := s.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(pages.writes)/float64(b.N), "writes/op")
}

// BenchmarkOpenMemory reports what an open connection costs that has read a
// row, of the heap and in all.
func BenchmarkOpenMemory(b *testing.B) {
	pages := storedRow(b)
	p := newPool(b, 1_000_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	rss := residentKiB(b)
	n := 0
	for b.Loop() {
		s := openSQL(b, p, pages)
		one(b, s, "SELECT v FROM t WHERE k = ?", 1)
		n++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n)/1024, "heapKiB/conn")
	b.ReportMetric(float64(residentKiB(b)-rss)/float64(n), "rssKiB/conn")
}

func residentKiB(b *testing.B) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc")
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(b, err)
	return kib
}
