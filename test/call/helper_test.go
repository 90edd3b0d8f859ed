package call_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// runner is an object that runs the functions of its callers.
type runner struct {
	dog.Object
	done int
}

// contextKey is the key of a value that a caller's context has.
type contextKey struct{}

type task = func(ctx context.Context, c *runner) error

func (c *runner) Run(ctx context.Context, f task) error { return f(ctx, c) }

func (c *runner) Ask(ctx context.Context, f func(ctx context.Context, c *runner) (string, error)) (string, error) {
	return f(ctx, c)
}

func (c *runner) Count(context.Context) (int, error) { return c.done, nil }

func (c *runner) Tick(context.Context) error { c.done++; return nil }

func (c *runner) hidden(context.Context) error { return nil }

// foreignTick has the form of a method expression.
func foreignTick(c *runner, ctx context.Context) error { return c.Tick(ctx) } //nolint:revive // see above

func newRunners(t testing.TB, options dog.Options) (*dog.Runtime, *dog.Namespace[runner]) {
	t.Helper()
	rt := dogtest.New(t, options)
	runners, err := dog.RegisterObject[runner](rt, "runner", nil)
	require.NoError(t, err)
	return rt, runners
}

func run(ctx context.Context, to dog.Stub[runner], f task) error {
	return dog.CallErr(ctx, to, (*runner).Run, f)
}

type drawer[V any] struct {
	dog.Object
	value V
}

func (b *drawer[V]) Put(_ context.Context, v V) error { b.value = v; return nil }

func (b *drawer[V]) Get(context.Context) (V, error) { return b.value, nil }
