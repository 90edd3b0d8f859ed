package http_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestRoundTrip_ServesAnHTTPClient(t *testing.T) {
	_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		w.Header().Set("X-Seen", r.Header.Get("X-Sent"))
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintf(w, "%s %s %s %s %q %d", r.Method, r.Host, r.RequestURI, r.URL, body, r.ContentLength)
		w.Header().Set("X-Sum", "7")
	})
	r, err := http.NewRequest(http.MethodPost, "http://target/a%2Fb?c=d", strings.NewReader("hello"))
	require.NoError(t, err)
	r.Header.Set("X-Sent", "x")
	response, err := (&http.Client{Transport: targets.Named("a")}).Do(r)
	require.NoError(t, err)
	require.Equal(t, "202 Accepted", response.Status)
	require.Equal(t, "x", response.Header.Get("X-Seen"))
	require.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
	want := `POST target /a%2Fb?c=d /a%2Fb?c=d "hello" 5`
	require.EqualValues(t, len(want), response.ContentLength)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, want, string(text))
	require.Equal(t, http.Header{"X-Sum": {"7"}}, response.Trailer)
	require.NoError(t, response.Body.Close())
	_, err = response.Body.Read(make([]byte, 1))
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)

	response, err = (&http.Client{Transport: targets.Named("a")}).Head("http://target/")
	require.NoError(t, err)
	text, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Empty(t, text)
	require.NoError(t, response.Body.Close())
}

func TestRoundTrip_StreamsTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, r *http.Request) {
			for i := range 3 {
				_, _ = fmt.Fprint(w, i)
				_ = http.NewResponseController(w).Flush()
				_ = fixture.Idle(r.Context(), time.Second)
			}
		})
		began := time.Now()
		response, err := send(context.Background(), targets.Named("a"), http.MethodGet, "/", "")
		require.NoError(t, err)
		require.EqualValues(t, -1, response.ContentLength)
		for i := range 3 {
			buf := make([]byte, 9)
			n, err := response.Body.Read(buf)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), string(buf[:n]))
			require.Equal(t, time.Duration(i)*time.Second, time.Since(began))
		}
		_, err = response.Body.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
}

func TestRoundTrip_GivesUpTheCallersTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, targets := newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
			_ = fixture.Idle(r.Context(), time.Second)
			_, _ = io.WriteString(w, d.Name())
		})
		ada, bob := targets.Named("ada"), targets.Named("bob")
		var between atomic.Bool
		require.NoError(
			t,
			dog.CallErr(context.Background(), ada, (*target).Run, func(ctx context.Context, _ *target) error {
				require.NoError(t, dog.Go(ctx, func(context.Context) error { between.Store(true); return nil }))
				for _, to := range []dog.Stub[target]{bob, ada} {
					_, text, err := fetch(ctx, to, http.MethodGet, "/", "")
					require.NoError(t, err)
					require.Equal(t, to.Name(), text)
				}
				require.True(t, between.Load())
				return dog.BlockConcurrencyWhile(ctx, func(ctx context.Context) error {
					status, _, err := fetch(ctx, ada, http.MethodGet, "/", "")
					require.Equal(t, http.StatusInternalServerError, status, "it would wait for itself")
					return err
				})
			}),
		)
	})
}

func TestRoundTrip_RequestAndResponseWaitForTheGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		var asked atomic.Bool
		_, targets := newTargets(
			t, dog.Options{Store: fixture.StoreOf(engine)},
			func(d *target, w http.ResponseWriter, _ *http.Request) {
				asked.Store(true)
				require.NoError(t, d.Storage().Put("key", nil))
				_, _ = io.WriteString(w, "stored")
			},
		)
		engine.Flush()
		t.Cleanup(engine.Prompt)
		answer := make(chan string, 1)
		go func() {
			_ = dog.CallErr(
				context.Background(), targets.Named("ada"), (*target).Run,
				func(ctx context.Context, d *target) error {
					if err := d.Storage().Put("key", nil); err != nil {
						return err
					}
					_, text, err := fetch(ctx, targets.Named("bob"), http.MethodGet, "/", "")
					answer <- text
					return err
				},
			)
		}()
		synctest.Wait()
		require.False(t, asked.Load())
		engine.Flush()
		synctest.Wait()
		require.True(t, asked.Load())
		require.Empty(t, answer)
		engine.Flush()
		require.Equal(t, "stored", <-answer)
	})
}

func TestRoundTrip_FailureIsARefusalOrAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := dog.Options{MaxWaiting: 1}
		rt, targets := newTargets(t, options, func(d *target, w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/panic":
				panic("as planned")
			case "/abort":
				panic(http.ErrAbortHandler)
			case "/half":
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
				d.Abort(io.ErrNoProgress)
			case "/slow":
				time.Sleep(time.Second)
			}
		})
		ada := targets.Named("ada")
		status, _, err := fetch(context.Background(), ada, http.MethodGet, "/panic", "")
		require.NoError(t, err)
		require.Equal(t, http.StatusInternalServerError, status)
		_, _, err = fetch(context.Background(), ada, http.MethodGet, "/abort", "")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		status, text, err := fetch(context.Background(), ada, http.MethodGet, "/half", "")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "half", text)

		var all sync.WaitGroup
		var refused atomic.Int32
		for range 3 {
			all.Go(func() {
				status, _, err := fetch(context.Background(), ada, http.MethodGet, "/slow", "")
				require.NoError(t, err)
				if status == http.StatusServiceUnavailable {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, refused.Load())

		closed := &closer{Reader: strings.NewReader("never sent")}
		r, err := http.NewRequest(http.MethodPost, "http://target/", closed)
		require.NoError(t, err)
		_, err = dog.Stub[target]{}.RoundTrip(r)
		fixture.RequireUsage(t, err, "not made by a runtime")
		require.True(t, closed.closed.Load())

		require.NoError(
			t,
			dog.CallErr(context.Background(), ada, (*target).Run, func(ctx context.Context, d *target) error {
				return d.Storage().Transaction(func() error {
					_, _, err := fetch(ctx, targets.Named("bob"), http.MethodGet, "/", "")
					require.ErrorIs(t, err, dog.ErrInTransaction)
					return nil
				})
			}),
		)
		require.NoError(t, rt.Shutdown(context.Background()))
		status, _, err = fetch(context.Background(), ada, http.MethodGet, "/", "")
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, status)
	})
}

// closer is a body that knows that it has been closed.
type closer struct {
	io.Reader
	closed atomic.Bool
}

func (c *closer) Close() error { c.closed.Store(true); return nil }

func TestRoundTrip_HandlerSeesThatItsClientHasGone(t *testing.T) {
	for name, leave := range map[string]func(cancel context.CancelFunc, body io.Closer){
		"by its context":       func(cancel context.CancelFunc, _ io.Closer) { cancel() },
		"by closing the body":  func(_ context.CancelFunc, body io.Closer) { _ = body.Close() },
		"by its time-out":      func(context.CancelFunc, io.Closer) { time.Sleep(time.Minute) },
		"and has read nothing": func(context.CancelFunc, io.Closer) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gone := make(chan error, 1)
				_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, "a beginning")
					_ = http.NewResponseController(w).Flush()
					gone <- dog.Await(r.Context(), func() error {
						select {
						case <-dog.ClientGone(r.Context()):
							return io.ErrClosedPipe
						case <-time.After(time.Hour):
							return nil
						}
					})
				})
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if name == "and has read nothing" {
					ctx = context.Background()
				}
				response, err := send(
					ctx, targets.Named("ada"), http.MethodGet, "/", "",
				) //nolint:bodyclose // the test is about that
				require.NoError(t, err)
				leave(cancel, response.Body)
				if name == "and has read nothing" {
					require.NoError(t, <-gone)
					return
				}
				require.ErrorIs(t, <-gone, io.ErrClosedPipe)
				_, err = io.ReadAll(response.Body)
				require.Error(t, err)
			})
		})
	}
}

func TestRoundTrip_LongResponseWaitsForItsReader(t *testing.T) {
	const size, chunk = 8 << 20, 64 << 10
	for _, read := range []string{"all", "nothing", "closed"} {
		t.Run(read, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var written atomic.Int64
				result := make(chan error, 1)
				_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, r *http.Request) {
					result <- dog.Await(r.Context(), func() error {
						for range size / chunk {
							n, err := w.Write(make([]byte, chunk))
							if err != nil {
								return err
							}
							written.Add(int64(n))
						}
						return nil
					})
				})
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				response, err := send(ctx, targets.Named("ada"), http.MethodGet, "/", "")
				require.NoError(t, err)
				synctest.Wait()
				require.Less(t, written.Load(), int64(4<<20), "memory is bounded")
				switch read {
				case "all":
					n, err := io.Copy(io.Discard, response.Body)
					require.NoError(t, err)
					require.EqualValues(t, size, n)
					require.NoError(t, <-result)
				case "nothing":
					require.ErrorIs(t, <-result, context.DeadlineExceeded)
				case "closed":
					require.NoError(t, response.Body.Close())
					require.Error(t, <-result)
				}
				_ = response.Body.Close()
			})
		})
	}
}

func TestRoundTrip_WaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, targets := newTargets(t, dog.Options{}, func(_ *target, _ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			require.Error(t, err)
			time.Sleep(time.Hour) // keeps the turn
		})
		reader, writer := io.Pipe()
		var all sync.WaitGroup
		for range 2 { // one has the turn and reads a body that does not come, one waits for the turn
			all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				began := time.Now()
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://target/", reader)
				require.NoError(t, err)
				_, err = targets.Named("ada").RoundTrip(r) //nolint:bodyclose // there is no response
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, time.Second, time.Since(began))
			})
		}
		all.Wait()
		_, err := writer.Write([]byte("x"))
		require.ErrorIs(t, err, io.ErrClosedPipe, "the body has been closed")
		time.Sleep(2 * time.Hour)
	})
}

func TestRoundTrip_RefusesSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 2, &fixture.Hooks{})
		stub, err := h.Identify(context.Background(), "ada")
		require.NoError(t, err)
		r, err := http.NewRequest(http.MethodGet, "http://room/ws", nil)
		require.NoError(t, err)
		for key, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket",
			"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		} {
			r.Header.Set(key, value)
		}
		response, err := stub.RoundTrip(r)
		require.NoError(t, err)
		require.GreaterOrEqual(t, response.StatusCode, 500)
		require.NoError(t, response.Body.Close())
		synctest.Wait()
		require.Equal(t, []int{0}, h.Loads(), "the place is free again")

		status, text, err := fetch(context.Background(), stub, http.MethodGet, "/plain", "")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "/plain", text)
	})
}

// A body that is read after the handler that fetched it has returned does not
// use its context.
func TestRoundTrip_BodyOutlivesTheHandlerThatFetchedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, r *http.Request) {
			for range 3 {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				_ = fixture.Idle(r.Context(), time.Second)
			}
		})
		var body io.ReadCloser
		require.NoError(
			t,
			dog.CallErr(
				context.Background(), targets.Named("ada"), (*target).Run,
				func(ctx context.Context, _ *target) error {
					response, err := send(ctx, targets.Named("bob"), http.MethodGet, "/", "")
					if err == nil {
						body = response.Body
					}
					return err
				},
			),
		)
		text, err := io.ReadAll(body)
		require.NoError(t, errors.Join(err, body.Close()))
		require.Equal(t, "xxx", string(text))
	})
}
