package api_test

import (
	"context"
	"go/ast"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/shard"
	"github.com/godurable/dog/test/internal/fixture"
)

// page is an object that answers requests.
type page struct {
	dog.Object
	receive func(p *page) error
}

func (p *page) Receive(http.ResponseWriter, *http.Request) error { return p.receive(p) }

func (p *page) Do(ctx context.Context, f func(ctx context.Context, p *page) error) error {
	return f(ctx, p)
}

func TestRegister_FailsAfterShutdown(t *testing.T) {
	for name, store := range map[string]dog.Store{"without a store": nil, "with one": disk.Memory()} {
		t.Run(name, func(t *testing.T) {
			rt, err := dog.New(dog.Options{Store: store})
			require.NoError(t, err)
			require.NoError(t, rt.Shutdown(t.Context()))
			_, err = dog.RegisterObject[page](rt, "page", nil)
			require.ErrorIs(t, err, dog.ErrShutdown)
			var refused *dog.RegistrationError
			require.ErrorAs(t, err, &refused)
		})
	}
}

func TestRegister_RefusesASchemaWithoutAStore(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	schema := dog.Schema{"CREATE TABLE t (x)"}
	_, err := dog.RegisterObject(rt, "page", &dog.ObjectOptions[page]{Schema: schema})
	require.ErrorIs(t, err, dog.ErrNoStore)
	_, err = dog.RegisterReplica(rt, "replica", &dog.ReplicaOptions[dog.Replica]{Schema: schema})
	require.ErrorIs(t, err, dog.ErrNoStore)
	_, err = dog.RegisterObject[page](rt, "page", nil)
	require.NoError(t, err, "nothing is left of what was refused")
}

func TestStatusError_IsAnErrorWithAnyContents(t *testing.T) {
	var none *dog.StatusError
	for name, c := range map[string]struct {
		err    *dog.StatusError
		status int
		text   string
	}{
		"nil":                 {none, 500, "dog: a nil StatusError"},
		"the zero value":      {&dog.StatusError{}, 500, "status 0"},
		"an unregistered one": {&dog.StatusError{Status: 499}, 499, "status 499"},
		"one with a text":     {&dog.StatusError{Status: 499, Text: "gone"}, 499, "gone"},
		"one of net/http":     {&dog.StatusError{Status: 404}, 404, "Not Found"},
		"one with a cause": {
			&dog.StatusError{Status: 404, Err: http.ErrNoCookie}, 404, "Not Found: http: named cookie not present",
		},
		"a success, which fails": {&dog.StatusError{Status: 200}, 500, "OK"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.text, c.err.Error())
			require.Equal(t, c.status, dog.HTTPStatus(c.err))
			require.ErrorIs(t, c.err, c.err)
			w := httptest.NewRecorder()
			dog.WriteError(w, c.err)
			require.Equal(t, c.status, w.Code)

			pages, err := dog.RegisterObject(dogtest.New(t, dog.Options{}), "page", &dog.ObjectOptions[page]{
				New: func() *page { return &page{receive: func(*page) error { return c.err }} },
			})
			require.NoError(t, err)
			w = httptest.NewRecorder()
			pages.Named("a").ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, c.status, w.Code)
		})
	}
}

func TestNames_LogDistinguishesInvalidNamesFromInvalidUIDs(t *testing.T) {
	options, log := fixture.LogToBuffer()
	pages, err := dog.RegisterObject(dogtest.New(t, options), "page", &dog.ObjectOptions[page]{
		New: func() *page { return &page{receive: func(*page) error { return nil }} },
	})
	require.NoError(t, err)
	for _, stub := range []dog.Stub[page]{pages.Named(""), pages.Named("a").WithUID("\x00"), pages.Named("")} {
		w := httptest.NewRecorder()
		stub.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, http.StatusBadRequest, w.Code)
	}
	require.Regexp(
		t, `(?s)^[^\n]*the name of the object is invalid[^\n]*\n[^\n]*its uid is invalid[^\n]*\n$`, log.String(),
	)
}

// A name that no object can have is an error of every method, also of those
// that have nothing to do where there is no object.
func TestNames_InvalidOnesAreRefusedByEveryStubMethod(t *testing.T) {
	options, _ := fixture.LogToBuffer()
	options.Store = disk.Memory()
	rt := dogtest.New(t, options)
	pages, err := dog.RegisterObject[page](rt, "page", nil)
	require.NoError(t, err)
	replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[dog.Group]{Limit: 1})
	require.NoError(t, err)
	checked := 0
	for _, name := range []string{"", "\x00", strings.Repeat("x", 1025)} {
		for _, stub := range []any{
			pages.Named(name), pages.Named(name).WithUID("ada"), groups.Named(name), groups.Named(name).Stub,
		} {
			callAll(stub, func(method string, results []reflect.Value) {
				for _, result := range results {
					if r, ok := result.Interface().(*http.Response); ok && r != nil {
						require.Equal(t, http.StatusBadRequest, r.StatusCode, method)
						require.NoError(t, r.Body.Close())
						return
					}
					if result.Type() == reflect.TypeFor[error]() {
						err, _ := result.Interface().(error)
						require.ErrorIs(t, err, dog.ErrInvalidName, "%T.%s", stub, method)
						checked++
					}
				}
			})
		}
		_, err := groups.Named(name).Identify(t.Context(), "ada")
		require.ErrorIs(t, err, dog.ErrInvalidName)
		require.ErrorContains(t, err, "the name")
		err = dog.CallErr(t.Context(), pages.Named(name), (*page).Do, nil)
		require.ErrorIs(t, err, dog.ErrInvalidName)
	}
	require.Greater(t, checked, 3*4*4)
}

// nilFunctions calls everything in a handler that takes a function and returns
// an error, without one.
func nilFunctions(ctx context.Context, p *page) map[string]func() error {
	return map[string]func() error{
		"Go":                    func() error { return dog.Go(ctx, nil) },
		"Await":                 func() error { return dog.Await(ctx, nil) },
		"BlockConcurrencyWhile": func() error { return dog.BlockConcurrencyWhile(ctx, nil) },
		"Transaction":           func() error { return p.Storage().Transaction(nil) },
		"Update": func() error {
			_, err := dog.Update[int](p.Storage(), "n", nil)
			return err
		},
		"Map.Update": func() error {
			_, err := dog.MapOf[int](p.Storage(), "").Update("n", nil)
			return err
		},
		"shard.Ask": func() error {
			_, err := shard.Ask[page, int](ctx, nil, shard.Options{}, nil)
			return err
		},
	}
}

func TestNilFunctions_AreRefusedWhereTheyArePassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		pages, err := dog.RegisterObject[page](dogtest.New(t, options), "page", nil)
		require.NoError(t, err)
		require.NoError(
			t,
			dog.CallErr(t.Context(), pages.Named("a"), (*page).Do, func(ctx context.Context, p *page) error {
				require.False(t, p.After(time.Second, nil).Stop())
				require.False(t, p.Every(time.Second, nil).Stop())
				for name, call := range nilFunctions(ctx, p) {
					require.NoError(t, dog.Put(p.Storage(), "n", 1), name)
					fixture.RequireUsage(t, call(), "is nil", name)
				}
				n, found, err := dog.Get[int](p.Storage(), "n")
				require.Equal(t, 1, n)
				require.True(t, found)
				return err
			}),
		)
		_, err = shard.Ask[page, int](t.Context(), nil, shard.Options{}, nil)
		fixture.RequireUsage(t, err, "is nil")
		fixture.RequireUsage(t, dogtest.Run[page](t, pages.Named("a"), nil).Err, "is nil")
		fixture.RequireUsage(t, dog.Await(t.Context(), nil), "is nil", "also where there is no handler")
		fixture.RequireUsage(t, dog.CallErr0[page](t.Context(), pages.Named("a"), nil), "not an exported method")
		fixture.Elapse(time.Minute)
		require.Equal(t, 2, strings.Count(log.String(), "a timer needs a function"))
		require.NotContains(t, log.String(), "reset")
	})
}

func TestNilFunctions_TableIsComplete(t *testing.T) {
	var names []string
	for _, file := range publicFiles(t) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.IsExported() && takesFunction(f) {
				names = append(names, f.Name.Name)
			}
		}
	}
	slices.Sort(names)
	require.Equal(t, []string{
		"After", "Ask", "Await", "BlockConcurrencyWhile", "Call", "Call0", "CallErr", "CallErr0",
		"Deliver", // of an unexported type
		"Every", "Go",
		"OnDurable", // of an unexported type
		"Read",      // of an unexported type
		"Run", "Transaction", "Update", "Update",
	}, names)
}

func takesFunction(f *ast.FuncDecl) bool {
	return slices.ContainsFunc(f.Type.Params.List, func(parameter *ast.Field) bool {
		_, is := parameter.Type.(*ast.FuncType)
		return is
	})
}
