// Package drive runs one kind of operation again and again, and times it. A
// program that takes part in the bench of objects is a table of what it can
// measure: see [Main].
package drive

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/bench/internal/wire"
)

// A Job is one measurement, made by a process of its own.
type Job struct {
	Cell    string        `json:"cell"`    // what is measured
	Objects int           `json:"objects"` // at once, or stored
	Dir     string        `json:"dir"`     // where data is, or is to be
	Time    time.Duration `json:"time"`    // of a measurement, after a quarter of it to warm up
}

// Figures are what was measured, by name and unit.
type Figures map[string]float64

// The names of figures.
const (
	PerSecond = "per_second"
	P50       = "p50_ms"
	P99       = "p99_ms"
	Seconds   = "seconds"    // that something took
	RSS       = "rss_mib"    // after a garbage collection
	Bytes     = "bytes_each" // on disk
	HeapEach  = "heap_bytes_each"
	CPUEach   = "cpu_us_each"
)

// Calls are too short to time each: so many are one batch. No caller waits
// longer than CallTimeout.
const (
	CallBatch   = 1000
	CallTimeout = 10 * time.Second
)

// A Subject does one kind of operation.
type Subject interface {
	// Run does n operations one after the other. Each worker has a goroutine of
	// its own. began is when that began whose latency counts; zero: the call.
	Run(worker, n int) (began time.Time, err error)
	Close() error
}

// Repeat is the Run of a Subject whose operations are do, for n of them.
func Repeat(n int, do func() error) (began time.Time, err error) {
	for range n {
		if err := do(); err != nil {
			return began, err
		}
	}
	return began, nil
}

// Main is a program that measures the cell that a Job on its command line, as
// JSON, wants, and prints the Figures.
func Main(cells map[string]func(Job) (Figures, error)) {
	if err := measure(cells); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(cells map[string]func(Job) (Figures, error)) error {
	if len(os.Args) != 2 {
		return fmt.Errorf("want a job, as JSON")
	}
	var job Job
	if err := json.Unmarshal([]byte(os.Args[1]), &job); err != nil {
		return err
	}
	cell := cells[job.Cell]
	if cell == nil {
		return fmt.Errorf("no cell %q", job.Cell)
	}
	figures, err := cell(job)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(figures)
}

// Rate has workers run batches of operations for a while, and closes the
// subject. There are latencies where they are those of an operation: a batch is
// one, or its Run returns when it began.
func Rate(s Subject, workers, batch int, during time.Duration) (Figures, error) {
	figures, err := rate(s, workers, batch, during)
	if closed := s.Close(); err == nil && closed != nil {
		return nil, closed
	}
	return figures, err
}

func rate(s Subject, workers, batch int, during time.Duration) (Figures, error) {
	if _, err := run(s, workers, batch, during/4); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	began := time.Now()
	all, err := run(s, workers, batch, during)
	if err != nil {
		return nil, err
	}
	figures := Figures{PerSecond: float64(all.batches*batch) / time.Since(began).Seconds()}
	if q := wire.QuantilesOf(all.latencies); q != nil {
		figures[P50], figures[P99] = q.P50, q.P99
	}
	return figures, nil
}

// A tally is what workers have done.
type tally struct {
	batches   int
	latencies []time.Duration
}

// run has each worker run at least one batch.
func run(s Subject, workers, batch int, during time.Duration) (sum tally, err error) {
	each := make([]tally, workers)
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	end := time.Now().Add(during)
	for w := range workers {
		all.Go(func() {
			for t := &each[w]; failed.Load() == nil; {
				called := time.Now()
				began, err := s.Run(w, batch)
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				now := time.Now()
				t.batches++
				if !began.IsZero() {
					t.latencies = append(t.latencies, now.Sub(began))
				} else if batch == 1 {
					t.latencies = append(t.latencies, now.Sub(called))
				}
				if now.After(end) {
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return tally{}, *err
	}
	for _, t := range each {
		sum.batches += t.batches
		sum.latencies = append(sum.latencies, t.latencies...)
	}
	return sum, nil
}

// Fill has workers do n different operations, each once.
func Fill(n, workers int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range min(workers, n) {
		all.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
