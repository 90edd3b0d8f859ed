package replog_test

import (
	"fmt"
	"testing"

	"github.com/godurable/dog/internal/replog"
	"github.com/godurable/dog/internal/store"
)

// Commits of 100 bytes to one of 1,000 keys, with a log and a local engine in
// memory. Each goroutine waits until its commit is durable.
func BenchmarkCommit(b *testing.B) {
	for name, open := range map[string]func() store.Engine{
		"replog": func() store.Engine { return own(b, store.NewMemory(), new(later), "a", replog.Options{}) },
		"memory": func() store.Engine { return store.NewMemory() },
	} {
		b.Run(name, func(b *testing.B) {
			e := open()
			value := make([]byte, 100)
			b.SetParallelism(256)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				done := make(chan error, 1)
				for i := 0; pb.Next(); i++ {
					batch := e.Begin()
					batch.Set(fmt.Appendf(nil, "%d", i%1000), value)
					n, err := batch.Commit()
					if err != nil {
						b.Error(err)
						return
					}
					e.OnDurable(n, func(err error) { done <- err })
					if err := <-done; err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			if err := e.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
