package history_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// bounded runs a test for each kind of owner with a history within bounds, in
// memory and durable.
func bounded(t *testing.T, bounds dog.HistoryOptions, f func(t *testing.T, v *fixture.Owners)) {
	for _, durable := range []bool{false, true} {
		bounds.Durable = durable
		t.Run(fmt.Sprintf("%+v", bounds), func(t *testing.T) {
			over(t, &fixture.OwnerHooks{History: bounds}, dog.Options{}, f)
		})
	}
}

// requireKept checks which messages are kept, for a reader and for a client
// that asks for all.
func requireKept(t *testing.T, v *fixture.Owners, want []string) {
	t.Helper()
	page, err := v.History("ada").Read("", 0)
	require.NoError(t, err)
	require.Equal(t, want, texts(page))
	ada := dial(t, v.Server, "ada", "&after=")
	synctest.Wait()
	require.Equal(t, want, ada.messages())
	ada.Vanish()
	synctest.Wait()
}

func TestBounds_CountIsExact(t *testing.T) {
	for _, n := range []int{1, 2, 100} {
		bounded(t, dog.HistoryOptions{Count: n}, func(t *testing.T, v *fixture.Owners) {
			ada := dial(t, v.Server, "ada", "")
			broadcast(t, v, numbered(1, n-1)...)
			requireKept(t, v, numbered(1, n-1))
			broadcast(t, v, numbered(n, n)...)
			requireKept(t, v, numbered(1, n))
			again := dial(t, v.Server, "ada", after(ada.hello.Pos))
			require.Empty(t, again.hello.Gap)
			broadcast(t, v, numbered(n+1, n+1)...)
			requireKept(t, v, numbered(2, n+1))
			again = dial(t, v.Server, "ada", after(ada.hello.Pos))
			require.Equal(t, "expired", again.hello.Gap)
		})
	}
}

// A frame of a message that is not large has 2 bytes before the mark, which is
// m, the place and a line feed.
func TestBounds_BytesAreExact(t *testing.T) {
	const n = 8
	var all []string
	for i := range n + 1 {
		all = append(all, fmt.Sprint(i)+strings.Repeat("x", 99))
	}
	size := 2 + len("ma1\n") + len(all[0])
	bounded(t, dog.HistoryOptions{Bytes: n * size}, func(t *testing.T, v *fixture.Owners) {
		broadcast(t, v, all[:n-1]...)
		requireKept(t, v, all[:n-1])
		broadcast(t, v, all[n-1])
		requireKept(t, v, all[:n])
		broadcast(t, v, all[n])
		requireKept(t, v, all[1:])
	})
	bounded(t, dog.HistoryOptions{Bytes: n*size - 1}, func(t *testing.T, v *fixture.Owners) {
		broadcast(t, v, all[:n]...)
		requireKept(t, v, all[1:n])
	})
}

// A message that is larger than the bound is sent and not kept, nor are those
// before it.
func TestBounds_TooLargeMessageIsAGap(t *testing.T) {
	bounded(t, dog.HistoryOptions{Bytes: 1000}, func(t *testing.T, v *fixture.Owners) {
		bob := dial(t, v.Server, "bob", "")
		large := strings.Repeat("x", 1000)
		broadcast(t, v, "before", large)
		synctest.Wait()
		require.Equal(t, []string{"before", large}, bob.messages())
		requireKept(t, v, nil)
		again := dial(t, v.Server, "bob", after(bob.hello.Pos))
		require.Equal(t, "expired", again.hello.Gap)
		broadcast(t, v, "after")
		requireKept(t, v, []string{"after"})
		again = dial(t, v.Server, "bob", after(bob.pos))
		require.Empty(t, again.hello.Gap, "it has got the large one")
	})
}

// A message is kept for the age, rounded up to seconds, and for up to an eighth
// longer if another one follows within this time.
func TestBounds_AgeIsExact(t *testing.T) {
	const age = 80 * time.Second
	for _, option := range []time.Duration{age, age - time.Second/2} {
		bounded(t, dog.HistoryOptions{Age: option}, func(t *testing.T, v *fixture.Owners) {
			enter(v, "bob") // keeps a durable history in memory
			start := time.Now()
			at := func(d time.Duration) { time.Sleep(time.Until(start.Add(d))) }
			broadcast(t, v, "1")
			at(age)
			requireKept(t, v, []string{"1"})
			at(age + time.Second)
			requireKept(t, v, nil)

			start = time.Now()
			broadcast(t, v, "2")
			at(age / 8)
			broadcast(t, v, "3") // together with 2
			at(age/8 + time.Second)
			broadcast(t, v, "4")
			at(age + age/8)
			requireKept(t, v, []string{"2", "3", "4"})
			at(age + age/8 + time.Second)
			requireKept(t, v, []string{"4"})
			at(age + age/8 + 2*time.Second)
			requireKept(t, v, nil)
		})
	}
}
