package storage_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

var listObjects = flag.Int("list-objects", 50_000, "how many objects BenchmarkList lists")

// BenchmarkList is what an entry of a long listing costs, of stored objects
// that are not in memory.
func BenchmarkList(b *testing.B) {
	for _, kind := range []string{"named", "unnamed"} {
		b.Run(kind, func(b *testing.B) {
			options := dog.Options{Store: disk.At(b.TempDir()), Logger: slog.New(slog.DiscardHandler)}
			open := func() (*dog.Runtime, *dog.Namespace[fixture.Object]) {
				rt, err := dog.New(options)
				require.NoError(b, err)
				cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
				require.NoError(b, err)
				return rt, cells
			}
			rt, cells := open()
			var all sync.WaitGroup
			for w := range 64 {
				all.Go(func() {
					for i := w; i < *listObjects; i += 64 {
						stub := cells.Named(fmt.Sprint("object-", i))
						if kind == "unnamed" {
							stub = cells.New()
						}
						if err := fixture.InTurn(stub, func(_ context.Context, c *fixture.Object) error {
							return c.Storage().Put("k", make([]byte, 100))
						}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			require.NoError(b, rt.Shutdown(context.Background()))
			rt, cells = open()
			n := 0
			for b.Loop() {
				for _, err := range cells.List(b.Context(), dog.ObjectListOptions{}) {
					require.NoError(b, err)
					n++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/entry")
			require.NoError(b, rt.Shutdown(context.Background()))
		})
	}
}
