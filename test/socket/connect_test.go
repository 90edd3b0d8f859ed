package socket_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSocket_PanicOfReceiveSendsNoDetails(t *testing.T) {
	tests := map[string]struct {
		before func(w http.ResponseWriter)
		whole  bool // whether the client gets a whole answer
	}{
		"before writing":           {func(http.ResponseWriter) {}, true},
		"after a header":           {func(w http.ResponseWriter) { w.Header().Set("X-Early", "1") }, true},
		"after an early hint":      {func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) }, true},
		"after the status":         {func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }, true},
		"after a part of the body": {func(w http.ResponseWriter) { _, _ = w.Write([]byte("half")) }, true},
		"after a flush of the body": {func(w http.ResponseWriter) {
			_, _ = w.Write([]byte("half"))
			w.(http.Flusher).Flush()
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				v := fixture.NewOwners(
					t, kind, dog.Options{},
					&fixture.OwnerHooks{Receive: func(_ fixture.Owner, w http.ResponseWriter, _ *http.Request) error {
						test.before(w)
						panic("secret")
					}},
				)
				answer, err := v.Server.Client().Get(dogtest.URL + "/?u=ada")
				if test.whole {
					require.NoError(t, err)
					require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
					_ = answer.Body.Close()
					_, body := fixture.Request(t, v.Server, "GET", "/?u=ada", nil)
					require.Equal(t, "Internal Server Error\n", body)
				} else if err == nil {
					_, err = answer.Body.Read(make([]byte, 100))
					for err == nil {
						_, err = answer.Body.Read(make([]byte, 100))
					}
					require.ErrorContains(t, err, "unexpected EOF")
				}
				fixture.RequireEmpty(t, v.Runtime)
			})
		})
	}
}

func TestSocket_PanicAfterConnectClosesTheSocketOnce(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		closes := 0
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				o.Connect(w, req, nil)
				panic("secret")
			},
			Close: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, code int, _ string) error {
				closes++
				require.Equal(t, 1011, code)
				return nil
			},
		})
		code, reason := v.Server.Dial("/?u=ada").Closed()
		require.Equal(t, 1011, code)
		require.Empty(t, reason)
		fixture.RequireEmpty(t, v.Runtime)
		require.Equal(t, 1, closes)
	})
}

func TestSocket_ConnectNeedsTheRequestThatReceiveGot(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		var kept *http.Request
		v := fixture.NewOwners(
			t, kind, dog.Options{},
			&fixture.OwnerHooks{Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				if req.URL.Path == "/other" {
					s, err := o.Connect(w, kept, nil)
					require.Nil(t, s)
					require.ErrorContains(t, err, "Connect")
					return nil
				}
				kept = req
				_, err := w.Write([]byte("kept"))
				return err
			}},
		)
		v.Server.Get("/?u=ada")
		status, _ := v.Server.Get("/other?u=ada")
		require.Equal(t, http.StatusInternalServerError, status, "a request that has been answered")
		kept = httptest.NewRequest("GET", "/", nil)
		status, _ = v.Server.Get("/other?u=ada")
		require.Equal(t, http.StatusInternalServerError, status, "a request from elsewhere")
		fixture.RequireEmpty(t, v.Runtime)
	})
}

func TestSocket_ConnectRefusesTheRequestOfAnotherOwner(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		requests := make(chan *http.Request, 1)
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			MaxSockets: 1,
			Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				if req.URL.Path == "/lend" {
					requests <- req
					return dog.Await(req.Context(), func() error { time.Sleep(time.Minute); return nil })
				}
				s, err := o.Connect(w, <-requests, nil)
				require.Nil(t, s)
				require.ErrorContains(t, err, "the request is not the one that Receive got")
				return nil
			},
		})
		another := ""
		if !fixture.IsReplica(kind) {
			another = "&o=another" // a replica whose limit is reached is followed by another one
		}
		lent := fixture.GetInBackground(v.Server, "/lend?u=ada")
		synctest.Wait()
		_, answer, err := v.Server.TryDial("/borrow?u=bob"+another, dogtest.DialOptions{})
		require.Error(t, err)
		require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
		require.Equal(t, http.StatusOK, <-lent)
		fixture.RequireEmpty(t, v.Runtime)
	})
}

func TestSocket_RefusedUpgradeIsHarmless(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		starts := 0
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Start: func(context.Context, fixture.Owner) error { starts++; return nil },
			Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				s, err := o.Connect(w, req, nil)
				require.Equal(t, http.StatusUpgradeRequired, dog.HTTPStatus(err))
				fixture.RequireUsage(t, s.Send("welcome"), "not made by a runtime")
				return nil
			},
		})
		for range 2 {
			status, _ := v.Server.Get("/?u=ada")
			require.Equal(t, http.StatusUpgradeRequired, status)
		}
		require.Equal(t, 1, starts, "no reset")
	})
}
