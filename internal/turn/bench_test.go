package turn_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/godurable/dog/internal/turn"
)

func BenchmarkEvent(b *testing.B) {
	var l turn.Lock
	life, cancel := context.WithCancel(background)
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		e, _ := begin(life, &l, life, turn.Origin{})
		e.End()
	}
}

func BenchmarkEventWithAWait(b *testing.B) {
	var l turn.Lock
	b.ReportAllocs()
	for b.Loop() {
		e, _ := begin(background, &l, background, turn.Origin{})
		w, _ := turn.Yield(e)
		w.Resume()
		e.End()
	}
}

// BenchmarkManyLocks is an event of each of many locks.
func BenchmarkManyLocks(b *testing.B) {
	locks := make([]turn.Lock, 10_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e, _ := begin(background, &locks[i%len(locks)], background, turn.Origin{})
		e.End()
	}
}

func BenchmarkContended(b *testing.B) {
	var l turn.Lock
	b.ReportAllocs()
	b.SetParallelism(25)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e, _ := begin(background, &l, background, turn.Origin{})
			e.End()
		}
	})
}

func BenchmarkWait(b *testing.B) {
	for _, strict := range []bool{false, true} {
		name := "lenient"
		if strict {
			name = "strict"
		}
		b.Run(name, func(b *testing.B) {
			l := turn.Lock{Strict: strict}
			e, _ := begin(background, &l, background, turn.Origin{})
			defer e.End()
			for b.Loop() {
				w, _ := turn.Yield(e)
				w.Resume()
			}
		})
	}
}

// BenchmarkFloor measures what an event consists of, apart from calls of
// functions, and the mutex that it does without.
func BenchmarkFloor(b *testing.B) {
	b.Run("two compare-and-swaps", func(b *testing.B) {
		var state atomic.Uint64
		for b.Loop() {
			state.CompareAndSwap(0, 1)
			state.CompareAndSwap(1, 0)
		}
	})
	b.Run("allocation of an Event", func(b *testing.B) {
		for b.Loop() {
			allocated = new(turn.Event)
		}
	})
	b.Run("mutex locked and unlocked twice", func(b *testing.B) {
		var mu sync.Mutex
		for b.Loop() {
			mu.Lock()
			mu.Unlock() //nolint:staticcheck // only its cost counts
			mu.Lock()
			mu.Unlock() //nolint:staticcheck // as above
		}
	})
}

var allocated *turn.Event
