package object

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

	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/sqlite"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// BenchmarkEvent is an uncontended event: the turn is taken, a handler run, the
// turn given back.
func BenchmarkEvent(b *testing.B) {
	o := add(newHost(b, Config{}), nil).named("a")
	ctx := b.Context()
	ran := 0
	handle := func(context.Context, any) error { ran++; return nil }
	// the first one starts the object
	require.NoError(b, o.Deliver(ctx, &turn.Origin{}, EventMessage, handle))
	b.ReportAllocs()
	for b.Loop() {
		if err := o.Deliver(ctx, &turn.Origin{}, EventMessage, handle); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	require.Equal(b, b.N+1, ran)
}

// keeper is the value of an object that stores one value again and again.
type keeper struct {
	tx *tx.Tx
	n  uint64
}

func (k *keeper) put() error {
	k.n++
	if err := k.tx.Write(); err != nil {
		return err
	}
	defer k.tx.Leave()
	k.tx.Data().Put(store.Keys, "value", binary.BigEndian.AppendUint64(make([]byte, 92), k.n))
	return nil
}

func (k *keeper) insert() error {
	k.n++
	if err := k.tx.Enter(); err != nil {
		return err
	}
	defer k.tx.Leave()
	_, _, err := k.tx.Exec(
		"INSERT INTO kept (id, value) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value",
		[]any{int64(k.n)},
	)
	return err
}

// BenchmarkStoreAndSend does what a socket's message does after it has been
// read: an event stores something and sends something, which waits at the gate,
// and the goroutine that delivers the events continues. p99 is the time until
// the output leaves.
func BenchmarkStoreAndSend(b *testing.B) {
	stores := map[string]func(*keeper) error{"key": (*keeper).put, "row": (*keeper).insert}
	for _, what := range []string{"key", "row"} {
		for _, objects := range []int{64, 1024} {
			b.Run(
				fmt.Sprintf("%s/objects=%d", what, objects),
				func(b *testing.B) { benchStoreAndSend(b, objects, stores[what]) },
			)
		}
	}
}

func benchStoreAndSend(b *testing.B, objects int, keep func(*keeper) error) {
	const bringers = 64
	log := slog.New(slog.DiscardHandler)
	engine, err := pebblekv.Open(pebblekv.Config{Dir: b.TempDir(), SQL: sqlite.New(2*objects, log)}, log)
	require.NoError(b, err)
	limits := store.SQLLimits{
		Steps: 100_000_000, Time: 2 * time.Second, Pattern: 50, Statement: 100_000, Parameters: 100, Columns: 100,
		Value: 2 << 20, Pages: 10 << 20, Memory: 128 << 20,
	}
	keepers := add(newHost(b, Config{Engine: engine, SQLLimits: limits}), func(c *Class) {
		c.Schema = tx.Schema{Steps: []string{"CREATE TABLE kept (id INTEGER PRIMARY KEY, value INTEGER)"}}
		c.Build = func(life *Life) (any, error) { return &keeper{tx: &life.Tx}, nil }
	})
	all := make([]*Object, objects)
	ctx := b.Context()
	handle := func(_ context.Context, v any) error { return keep(v.(*keeper)) }
	for i := range all {
		all[i] = keepers.named(fmt.Sprint(i))
		require.NoError(b, all[i].Deliver(ctx, &turn.Origin{}, EventMessage, handle))
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
				if err := o.Deliver(ctx, &turn.Origin{}, EventMessage, func(_ context.Context, v any) error {
					if err := keep(v.(*keeper)); err != nil {
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
}
