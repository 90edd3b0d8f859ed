package dog

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/sqlite"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// benchDisk is a store as package disk makes it, which an internal test cannot
// import.
type benchDisk struct {
	dir       string
	databases int // that stay open
}

func (d benchDisk) openEngine(log *slog.Logger) (store.Engine, error) {
	return pebblekv.Open(pebblekv.Config{Dir: d.dir, SQL: sqlite.New(d.databases, log)}, log)
}

// benchKeeper stores one value again and again.
type benchKeeper struct {
	Object
	n uint64
}

func (k *benchKeeper) put() error {
	k.n++
	return k.Storage().Put("value", binary.BigEndian.AppendUint64(make([]byte, 92), k.n))
}

func (k *benchKeeper) insert() error {
	k.n++
	_, err := k.Storage().SQL().Exec(
		"INSERT INTO kept (id, value) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value", int64(k.n),
	)
	return err
}

// BenchmarkStoreAndSend does what a socket's message does after it has been
// read: an event stores something and sends something, which waits at the gate,
// and the goroutine that delivers the events continues. p99 is the time until
// the output leaves.
func BenchmarkStoreAndSend(b *testing.B) {
	stores := map[string]func(*benchKeeper) error{"key": (*benchKeeper).put, "row": (*benchKeeper).insert}
	for _, what := range []string{"key", "row"} {
		for _, objects := range []int{64, 1024} {
			b.Run(
				fmt.Sprintf("%s/objects=%d", what, objects),
				func(b *testing.B) { benchStoreAndSend(b, objects, stores[what]) },
			)
		}
	}
}

func benchStoreAndSend(b *testing.B, objects int, keep func(*benchKeeper) error) {
	const bringers = 64
	rt, err := New(Options{Store: benchDisk{b.TempDir(), 2 * objects}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b, err)
	keepers, err := RegisterObject(
		rt, "keeper",
		&ObjectOptions[benchKeeper]{Schema: Schema{"CREATE TABLE kept (id INTEGER PRIMARY KEY, value INTEGER)"}},
	)
	require.NoError(b, err)
	all := make([]*objectState, objects)
	ctx := b.Context()
	handle := func(_ context.Context, v any) error { return keep(v.(*benchKeeper)) }
	for i := range all {
		all[i], err = keepers.Named(fmt.Sprint(i)).to.object()
		require.NoError(b, err)
		require.NoError(b, all[i].Deliver(ctx, &turn.Origin{}, object.EventMessage, handle))
	}
	var mu sync.Mutex
	var delays []time.Duration
	b.ResetTimer()
	var work sync.WaitGroup
	for bringer := range bringers {
		work.Go(func() {
			mine := all[bringer*objects/bringers : (bringer+1)*objects/bringers]
			for i := bringer; i < b.N; i += bringers {
				o := mine[i/bringers%len(mine)]
				sampled := i/bringers%16 == 0
				if err := o.Deliver(ctx, &turn.Origin{}, object.EventMessage, func(_ context.Context, v any) error {
					if err := keep(v.(*benchKeeper)); err != nil {
						return err
					}
					sent := time.Time{}
					if sampled {
						sent = time.Now()
					}
					o.Gate.Send(func(error) {
						if sampled {
							mu.Lock()
							delays = append(delays, time.Since(sent))
							mu.Unlock()
						}
					})
					return nil
				}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	b.StopTimer()
	for _, o := range all {
		require.NoError(b, o.Gate.Wait(ctx))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	slices.Sort(delays)
	if n := len(delays); n > 0 {
		b.ReportMetric(float64(delays[n*99/100].Microseconds())/1000, "p99-ms")
	}
	require.NoError(b, rt.Shutdown(ctx))
}
