package dog_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/stretchr/testify/require"
)

// cell is a plain object that does what a test says.
type cell struct{ dog.Object }

type cellWork struct{}

func (c *cell) Receive(_ http.ResponseWriter, req *http.Request) error {
	req.Context().Value(cellWork{}).(func(context.Context, *cell))(req.Context(), c)
	return nil
}

// Nothing is a method to call that does nothing.
func (c *cell) Nothing(context.Context) error { return nil }

// Do runs a function in the turn.
func (c *cell) Do(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// newCells registers cells in a runtime with options.
func newCells(t testing.TB, options dog.Options) (*dog.Runtime, *dog.Namespace[cell]) {
	t.Helper()
	rt := dogtest.New(t, options)
	cells, err := dog.RegisterObject[cell](rt, "cell", nil)
	require.NoError(t, err)
	return rt, cells
}

// inside runs f in a turn of an object, and returns its error, or another one when the object was reset.
func inside(stub dog.Stub[cell], f func(ctx context.Context, c *cell) error) (err error) {
	ran := false
	work := func(ctx context.Context, c *cell) { err, ran = f(ctx, c), true }
	req := httptest.NewRequestWithContext(context.WithValue(context.Background(), cellWork{}, work), "GET", "/", nil)
	w := httptest.NewRecorder()
	stub.ServeHTTP(w, req)
	if !ran || w.Code != http.StatusOK {
		return &answered{w.Code}
	}
	return err
}

// answered is the answer of an object that did not get to answer itself.
type answered struct{ status int }

func (a *answered) Error() string { return http.StatusText(a.status) }

// Work runs f, whose error is the handler's.
func (c *cell) Work(_ context.Context, f func(s *dog.Storage) error) error { return f(c.Storage()) }

// turnIn runs f in a turn of its own and returns its error when what it stored is durable.
func turnIn(t testing.TB, stub dog.Stub[cell], f func(s *dog.Storage) error) error {
	t.Helper()
	return dog.CallErr(t.Context(), stub, (*cell).Work, f)
}

// Hand runs f with the cell.
func (c *cell) Hand(_ context.Context, f func(*cell) error) error { return f(c) }
