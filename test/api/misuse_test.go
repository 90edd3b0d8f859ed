package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
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

func TestStatusError_IsAnErrorWhateverItHolds(t *testing.T) {
	var none *dog.StatusError
	for name, c := range map[string]struct {
		err    *dog.StatusError
		status int
		text   string
	}{
		"nil":                    {none, 500, "dog: a nil StatusError"},
		"the zero value":         {&dog.StatusError{}, 500, "status 0"},
		"an unregistered one":    {&dog.StatusError{Status: 499}, 499, "status 499"},
		"one with a text":        {&dog.StatusError{Status: 499, Text: "gone"}, 499, "gone"},
		"one of net/http":        {&dog.StatusError{Status: 404}, 404, "Not Found"},
		"one with a cause":       {&dog.StatusError{Status: 404, Err: http.ErrNoCookie}, 404, "Not Found: http: named cookie not present"},
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

func TestNames_TheLogTellsAnInvalidNameFromAnInvalidUID(t *testing.T) {
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
	require.Regexp(t, `(?s)^[^\n]*the name of the object is invalid[^\n]*\n[^\n]*its uid is invalid[^\n]*\n$`, log.String())
}

// A name that no object can have is an error of every method, also of those that
// have nothing to do where there is no object.
func TestNames_EveryMethodOfAStubRefusesAnInvalidOne(t *testing.T) {
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

func TestNilFunctions_AreRefusedWhereTheyArePassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		pages, err := dog.RegisterObject[page](dogtest.New(t, options), "page", nil)
		require.NoError(t, err)
		require.NoError(t, dog.CallErr(t.Context(), pages.Named("a"), (*page).Do, func(ctx context.Context, p *page) error {
			require.False(t, p.After(time.Second, nil).Stop())
			require.False(t, p.Every(time.Second, nil).Stop())
			var wrong *dog.UsageError
			require.ErrorAs(t, dog.Go(ctx, nil), &wrong)
			return nil
		}))
		fixture.Elapse(time.Minute)
		require.Equal(t, 2, strings.Count(log.String(), "a timer needs a function"))
		require.NotContains(t, log.String(), "reset")
	})
}
