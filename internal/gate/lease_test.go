package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/gate"
)

// leased is a disk with a lease that a test puts in doubt.
type leased struct {
	disk
	doubt   bool
	revoked error
	calls   []func(error)
}

func (l *leased) Live() bool { return !l.doubt }

func (l *leased) OnLive(notify func(error)) {
	if l.revoked != nil || !l.doubt {
		notify(l.revoked)
		return
	}
	l.calls = append(l.calls, notify)
}

func (l *leased) settle(revoked error) {
	l.doubt, l.revoked = revoked != nil, revoked
	calls := l.calls
	l.calls = nil
	for _, notify := range calls {
		notify(revoked)
	}
}

func TestLease_HoldsOutputThatDependsOnNoWrite(t *testing.T) {
	l, e := new(leased), new(recorder)
	g := gate.New(l, func(error) { t.Fatal("nothing is lost") })
	require.True(t, g.Open())
	e.send(g, 1)
	l.doubt = true
	require.False(t, g.Open())
	require.False(t, g.OpenIn(g.Era()))
	e.send(g, 2)
	e.send(g, 3)
	require.Len(t, l.calls, 1, "one request serves all")
	require.Equal(t, []int{1}, e.sent)
	l.doubt = false
	e.send(g, 4)
	require.Equal(t, []int{1, 2, 3, 4}, e.sent, "nothing overtakes what is held")
	l.settle(nil)
	require.Equal(t, []int{1, 2, 3, 4}, e.sent)
	require.True(t, g.Open())

	l.doubt = true
	e.send(g, 5)
	l.settle(nil)
	require.Equal(t, []int{1, 2, 3, 4, 5}, e.sent)
}

func TestLease_IsNeededBesidesTheDisk(t *testing.T) {
	for _, diskFirst := range []bool{true, false} {
		l, e := new(leased), new(recorder)
		g := gate.New(l, func(error) { t.Fatal("nothing is lost") })
		g.Wrote()
		e.send(g, 1)
		l.doubt = true
		g.Committed(1)
		e.send(g, 2)
		if diskFirst {
			l.sync(1)
			require.Empty(t, e.sent)
			l.settle(nil)
		} else {
			l.settle(nil)
			require.Empty(t, e.sent)
			l.sync(1)
		}
		require.Equal(t, []int{1, 2}, e.sent)
	}
}

// An object that another node has taken over is lost here, with all that it
// wanted to say.
func TestLease_RevokedLosesOutput(t *testing.T) {
	l, e := new(leased), new(recorder)
	var lost []error
	g := gate.New(l, func(err error) { lost = append(lost, err) })
	l.doubt = true
	e.send(g, 1)
	e.send(g, 2)
	g.Wrote()
	e.send(g, 3)
	l.settle(errLost)
	require.Equal(t, []int{1, 2}, e.dropped)
	require.Equal(t, []error{gate.ErrTakenOver}, lost)
	g.Shut(errLost)
	require.Equal(t, []int{1, 2, 3}, e.dropped)

	g.Recover()
	e.send(g, 4)
	require.Equal(t, []int{1, 2, 3, 4}, e.dropped, "a reset does not bring it back")
	require.Len(t, lost, 1)
	require.False(t, g.Open())
	require.Empty(t, e.sent)
}

// What is durable is not lost because later commits are, and what has been
// undone needs no lease.
func TestLease_IsLostApartFromCommits(t *testing.T) {
	l, e := new(leased), new(recorder)
	var lost []error
	g := gate.New(l, func(err error) { lost = append(lost, err) })
	g.Wrote()
	e.send(g, 1)
	l.doubt = true
	g.Committed(1)
	l.sync(1)
	g.Wrote()
	e.send(g, 2)
	g.Committed(2)
	l.fail(errLost)
	require.Empty(t, lost, "nobody has asked for the second commit yet")
	g.Wrote()
	e.send(g, 3)
	g.Failed(errLost)
	require.Empty(t, e.sent)
	require.Empty(t, e.dropped)
	l.settle(nil)
	require.Equal(t, []int{1}, e.sent)
	require.Equal(t, []int{2, 3}, e.dropped)
	require.Equal(t, []error{errLost}, lost)

	other := gate.New(l, func(error) {})
	other.Wrote()
	dropped := new(recorder)
	dropped.send(other, 1)
	l.doubt = true
	other.Failed(errLost)
	require.Equal(t, []int{1}, dropped.dropped)
}

func TestLease_WaitWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(leased)
		g := gate.New(l, func(error) {})
		l.doubt = true
		result := make(chan error, 1)
		go func() { result <- g.Wait(t.Context()) }()
		synctest.Wait()
		require.Empty(t, result)
		l.settle(nil)
		require.NoError(t, <-result)

		l.doubt = true
		go func() { result <- g.Wait(t.Context()) }()
		synctest.Wait()
		l.settle(errLost)
		require.ErrorIs(t, <-result, gate.ErrTakenOver)

		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("over"))
		l.revoked = nil
		l.calls = nil
		other := gate.New(l, func(error) {})
		require.ErrorContains(t, other.Wait(ctx), "over")
	})
}

// Whatever the disk and the lease do, output leaves in its order, and only
// while its commit is durable and the lease is live.
func TestLease_OutputLeavesInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := new(leased)
		g := gate.New(l, func(error) { t.Fatal("nothing is lost") })
		var sent []int
		next, commit, written := 0, uint64(0), false
		send := func(after uint64) {
			what := next
			next++
			g.Send(func(err error) {
				if err != nil || l.doubt || l.durable < after {
					t.Fatalf("%v; in doubt: %v; durable: %d of %d", err, l.doubt, l.durable, after)
				}
				sent = append(sent, what)
			})
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(*rapid.T) {
				if after := commit; written {
					send(after + 1)
				} else {
					send(after)
				}
			},
			"write": func(*rapid.T) {
				if !written {
					written = true
					g.Wrote()
				}
			},
			"commit": func(*rapid.T) {
				if written {
					written = false
					commit++
					g.Committed(commit)
				}
			},
			"sync":  func(*rapid.T) { l.sync(commit) },
			"doubt": func(*rapid.T) { l.doubt = true },
			"renew": func(*rapid.T) { l.settle(nil) },
		})
		if written {
			commit++
			g.Committed(commit)
		}
		l.sync(commit)
		l.settle(nil)
		for i := range next {
			if i >= len(sent) || sent[i] != i {
				t.Fatalf("%d messages left as %v", next, sent)
			}
		}
	})
}
