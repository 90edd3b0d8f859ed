package outbox_test

import (
	"context"
	"iter"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

// A countingEngine counts reads.
type countingEngine struct {
	store.Engine
	gets, scans atomic.Int64
}

func newCountingEngine() *countingEngine {
	e, _ := fixture.PromptEngine().OpenEngine(slog.New(slog.DiscardHandler))
	return &countingEngine{Engine: e}
}

func (e *countingEngine) Get(key []byte) (value []byte, found bool, err error) {
	e.gets.Add(1)
	return e.Engine.Get(key)
}

func (e *countingEngine) Scan(lower, upper []byte, reverse bool) iter.Seq2[store.Pair, error] {
	e.scans.Add(1)
	return e.Engine.Scan(lower, upper, reverse)
}

// take returns how many reads there were since the last call.
func (e *countingEngine) take() (gets, scans int) { return int(e.gets.Swap(0)), int(e.scans.Swap(0)) }

// A sender that tries again while the queue is full must not cost more than one
// whose commands are taken.
func TestPut_RefusedReadsNoCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newCountingEngine()
		s := open(t, setup{store: fixture.OpenedStore(e), policy: outbox.Policy{Waiting: 20}})
		for range 20 {
			s.put("body")
		}
		e.take()
		s.with(func(_ context.Context, d *Device) error {
			for _, options := range [][]outbox.Option{nil, {outbox.TTL(1 << 40)}, {outbox.Key("k")}} {
				for range 3 {
					_, err := d.Commands.Put("more", options...)
					require.ErrorIs(t, err, outbox.ErrFull)
				}
			}
			return nil
		})
		gets, _ := e.take()
		require.Less(t, gets, 20)
		require.Equal(t, outbox.Status{Last: 20, Waiting: 20, Bytes: 80}, s.status())
	})
}

// What is known is known again after a refused Put that has ended a command.
func TestPut_RefusedChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Bytes: 14}})
		s.put("dim", outbox.Replace("light"), outbox.Key("k"))
		s.put("beep")
		before := s.status()
		s.with(func(_ context.Context, d *Device) error {
			_, err := d.Commands.Put("bright", outbox.Replace("light"))
			require.ErrorIs(t, err, outbox.ErrFull)
			return nil
		})
		require.Equal(t, before, s.status())
		l := s.dial()
		l.reply(l.one(), "done", "")
		l.reply(l.one(), "done", "")
		require.Empty(t, s.waiting())
		require.Equal(t, outbox.Done, s.outcome("k").State)
		require.EqualValues(t, 3, s.put("next").Number)
	})
}

// A command has up to 2 MiB, so its body is not copied in vain.
func TestQueue_ReadsBodiesAsStorageDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put(make([]byte, 1_000_000))
		s.with(func(_ context.Context, d *Device) error {
			allocated := func(read func() error) int {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				require.NoError(t, read())
				runtime.ReadMemStats(&after)
				return int(after.TotalAlloc - before.TotalAlloc)
			}
			plain := allocated(func() (err error) {
				for _, err = range d.Storage().List(dog.ListOptions{Prefix: "outbox/c/"}) {
				}
				return err
			})
			require.Greater(t, plain, 1_000_000)
			require.Less(t, allocated(func() (err error) {
				for _, err = range d.Commands.Waiting() {
				}
				return err
			}), plain+500_000)
			return nil
		})
	})
}

// A device may take more at a time than waits for it.
func TestQueue_FillsTheWindowWithoutASearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newCountingEngine()
		s := open(t, setup{store: fixture.OpenedStore(e), policy: outbox.Policy{Window: 8}})
		l := s.dial()
		e.take()
		for range 3 {
			s.put("a")
			s.put("b")
			for _, f := range l.frames() {
				l.reply(f, "done", "")
			}
		}
		_, scans := e.take()
		require.Zero(t, scans)
		require.Equal(t, outbox.Status{Last: 6}, s.status())
	})
}
