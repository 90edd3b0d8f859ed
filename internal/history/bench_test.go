package history_test

import (
	"runtime"
	"testing"

	"github.com/godurable/dog/internal/history"
)

func BenchmarkAppend(b *testing.B) {
	l := history.New(history.Config{Count: 10_000, Bytes: 64 << 20, Age: 1 << 40})
	payload := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		l.Append(1, payload, "", history.Audience{}, 0)
	}
}

// BenchmarkKept reports the memory of a message of 100 bytes that is kept.
func BenchmarkKept(b *testing.B) {
	const messages = 100_000
	for b.Loop() {
		before := heap()
		l := history.New(history.Config{Count: messages, Bytes: 1 << 30, Age: 1 << 40})
		payload := make([]byte, 100)
		for range messages {
			l.Append(1, payload, "", history.Audience{}, 0)
		}
		b.ReportMetric(float64(heap()-before)/messages, "B/message")
		runtime.KeepAlive(l)
	}
}

// BenchmarkNext reads 1,000 messages of 100 bytes.
func BenchmarkNext(b *testing.B) {
	l := history.New(history.Config{Count: 10_000, Bytes: 64 << 20, Age: 1 << 40})
	payload := make([]byte, 100)
	for range 1000 {
		l.Append(1, payload, "", history.Audience{}, 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		for at := uint64(0); at < l.Last(); {
			p, _ := l.Next(at, noEnd, 64<<10, history.Reader{})
			at = p.End
		}
	}
}
