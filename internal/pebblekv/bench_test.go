package pebblekv_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv"
)

func openBench(b *testing.B) *pebblekv.Engine {
	e, err := pebblekv.Open(pebblekv.Config{Dir: b.TempDir()}, nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, e.Close()) })
	return e
}

// key returns the i-th key of a benchmark, of 32 bytes that look random.
func key(i uint64) []byte {
	k := make([]byte, 0, 32)
	for range 4 {
		i = (i + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
		i ^= i >> 31
		k = binary.BigEndian.AppendUint64(k, i)
	}
	return k
}

var value = make([]byte, 100)

// each runs n calls of f, spread over so many goroutines.
func each(n, goroutines int, f func(i uint64)) {
	var wg sync.WaitGroup
	var next atomic.Uint64
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1); i <= uint64(n); i = next.Add(1) {
				f(i)
			}
		})
	}
	wg.Wait()
}

func percentile(all []time.Duration, p int) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[(len(all)-1)*p/100]) / 1e6
}

// BenchmarkCommit is commits of one key, whose durability nobody waits for.
func BenchmarkCommit(b *testing.B) {
	for _, goroutines := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("goroutines=", goroutines), func(b *testing.B) {
			e := openBench(b)
			b.ReportAllocs()
			b.ResetTimer()
			each(b.N, goroutines, func(i uint64) {
				batch := e.Begin()
				batch.Set(key(i), value)
				if _, err := batch.Commit(); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(b.N)/float64(e.Stats().Syncs+1), "commits/sync")
		})
	}
}

// BenchmarkDurable is commits of one key, each goroutine waiting for its own
// before the next.
func BenchmarkDurable(b *testing.B) {
	for _, goroutines := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("goroutines=", goroutines), func(b *testing.B) {
			e := openBench(b)
			var mu sync.Mutex
			var all []time.Duration
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			var next atomic.Int64
			for range goroutines {
				wg.Go(func() {
					done := make(chan error, 1)
					notify := func(err error) { done <- err }
					var took []time.Duration
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						start := time.Now()
						batch := e.Begin()
						batch.Set(key(uint64(i)), value)
						n, err := batch.Commit()
						if err != nil {
							b.Error(err)
							return
						}
						e.OnDurable(n, notify)
						if err := <-done; err != nil {
							b.Error(err)
						}
						took = append(took, time.Since(start))
					}
					mu.Lock()
					defer mu.Unlock()
					all = append(all, took...)
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(float64(b.N)/float64(e.Stats().Syncs), "commits/sync")
			b.ReportMetric(percentile(all, 50), "p50-ms")
			b.ReportMetric(percentile(all, 99), "p99-ms")
		})
	}
}

// BenchmarkLatency is how long commits take to become durable while others come
// as fast as they are let in.
func BenchmarkLatency(b *testing.B) {
	for _, unsynced := range []int{1 << 20, 2 << 20, 4 << 20} {
		b.Run(fmt.Sprint("unsynced=", unsynced), func(b *testing.B) {
			e, err := pebblekv.Open(pebblekv.Config{Dir: b.TempDir(), Unsynced: unsynced}, nil)
			require.NoError(b, err)
			var mu sync.Mutex
			var all []time.Duration
			b.ResetTimer()
			each(b.N, 64, func(i uint64) {
				start := time.Now()
				batch := e.Begin()
				batch.Set(key(i), value)
				n, err := batch.Commit()
				if err != nil {
					b.Error(err)
				}
				if i%64 != 0 {
					return
				}
				committed := time.Since(start)
				e.OnDurable(n, func(error) {
					mu.Lock()
					defer mu.Unlock()
					all = append(all, time.Since(start)-committed)
				})
			})
			require.NoError(b, e.Close())
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			b.ReportMetric(percentile(all, 50), "p50-ms")
			b.ReportMetric(percentile(all, 99), "p99-ms")
		})
	}
}

// BenchmarkGet reads keys that are there, and keys that are not.
func BenchmarkGet(b *testing.B) {
	const keys = 100_000
	e := openBench(b)
	var last uint64
	for i := range uint64(keys) {
		batch := e.Begin()
		batch.Set(key(i), value)
		n, err := batch.Commit()
		require.NoError(b, err)
		last = n
	}
	done := make(chan error)
	e.OnDurable(last, func(err error) { done <- err })
	require.NoError(b, <-done)
	for name, first := range map[string]uint64{"present": 0, "absent": keys} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				_, found, err := e.Get(key(first + i%keys))
				if err != nil || found != (first == 0) {
					b.Fatal(found, err)
				}
				i++
			}
		})
	}
}
