package hookqueue_test

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/hookqueue"
)

// recorder has hooks that record their numbers.
type recorder struct {
	mu   sync.Mutex
	seen []int
}

func (r *recorder) hook(n int) func() {
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, n)
	}
}

func spawn(f func()) { go f() }

func TestAdd_LeavesTheHookToACallerThatMayWait(t *testing.T) {
	var r recorder
	q := hookqueue.New(spawn)
	call := q.Add(hookqueue.Key{1}, true, r.hook(1))
	require.NotNil(t, call)
	call.Then(r.hook(2))
	require.Empty(t, r.seen)
	call.Run()
	require.Equal(t, []int{1, 2}, r.seen)
	(*hookqueue.Call)(nil).Run() // no hook
}

func TestAdd_KeepsTheOrderPerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		q := hookqueue.New(spawn)
		hangs := make(chan struct{})
		require.Nil(t, q.Add(hookqueue.Key{1}, false, func() { <-hangs; r.hook(1)() }))
		require.Nil(t, q.Add(hookqueue.Key{1}, true, r.hook(2)), "a hook of the key is running")
		require.Nil(t, q.Add(hookqueue.Key{1}, false, r.hook(3)))
		require.Nil(t, q.Add(hookqueue.Key{2}, false, r.hook(4)))
		synctest.Wait()
		require.Equal(t, []int{4}, r.seen)
		close(hangs)
		synctest.Wait()
		require.Equal(t, []int{4, 1, 2, 3}, r.seen)
	})
}

func TestAdd_BlocksCallersBehindAThousandHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		q := hookqueue.New(spawn)
		hangs := make(chan struct{})
		q.Add(hookqueue.Key{}, false, func() { <-hangs })
		for n := range 1000 {
			require.Nil(t, q.Add(hookqueue.Key{}, true, r.hook(n)))
		}
		call := q.Add(hookqueue.Key{}, true, r.hook(1000))
		require.NotNil(t, call)
		call.Run()
		require.Equal(t, []int{1000}, r.seen)
		close(hangs)
		synctest.Wait()
		require.Len(t, r.seen, 1001)
	})
}

// Whoever cannot wait for a hook must not be held up by one that hangs.
func TestAdd_QueuesTheHooksOfCallersThatCannotWaitWithoutBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		q := hookqueue.New(spawn)
		hangs := make(chan struct{})
		q.Add(hookqueue.Key{}, false, func() { <-hangs })
		var order []int
		for n := range 3000 {
			require.Nil(t, q.Add(hookqueue.Key{}, false, r.hook(n)))
			order = append(order, n)
		}
		synctest.Wait()
		require.Empty(t, r.seen)
		close(hangs)
		synctest.Wait()
		require.Equal(t, order, r.seen)
	})
}
