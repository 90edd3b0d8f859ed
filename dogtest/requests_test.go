package dogtest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// trial is a test within a test, which may fail.
type trial struct {
	testing.TB
	failures []string
	ends     []func()
}

func (r *trial) Helper() {}

func (r *trial) Cleanup(f func()) { r.ends = append(r.ends, f) }

func (r *trial) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *trial) end() {
	for i := len(r.ends) - 1; i >= 0; i-- {
		r.ends[i]()
	}
}

// mirror answers with what it has got.
func mirror(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusTeapot)
	_, _ = fmt.Fprintf(w, "%s %s %s ", r.Method, r.Host, r.URL)
	_, _ = io.Copy(w, r.Body)
}

func TestServer_SendsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := dogtest.Serve(t, http.HandlerFunc(mirror))
		for want, ask := range map[string]func() (int, string){
			"GET dog.test /a?b=c ":  func() (int, string) { return srv.Get("/a?b=c") },
			"POST dog.test /a body": func() (int, string) { return srv.Post("/a", "body") },
			"PUT dog.test /a body":  func() (int, string) { return srv.Do(newRequest(t, "PUT", "/a", "body")) },
			"PATCH dog.test /a?b=c ...": func() (int, string) {
				return srv.Do(newRequest(t, "PATCH", dogtest.URL+"/a?b=c", "..."))
			},
		} {
			status, answer := ask()
			require.Equal(t, http.StatusTeapot, status)
			require.Equal(t, want, answer)
		}
	})
}

func newRequest(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	return r
}

// Otherwise the only report is a dump of all goroutines.
func TestServer_FailsTheTestForUnfinishedRequests(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "more")
			}
		case "/never":
			<-r.Context().Done()
		case "/nothing":
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.WriteString(w, "all")
		}
	}
	open := func(t *testing.T, srv *dogtest.Server, path string) *http.Response {
		t.Helper()
		answer, err := srv.Client().Get(dogtest.URL + path)
		require.NoError(t, err)
		return answer
	}
	for name, test := range map[string]struct {
		do   func(t *testing.T, srv *dogtest.Server)
		want []string
	}{
		"the body is open": {
			func(t *testing.T, srv *dogtest.Server) { open(t, srv, "/short?a=b") },
			[]string{"dogtest: the test left the response body of GET /short?a=b open: close it"},
		},
		"the body is open and has no end": {
			func(t *testing.T, srv *dogtest.Server) { open(t, srv, "/endless") },
			[]string{"dogtest: the test left the response body of GET /endless open: close it"},
		},
		"there is no answer": {
			func(_ *testing.T, srv *dogtest.Server) {
				go func() {
					answer, err := srv.Client().Get(dogtest.URL + "/never")
					if err == nil {
						_ = answer.Body.Close()
					}
				}()
				synctest.Wait()
			},
			[]string{"dogtest: GET /never had no response at the end of the test"},
		},
		"the body is closed": {
			func(t *testing.T, srv *dogtest.Server) { require.NoError(t, open(t, srv, "/endless").Body.Close()) }, nil,
		},
		"the body has been read": {
			func(t *testing.T, srv *dogtest.Server) {
				_, err := io.ReadAll(open(t, srv, "/short").Body)
				require.NoError(t, err)
			}, nil,
		},
		"there is no body": {
			func(t *testing.T, srv *dogtest.Server) { open(t, srv, "/nothing") }, nil,
		},
		"the request was given up": {
			func(t *testing.T, srv *dogtest.Server) {
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					synctest.Wait()
					cancel()
				}()
				_, err := srv.Client().Do(newRequest(t, "GET", dogtest.URL+"/never", "").WithContext(ctx))
				require.ErrorIs(t, err, context.Canceled)
			}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &trial{TB: t}
				test.do(t, dogtest.Serve(r, http.HandlerFunc(handler)))
				r.end()
				require.Equal(t, test.want, r.failures)
			})
		})
	}
}

// desk is an object with sockets of its own, and without Receive.
type desk struct{ dog.Object }

func (d *desk) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	return d.Broadcast(s.UID() + ": " + m.String())
}

func TestServer_ConnectsClientsToAPlainObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desks, err := dog.RegisterObject[desk](dogtest.New(t, dog.Options{}), "desk", nil)
		require.NoError(t, err)
		front := desks.Named("front")
		srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			front.WithUID(r.FormValue("who")).ServeHTTP(w, r)
		}))
		ada, bob := srv.Dial("/?who=ada"), srv.Dial("/?who=bob")
		ada.Send("hello")
		require.Equal(t, "ada: hello", ada.Receive().String())
		require.Equal(t, "ada: hello", bob.Receive().String())

		out := dogtest.Run(t, front, func(_ context.Context, d *desk) error {
			_, err := d.Whisper("bob", "psst")
			return err
		}, ada, bob)
		require.NoError(t, out.Err)
		require.Equal(t, [][]dog.Message{nil, {{Type: dog.Text, Data: []byte("psst")}}}, out.Sent)

		status, _ := srv.Get("/?who=cyd")
		require.Equal(t, http.StatusUpgradeRequired, status)
		bob.Close(1000, "")
		ada.Send("alone")
		require.Equal(t, "ada: alone", ada.Receive().String())
	})
}
