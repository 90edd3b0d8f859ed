package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// newCells returns two objects in memory, with or without CheckTurns.
func newCells(t *testing.T, check bool, options dog.Options) (a, b dog.Stub[fixture.Object]) {
	t.Helper()
	options.Store = fixture.OpenedStore(fixture.PromptEngine())
	newRuntime := newUnchecked
	if check {
		newRuntime = dogtest.New
	}
	rt := newRuntime(t, options)
	cells, err := dog.RegisterObject[fixture.Object](rt, "cell", nil)
	require.NoError(t, err)
	a, b = cells.Named("a"), cells.Named("b")
	for _, cell := range []dog.Stub[fixture.Object]{a, b} {
		require.NoError(t, dog.CallErr0(t.Context(), cell, (*fixture.Object).Nothing))
	}
	synctest.Wait()
	return a, b
}

// newUnchecked is [dogtest.New] without CheckTurns.
func newUnchecked(t testing.TB, options dog.Options) *dog.Runtime {
	t.Helper()
	rt, err := dog.New(options)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, rt.Shutdown(ctx))
	})
	return rt
}

// lifeOf returns the value of the object's present life.
func lifeOf(t *testing.T, of dog.Stub[fixture.Object]) (life *fixture.Object) {
	t.Helper()
	require.NoError(t, fixture.InTurn(of, func(_ context.Context, c *fixture.Object) error {
		life = c
		return nil
	}))
	return life
}

// Abort takes no context, so only CheckTurns finds out who calls it.
func TestGate_AbortOfAnotherObjectNeedsDurableWrites(t *testing.T) {
	for name, check := range map[string]bool{"with CheckTurns": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newCells(t, check, dog.Options{})
				before := lifeOf(t, b)
				require.NoError(t, fixture.InTurn(a, func(_ context.Context, c *fixture.Object) error {
					if err := fixture.Put(c); err != nil {
						return err
					}
					err := b.Abort(errors.New("from a"))
					if check {
						require.ErrorIs(t, err, dog.ErrPastGate)
						require.ErrorContains(t, err, c.ID().String(), "it names the handler's object")
						return nil
					}
					return err
				}))
				require.Equal(t, check, lifeOf(t, b) == before, "it has been reset only if nothing was checked")

				synctest.Wait() // everything is durable
				before = lifeOf(t, b)
				require.NoError(t, fixture.InTurn(a, func(context.Context, *fixture.Object) error {
					return b.Abort(errors.New("from a"))
				}))
				require.NotSame(t, before, lifeOf(t, b))
			})
		})
	}
}

func TestGate_AbortOfTheOwnObjectIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newCells(t, true, dog.Options{})
		before := lifeOf(t, a)
		var err error
		require.Error(t, fixture.InTurn(a, func(_ context.Context, c *fixture.Object) error {
			err = errors.Join(fixture.Put(c), a.Abort(errors.New("enough")))
			return nil
		}))
		require.NoError(t, err)
		require.NotSame(t, before, lifeOf(t, a))
	})
}

// Object.Abort has no error to return.
func TestGate_AbortByAHandlerOfAnotherObjectIsLogged(t *testing.T) {
	for name, check := range map[string]bool{"with CheckTurns": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options, log := fixture.LogToBuffer()
				a, b := newCells(t, check, options)
				other := lifeOf(t, b)
				require.NoError(t, fixture.InTurn(a, func(_ context.Context, c *fixture.Object) error {
					if err := fixture.Put(c); err != nil {
						return err
					}
					other.Abort(errors.New("from a"))
					return nil
				}))
				synctest.Wait()
				require.NotSame(t, other, lifeOf(t, b), "it is reset in either case")
				if check {
					require.Contains(t, log.String(), dog.ErrPastGate.Error())
				} else {
					require.NotContains(t, log.String(), dog.ErrPastGate.Error())
				}
			})
		})
	}
}
