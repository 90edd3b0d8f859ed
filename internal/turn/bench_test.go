package turn_test

import (
	"context"
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
