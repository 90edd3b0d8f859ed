package http_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// What a request brings along that is not the object's: middlewares, bodies,
// other libraries.

// panicWriter is a middleware's ResponseWriter that panics.
type panicWriter struct {
	*httptest.ResponseRecorder
	where string
}

func (w panicWriter) fall(where string) {
	if w.where == where {
		panic("as planned")
	}
}

func (w panicWriter) WriteHeader(status int) {
	w.fall("WriteHeader")
	w.ResponseRecorder.WriteHeader(status)
}
func (w panicWriter) Write(p []byte) (int, error) {
	w.fall("Write")
	return w.ResponseRecorder.Write(p)
}
func (w panicWriter) Flush()                           { w.fall("Flush"); w.ResponseRecorder.Flush() }
func (w panicWriter) SetWriteDeadline(time.Time) error { w.fall("SetWriteDeadline"); return nil }
func (w panicWriter) Read([]byte) (int, error)         { w.fall("Read"); return 0, io.EOF }
func (w panicWriter) Close() error                     { w.fall("Close"); return nil }
func (w panicWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.fall("Hijack")
	return nil, nil, http.ErrNotSupported
}

// wrecks are the places at which a panicWriter can panic.
var wrecks = []string{"WriteHeader", "Write", "Flush", "SetWriteDeadline", "Read", "Close", "Hijack"}

// touchAll makes a handler come by all wrecks.
func touchAll(t *testing.T, w http.ResponseWriter, r *http.Request, where string) {
	_, _ = io.ReadAll(r.Body)
	_ = r.Body.Close()
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now())
	if where == "Hijack" {
		_, _, err := c.Hijack()
		require.Error(t, err)
	}
	_, _ = io.WriteString(w, "hello")
	_ = c.Flush()
}

func TestHTTP_PanicOfAMiddlewareEndsItsRequestAlone(t *testing.T) {
	for _, where := range wrecks {
		for _, stored := range []bool{false, true} {
			if stored && where == "Flush" {
				continue // the end of Receive comes before such a flush, and sends everything
			}
			t.Run(fmt.Sprint(where, ", stored ", stored), func(t *testing.T) {
				lives := make(map[*target]bool)
				_, targets := newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
					lives[d] = true
					if stored {
						require.NoError(t, d.Storage().Put("seen", nil))
					}
					touchAll(t, w, r, where)
				})
				ada := targets.Named("ada")
				w := panicWriter{httptest.NewRecorder(), where}
				r := httptest.NewRequest(http.MethodPost, "/", w)
				r.ContentLength = -1
				require.PanicsWithValue(t, "as planned", func() { ada.ServeHTTP(w, r) })
				require.NoError(
					t,
					dog.CallErr(context.Background(), ada, (*target).Run, func(_ context.Context, d *target) error {
						lives[d] = true
						_, found, err := d.Storage().Get("seen")
						require.Equal(t, stored, found)
						return err
					}),
				)
				require.Len(t, lives, 1, "the object has not been reset")
			})
		}
	}
}

// openGateway is a gateway that lets everybody in, some after it has read the
// body.
type openGateway struct{ dog.Group }

func (*openGateway) Identify(r *http.Request) (string, error) {
	if r.URL.Path == "/read" {
		_, _ = io.ReadAll(r.Body)
	}
	return "ada", nil
}

// newOpenGateway returns a gateway to a replica that answers by serve.
func newOpenGateway(
	t *testing.T, serve func(r *fixture.Room, w http.ResponseWriter, req *http.Request),
) dog.GroupStub[openGateway, fixture.Room] {
	t.Helper()
	rt := dogtest.New(t, dog.Options{})
	rooms, err := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[fixture.Room]{
		New: func() *fixture.Room { return &fixture.Room{On: &fixture.Hooks{Receive: serve}} },
	})
	require.NoError(t, err)
	openGateways, err := dog.RegisterGroup(rt, "openGateway", rooms, &dog.GroupOptions[openGateway]{Limit: 1000})
	require.NoError(t, err)
	return openGateways.Named("main")
}

func TestHTTP_PanicOfAMiddlewareEndsItsRequestAloneBehindAGateway(t *testing.T) {
	for _, where := range wrecks {
		for _, path := range []string{"/", "/read"} {
			t.Run(where+" "+path, func(t *testing.T) {
				lives := make(map[*fixture.Room]bool)
				served := 0
				gate := newOpenGateway(t, func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
					lives[r] = true
					served++
					if req.Method == http.MethodGet {
						return
					}
					touchAll(t, w, req, where)
				})
				w := panicWriter{httptest.NewRecorder(), where}
				r := httptest.NewRequest(http.MethodPost, path, w)
				r.ContentLength = -1
				require.PanicsWithValue(t, "as planned", func() { gate.ServeHTTP(w, r) })
				gate.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				require.Len(t, lives, 1, "the replica has not been reset")
				if where != "Read" {
					require.Equal(t, 2, served)
				}
			})
		}
	}
}

func TestHTTP_InvalidStatusIsAPanicOfTheHandler(t *testing.T) {
	_, targets := newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/invalid" {
			_ = d.Storage().Put("seen", nil)
			w.WriteHeader(99)
			return
		}
		_, found, err := d.Storage().Get("seen")
		_, _ = fmt.Fprint(w, found, err)
	})
	ada := targets.Named("ada")
	srv := httptest.NewServer(ada)
	t.Cleanup(srv.Close)
	for _, ask := range []func(path string) (int, string, error){
		func(path string) (int, string, error) {
			return fetch(context.Background(), ada, http.MethodGet, path, "")
		},
		func(path string) (int, string, error) {
			u, err := url.Parse(srv.URL)
			require.NoError(t, err)
			r, err := http.NewRequest(http.MethodGet, u.JoinPath(path).String(), nil)
			require.NoError(t, err)
			response, err := srv.Client().Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			return response.StatusCode, string(body), errors.Join(err, response.Body.Close())
		},
	} {
		status, _, err := ask("/invalid")
		require.NoError(t, err)
		require.Equal(t, http.StatusInternalServerError, status)
		status, text, err := ask("/")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "false <nil>", text, "it has been undone")
	}
}

// watch is what a logging middleware does.
type watch struct {
	http.ResponseWriter
	status *atomic.Int32
}

func (w watch) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w watch) WriteHeader(status int) {
	w.status.CompareAndSwap(0, int32(status))
	w.ResponseWriter.WriteHeader(status)
}

func TestHTTP_OtherWebSocketLibrariesWorkOrAreRefusedEarly(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_ = dog.Await(r.Context(), func() error {
			kind, data, err := c.Read(context.Background())
			if err == nil {
				err = c.Write(context.Background(), kind, append([]byte("re: "), data...))
			}
			return errors.Join(err, c.Close(websocket.StatusNormalClosure, ""))
		})
	}
	raw := func(w http.ResponseWriter, _ *http.Request) { // takes the connection and answers itself
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, "no", http.StatusNotImplemented)
			return
		}
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_ = c.Close()
	}
	for _, c := range []struct {
		name  string
		serve http.HandlerFunc
		pass  func(to dog.Stub[target], w http.ResponseWriter, r *http.Request)
		wrap  func(http.ResponseWriter) http.ResponseWriter
		works bool
	}{
		{name: "directly", serve: echo, works: true},
		{name: "by hand", serve: raw, works: true},
		{
			name: "handed on", serve: echo, works: true,
			pass: func(to dog.Stub[target], w http.ResponseWriter, r *http.Request) { to.ServeHTTP(w, r) },
		},
		{name: "through RoundTrip", serve: echo, pass: relayTo},
		{name: "by hand through RoundTrip", serve: raw, pass: relayTo},
		{name: "behind a writer that hides", serve: echo, wrap: func(w http.ResponseWriter) http.ResponseWriter {
			return struct{ http.ResponseWriter }{w}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var targets *dog.Namespace[target]
			_, targets = newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
				if d.Name() == "front" && c.pass != nil {
					c.pass(targets.Named("back"), w, r)
					return
				}
				c.serve(w, r)
			})
			var status atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w = watch{w, &status}
				if c.wrap != nil {
					w = c.wrap(w)
				}
				targets.Named("front").ServeHTTP(w, r)
			}))
			t.Cleanup(srv.Close)
			client, response, err := websocket.Dial(t.Context(), strings.Replace(srv.URL, "http", "ws", 1), nil)
			if !c.works {
				require.Error(t, err)
				require.Equal(t, http.StatusNotImplemented, response.StatusCode)
				require.EqualValues(t, http.StatusNotImplemented, status.Load())
				return
			}
			require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
			if c.name == "by hand" {
				return
			}
			require.NoError(t, err)
			require.NoError(t, client.Write(t.Context(), websocket.MessageText, []byte("hi")))
			_, data, err := client.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, "re: hi", string(data))
			require.EqualValues(t, http.StatusSwitchingProtocols, status.Load())
			_ = client.CloseNow()
		})
	}
}

// relayTo hands a request on by RoundTrip.
func relayTo(to dog.Stub[target], w http.ResponseWriter, r *http.Request) {
	response, err := to.RoundTrip(r)
	if err != nil {
		dog.WriteError(w, err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}

func TestHTTP_RefusedUpgradeIsWellFormedInHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 1, &fixture.Hooks{})
		for major, want := range map[int]string{1: "websocket", 2: ""} {
			r := httptest.NewRequest(http.MethodGet, "/ws", nil)
			r.ProtoMajor = major
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Equal(t, http.StatusUpgradeRequired, w.Code)
			require.Equal(t, want, w.Header().Get("Upgrade"))
			require.Equal(t, want != "", w.Header().Get("Connection") != "")
		}
	})
}

// formGate is a gateway that finds its uid in a form.
type formGate struct{ dog.Group }

func (*formGate) Identify(r *http.Request) (string, error) { return r.FormValue("u"), nil }

func TestHTTP_FormParsedByAGatewayReachesReceive(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	on := &fixture.Hooks{Receive: func(_ *fixture.Room, w http.ResponseWriter, req *http.Request) {
		_, _ = fmt.Fprint(w, dog.UID(req.Context()), " ", req.PostFormValue("text"))
	}}
	rooms, err := dog.RegisterReplica(
		rt, "room", &dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: on} }},
	)
	require.NoError(t, err)
	gates, err := dog.RegisterGroup(rt, "gate", rooms, &dog.GroupOptions[formGate]{Limit: 2})
	require.NoError(t, err)
	srv := httptest.NewServer(gates.Named("main"))
	t.Cleanup(srv.Close)
	response, err := srv.Client().PostForm(srv.URL, url.Values{"u": {"ada"}, "text": {"hello"}})
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	require.Equal(t, "ada hello", string(body))
}

func TestHTTP_TrailersThatWereNotAnnouncedReachReceive(t *testing.T) {
	_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.Trailer.Get("X-Sum"))
	})
	srv := httptest.NewServer(targets.Named("ada"))
	t.Cleanup(srv.Close)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_, err = io.WriteString(
		c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
	)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	require.Equal(t, "7", string(body))
}

func TestHTTP_ClientAddressReachesAllObjects(t *testing.T) {
	for _, f := range forwards() {
		t.Run(f.name, func(t *testing.T) {
			var targets *dog.Namespace[target]
			_, targets = newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
				if d.Name() == "front" {
					require.NoError(t, f.do(targets.Named("back"), targets, w, r))
					return
				}
				_, _ = io.WriteString(w, r.RemoteAddr)
			})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			w := httptest.NewRecorder()
			targets.Named("front").ServeHTTP(w, r)
			require.Equal(t, r.RemoteAddr, w.Body.String())
			_, text, err := fetch(context.Background(), targets.Named("back"), http.MethodGet, "/", "")
			require.NoError(t, err)
			require.Equal(t, "127.0.0.1:0", text)
		})
	}
}
