package call_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

type tally struct {
	dog.Object
	sum int
}

func (c *tally) Add(_ context.Context, n int) (int, error) {
	c.sum += n
	return c.sum, nil
}

// Many makes calls from a handler.
func (c *tally) Many(ctx context.Context, calls func(ctx context.Context) error) error {
	return calls(ctx)
}

func newTallies(b testing.TB) *dog.Namespace[tally] {
	b.Helper()
	rt, err := dog.New(dog.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, rt.Shutdown(context.Background())) })
	tallies, err := dog.RegisterObject[tally](rt, "tally", nil)
	require.NoError(b, err)
	return tallies
}

func addOften(b *testing.B, ctx context.Context, to dog.Stub[tally]) {
	for b.Loop() {
		if _, err := dog.Call(ctx, to, (*tally).Add, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// The figures name these numbers.
func TestCall_AllocatesAsOftenAsIsStated(t *testing.T) {
	to := newTallies(t).Named("a")
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, c := range []struct {
		ctx  context.Context
		most float64
	}{{context.Background(), 1}, {cancellable, 2}} {
		allocated := testing.AllocsPerRun(100, func() { _, _ = dog.Call(c.ctx, to, (*tally).Add, 1) })
		require.LessOrEqual(t, allocated, c.most)
	}
}

// BenchmarkCall is an uncontended call from outside any handler.
func BenchmarkCall(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": ctx} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			addOften(b, ctx, newTallies(b).Named("a"))
		})
	}
}

func BenchmarkCallFromHandler(b *testing.B) {
	tallies := newTallies(b)
	b.ReportAllocs()
	require.NoError(
		b,
		dog.CallErr(context.Background(), tallies.Named("a"), (*tally).Many, func(ctx context.Context) error {
			addOften(b, ctx, tallies.Named("b"))
			return nil
		}),
	)
}

// BenchmarkCallContended is a call to an object that 50 goroutines call.
func BenchmarkCallContended(b *testing.B) {
	to := newTallies(b).Named("a")
	b.ReportAllocs()
	b.SetParallelism(25)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := dog.Call(context.Background(), to, (*tally).Add, 1); err != nil {
				b.Error(err)
			}
		}
	})
}
