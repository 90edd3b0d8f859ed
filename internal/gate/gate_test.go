package gate_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/gate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is what a test makes durable.
type disk struct {
	durable uint64
	waiting map[uint64][]func(error)
	failed  error
}

func (d *disk) Durable() uint64 { return d.durable }

func (d *disk) OnDurable(commit uint64, notify func(error)) {
	switch {
	case commit <= d.durable:
		notify(nil)
	case d.failed != nil:
		notify(d.failed)
	default:
		if d.waiting == nil {
			d.waiting = make(map[uint64][]func(error))
		}
		d.waiting[commit] = append(d.waiting[commit], notify)
	}
}

// sync makes commits durable up to one.
func (d *disk) sync(to uint64) {
	for d.durable < to {
		d.durable++
		for _, notify := range d.waiting[d.durable] {
			notify(nil)
		}
		delete(d.waiting, d.durable)
	}
}

func (d *disk) fail(err error) {
	d.failed = err
	for _, all := range d.waiting {
		for _, notify := range all {
			notify(err)
		}
	}
	d.waiting = nil
}

var errLost = errors.New("lost")

// recorder records the output that a gate sends.
type recorder struct{ sent, dropped []int }

func (e *recorder) send(g *gate.Gate, what int) {
	g.Send(func(err error) {
		if err == nil {
			e.sent = append(e.sent, what)
		} else {
			e.dropped = append(e.dropped, what)
		}
	})
}

func TestGate_NilIsOpen(t *testing.T) {
	var g *gate.Gate
	require.True(t, g.Open())
	require.False(t, g.Writing())
	require.NoError(t, g.Wait(t.Context()))
	e := new(recorder)
	e.send(g, 1)
	require.Equal(t, []int{1}, e.sent)
}

func TestGate_HoldsOutputUntilDurable(t *testing.T) {
	d, e := new(disk), new(recorder)
	g := gate.New(d, func(error) { t.Fatal("nothing is lost") })
	e.send(g, 1)
	g.Wrote()
	require.True(t, g.Writing())
	e.send(g, 2)
	g.Committed(1)
	e.send(g, 3)
	g.Wrote()
	e.send(g, 4)
	require.Equal(t, []int{1}, e.sent)
	d.sync(1)
	require.Equal(t, []int{1, 2, 3}, e.sent)
	require.False(t, g.Open())
	g.Committed(2)
	require.Equal(t, []int{1, 2, 3}, e.sent)
	d.sync(2)
	require.Equal(t, []int{1, 2, 3, 4}, e.sent)
	require.True(t, g.Open())
	e.send(g, 5)
	require.Equal(t, []int{1, 2, 3, 4, 5}, e.sent)
}

func TestGate_FailedDropsOnlyOutputOfItsTransaction(t *testing.T) {
	d, e := new(disk), new(recorder)
	g := gate.New(d, func(error) { t.Fatal("nothing is lost") })
	g.Wrote()
	e.send(g, 1)
	g.Committed(1)
	g.Wrote()
	e.send(g, 2)
	g.Failed(errLost)
	e.send(g, 3)
	require.Empty(t, e.dropped, "the error may depend on what is not durable yet")
	d.sync(1)
	require.Equal(t, []int{2}, e.dropped)
	require.Equal(t, []int{1, 3}, e.sent)
}

func TestWait_ContinuesAfterAnotherTransactionFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		g := gate.New(d, func(error) { t.Error("nothing is lost") })
		g.Wrote()
		g.Committed(1)
		g.Wrote()
		outcome, waited := g.Outcome(), make(chan error, 1)
		go func() { waited <- g.Wait(context.Background()) }()
		synctest.Wait()
		g.Failed(errLost)
		require.Empty(t, outcome)
		require.Empty(t, waited)
		d.sync(1)
		err := <-outcome
		require.ErrorIs(t, err, errLost)
		require.ErrorAs(t, err, new(*gate.Undone))
		require.NoError(t, <-waited)
	})
}

func TestWait_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(new(disk), func(error) {})
		g.Wrote()
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errLost)
		require.ErrorIs(t, g.Wait(ctx), errLost)
	})
}

// Output of a send function comes after all output that waits.
func TestGate_SendWithinASendFunction(t *testing.T) {
	d, e := new(disk), new(recorder)
	g := gate.New(d, func(error) {})
	g.Wrote()
	g.Send(func(error) { e.send(g, 2) })
	e.send(g, 1)
	g.Committed(1)
	d.sync(1)
	require.Equal(t, []int{1, 2}, e.sent)
}

// Output is sent in the order of the calls, not before earlier writes are
// durable, and all of it in the end, except that of failed transactions.
func TestGate_KeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d, e := new(disk), new(recorder)
		g := gate.New(d, func(error) {})
		type output struct {
			what, transaction int
			after             uint64
		}
		var outputs []output
		var commits uint64
		writing, transaction := false, 0
		failed := map[int]bool{}
		number := map[int]uint64{}
		for what := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				if !writing {
					writing = true
					transaction++
					g.Wrote()
				}
			case 1:
				if writing {
					writing = false
					commits++
					number[transaction] = commits
					g.Committed(commits)
				}
			case 2:
				if writing {
					writing = false
					failed[transaction] = true
					g.Failed(errLost)
				}
			case 3:
				d.sync(min(commits, d.durable+uint64(rapid.IntRange(0, 3).Draw(rt, "synced"))))
			default:
				s := output{what: what, after: commits}
				if writing {
					s.transaction = transaction
				}
				outputs = append(outputs, s)
				e.send(g, what)
			}
			for _, s := range outputs {
				sent := len(e.sent) > 0 && s.what <= e.sent[len(e.sent)-1] && !failed[s.transaction]
				if sent && s.transaction > 0 {
					require.Positive(rt, number[s.transaction], "sent before its transaction was committed")
					require.LessOrEqual(rt, number[s.transaction], d.durable)
				}
				if sent {
					require.LessOrEqual(rt, s.after, d.durable)
				}
			}
		}
		if writing {
			commits++
			g.Committed(commits)
		}
		d.sync(commits)
		var want []int
		for _, s := range outputs {
			if !failed[s.transaction] || s.transaction == 0 {
				want = append(want, s.what)
			}
		}
		require.Equal(rt, want, e.sent)
		require.True(rt, g.Open())
	})
}

// engine is a disk for many goroutines.
type engine struct {
	mu sync.Mutex
	d  disk
}

func (e *engine) Durable() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.d.durable
}

func (e *engine) OnDurable(commit uint64, notify func(error)) {
	e.mu.Lock()
	known := commit <= e.d.durable
	if !known {
		e.d.OnDurable(commit, notify)
	}
	e.mu.Unlock()
	if known {
		notify(nil)
	}
}

// sync makes everything up to a commit durable and reports it without the lock.
func (e *engine) sync(to uint64) {
	var all []func(error)
	e.mu.Lock()
	for e.d.durable < to {
		e.d.durable++
		all = append(all, e.d.waiting[e.d.durable]...)
		delete(e.d.waiting, e.d.durable)
	}
	e.mu.Unlock()
	for _, notify := range all {
		notify(nil)
	}
}

func TestGate_ConcurrentOutputAndCommits(t *testing.T) {
	const turns, senders = 2000, 4
	d := new(engine)
	g := gate.New(d, func(error) { t.Error("lost") })
	var mu sync.Mutex
	sent := make(map[int][]int)
	var all sync.WaitGroup
	committed := make(chan uint64, turns)
	all.Go(func() {
		defer close(committed)
		for n := uint64(1); n <= turns; n++ {
			g.Wrote()
			g.Committed(n)
			committed <- n
		}
	})
	all.Go(func() {
		for n := range committed {
			d.sync(n)
		}
	})
	for sender := range senders {
		all.Go(func() {
			for what := range turns {
				g.Send(func(error) {
					mu.Lock()
					sent[sender] = append(sent[sender], what)
					mu.Unlock()
				})
			}
		})
	}
	all.Wait()
	require.True(t, g.Open())
	for sender := range senders {
		require.Len(t, sent[sender], turns)
		require.IsIncreasing(t, sent[sender])
	}
}
