package http_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// What Receive gets with its request: the uid, the end of the client, and the
// body.

// requireNoRequest checks that ctx belongs to no Receive.
func requireNoRequest(t *testing.T, ctx context.Context, where string) {
	t.Helper()
	require.Empty(t, dog.UID(ctx), where)
	require.Nil(t, dog.ClientGone(ctx), where)
}

func TestHTTP_OnlyReceiveHasTheUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ran []string // guarded by mu
		other := func(ctx context.Context, where string) {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, where)
			requireNoRequest(t, ctx, where)
		}
		h := fixture.NewRooms(t, 1, &fixture.Hooks{
			Start: func(ctx context.Context, _ *fixture.Room) error { requireNoRequest(t, ctx, "OnStart"); return nil },
			Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				ctx := req.Context()
				if req.URL.Path == "/ws" {
					r.Connect(w, req, nil)
					return
				}
				require.NotNil(t, dog.ClientGone(ctx))
				require.NoError(t, dog.Go(ctx, func(ctx context.Context) error { other(ctx, "Go"); return nil }))
				_, err := r.Gossip(ctx, "who?")
				require.NoError(t, err)
				derived := context.WithValue(ctx, http.LocalAddrContextKey, "any")
				require.NoError(t, dog.Await(derived, func() error { fmt.Fprint(w, dog.UID(derived)); return nil }))
			},
			Open: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket) error { other(ctx, "OnOpen"); return nil },
			Message: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				other(ctx, "OnMessage")
				return nil
			},
			Close: func(ctx context.Context, _ *fixture.Room, _ *dog.Socket, _ int, _ string) error {
				other(ctx, "OnClose")
				return nil
			},
			Gossip: func(ctx context.Context, _ *fixture.Room, _ dog.Message) (any, error) {
				other(ctx, "OnGossip")
				return nil, nil
			},
		})
		ada := h.Enter("ada")
		ada.Send("x")
		synctest.Wait()
		_, body := h.Server.Get("/?u=bob")
		require.Equal(t, "bob", body)
		ada.Close(1000, "")
		synctest.Wait()
		require.ElementsMatch(t, []string{"OnOpen", "OnMessage", "OnGossip", "Go", "OnClose"}, ran)
		requireNoRequest(t, t.Context(), "outside")
	})
}

func TestHTTP_ReplicasRequestToAnotherGroupHasItsOwnUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h *fixture.Rooms
		var inner dog.Stub[fixture.Room]
		h = fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Receive: func(_ *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/relay" {
					forwarded := httptest.NewRequestWithContext(req.Context(), http.MethodGet, "/", nil)
					inner.ServeHTTP(w, forwarded)
				}
				fmt.Fprint(w, dog.UID(req.Context()), ";")
			}},
		)
		var err error
		inner, err = h.Lobbies.Named("other").Identify(t.Context(), "agent")
		require.NoError(t, err)
		_, body := h.Server.Get("/relay?u=ada")
		require.Equal(t, "agent;ada;", body)
	})
}

func TestHTTP_HandlerSeesThatItsClientHasGoneAndContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan struct{})
		var ended error
		done := false
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				switch req.URL.Path {
				case "/ws":
					r.Connect(w, req, nil)
					return
				case "/":
					return
				}
				ctx := req.Context()
				close(begun)
				require.NoError(t, dog.Await(ctx, func() error { <-dog.ClientGone(ctx); return nil }))
				ended = ctx.Err()
				require.NoError(t, r.Broadcast("the poll has ended"))
				done = true
			}},
		)
		watcher := h.Enter("watcher")
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, dogtest.URL+"/poll", nil)
		require.NoError(t, err)
		left := make(chan error)
		go func() {
			_, err := h.Server.Client().Do(req)
			left <- err
		}()
		<-begun
		status, _ := h.Server.Get("/")
		require.Equal(t, http.StatusOK, status, "the poll has given up the turn")
		require.False(t, done)
		leave()
		require.ErrorIs(t, <-left, context.Canceled)
		synctest.Wait()
		require.True(t, done)
		require.NoError(t, ended)
		require.Equal(t, []string{"the poll has ended"}, fixture.Texts(watcher))
	})
}

// post writes the beginning of a request with a body of this length and returns
// the connection.
func post(t *testing.T, srv *dogtest.Server, path string, length int, begin string) net.Conn {
	t.Helper()
	network, err := srv.Client().Transport.(fixture.Dialer).DialContext(t.Context(), "", "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = network.Close() })
	_, err = fmt.Fprintf(
		network, "POST %s HTTP/1.1\r\nHost: dog.test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", path,
		length, begin,
	)
	require.NoError(t, err)
	synctest.Wait()
	return network
}

// repeat is a Receive that answers with the body it got.
func repeat(_ *fixture.Room, w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	fmt.Fprintf(w, "%d:%s", req.ContentLength, body)
}

func TestHTTP_SlowShortBodyKeepsNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 3, &fixture.Hooks{Receive: repeat})
		slow := post(t, h.Server, "/", 5, "he")
		other := fixture.GetInBackground(h.Server, "/")
		synctest.Wait()
		require.Len(t, other, 1, "another request waits for the slow one")
		require.Equal(t, http.StatusOK, <-other)
		require.Equal(t, []int{1}, h.Loads(), "the slow one is on the same replica")

		_, err := slow.Write([]byte("llo"))
		require.NoError(t, err)
		late, err := http.ReadResponse(bufio.NewReader(slow), nil)
		require.NoError(t, err)
		whole, err := io.ReadAll(late.Body)
		require.NoError(t, err)
		require.Equal(t, "5:hello", string(whole))
		require.NoError(t, slow.Close())
		fixture.RequireEmpty(t, h.Runtime)
	})
}

func TestHTTP_TruncatedBodyIsABadRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		h := fixture.NewRooms(
			t, 3, &fixture.Hooks{Receive: func(*fixture.Room, http.ResponseWriter, *http.Request) { calls++ }},
		)
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("half"))
		req.ContentLength = 8
		w := httptest.NewRecorder()
		stub.ServeHTTP(w, req)
		require.Equal(t, http.StatusBadRequest, w.Code)

		require.NoError(t, post(t, h.Server, "/", 8, "half").Close()) // and one whose client is gone
		fixture.RequireEmpty(t, h.Runtime)
		require.Zero(t, calls)
	})
}

func TestHTTP_ReceiveReadsTheBodyThatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 3, &fixture.Hooks{Receive: repeat})
		for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 200_000} {
			sent := strings.Repeat("x", size)
			for _, known := range []bool{true, false} {
				length, body := size, io.Reader(strings.NewReader(sent))
				if !known {
					length, body = -1, io.MultiReader(body)
				}
				if size == 0 && !known {
					continue // net/http finds out and sends 0
				}
				answer, err := h.Server.Client().Post(dogtest.URL, "text/plain", body)
				require.NoError(t, err)
				got, err := io.ReadAll(answer.Body)
				require.NoError(t, err)
				require.NoError(t, answer.Body.Close())
				require.Equal(t, http.StatusOK, answer.StatusCode)
				require.True(
					t, bytes.Equal(fmt.Appendf(nil, "%d:%s", length, sent), got), "%d bytes, length known: %v",
					size, known,
				)
			}
		}
	})
}

func TestHTTP_CallersRequestIsNotModified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 3, &fixture.Hooks{Receive: repeat})
		stub, err := h.Identify(t.Context(), "ada")
		require.NoError(t, err)
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("hello"))
		body := req.Body
		w := httptest.NewRecorder()
		stub.ServeHTTP(w, req)
		require.Equal(t, "5:hello", w.Body.String())
		require.Equal(t, body, req.Body)
	})
}
