package call_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// clerk is an object that runs the functions of its callers.
type clerk struct {
	dog.Object
	done int
}

// contextKey is the key of a value that a caller's context has.
type contextKey struct{}

type errand = func(ctx context.Context, c *clerk) error

func (c *clerk) Run(ctx context.Context, f errand) error { return f(ctx, c) }

func (c *clerk) Ask(ctx context.Context, f func(ctx context.Context, c *clerk) (string, error)) (string, error) {
	return f(ctx, c)
}

func (c *clerk) Count(context.Context) (int, error) { return c.done, nil }

func (c *clerk) Tick(context.Context) error { c.done++; return nil }

func (c *clerk) hidden(context.Context) error { return nil }

// foreignTick has the form of a method expression.
func foreignTick(c *clerk, ctx context.Context) error { return c.Tick(ctx) } //nolint:revive // see above

func newClerks(t testing.TB, options dog.Options) (*dog.Runtime, *dog.Namespace[clerk]) {
	t.Helper()
	rt := dogtest.New(t, options)
	clerks, err := dog.RegisterObject[clerk](rt, "clerk", nil)
	require.NoError(t, err)
	return rt, clerks
}

func run(ctx context.Context, to dog.Stub[clerk], f errand) error {
	return dog.CallErr(ctx, to, (*clerk).Run, f)
}

type drawer[V any] struct {
	dog.Object
	value V
}

func (b *drawer[V]) Put(_ context.Context, v V) error { b.value = v; return nil }

func (b *drawer[V]) Get(context.Context) (V, error) { return b.value, nil }
