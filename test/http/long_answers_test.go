package http_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// big writes an answer of which no more than a megabyte waits for its reader.
func big(w http.ResponseWriter, size int) (err error) {
	for written := 0; written < size && err == nil; written += 10_000 {
		_, err = w.Write(make([]byte, 10_000))
	}
	return err
}

// flushed is big with a flush after each piece.
func flushed(w http.ResponseWriter, size int) (err error) {
	for written := 0; written < size && err == nil; written += 10_000 {
		if _, err = w.Write(make([]byte, 10_000)); err == nil {
			err = http.NewResponseController(w).Flush()
		}
	}
	return err
}

func TestHTTP_UnreadResponseKeepsNoTurn(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(http.ResponseWriter, int) error
		size  int
		await bool
		front bool // the caller is a handler, which returns
		waits time.Duration
	}{
		{"a short one", big, 1000, false, false, 0},
		{"a short one of a handler", big, 1000, false, true, 0},
		{"a short one that is flushed", flushed, 1000, false, false, 0},
		{"a long one", big, 3 << 20, false, false, 10 * time.Second},
		{"a long one of a handler", big, 3 << 20, false, true, 0},
		{"a long one in Await", big, 3 << 20, true, false, 0},
		{"a long one in Await, of a handler", big, 3 << 20, true, true, 0},
		{"a long one that is flushed", flushed, 3 << 20, false, false, 10 * time.Second},
		{"a long one of a handler that is flushed", flushed, 3 << 20, false, true, 0},
		{"a long one that is flushed in Await", flushed, 3 << 20, true, false, 0},
		{"a long one that is flushed in Await, of a handler", flushed, 3 << 20, true, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var targets *dog.Namespace[target]
				wrote := make(chan error, 1)
				var left io.Reader
				rt, targets := newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
					switch {
					case d.Name() == "front":
						response, err := send(
							r.Context(), targets.Named("back"), http.MethodGet, "/big", "",
						) //nolint:bodyclose // on purpose
						require.NoError(t, err)
						left = response.Body
						w.WriteHeader(response.StatusCode)
					case r.URL.Path == "/big" && c.await:
						wrote <- dog.Await(r.Context(), func() error { return c.write(w, c.size) })
					case r.URL.Path == "/big":
						wrote <- c.write(w, c.size)
					}
				})
				ctx, cancel := context.WithCancel(context.Background())
				if c.front {
					w := httptest.NewRecorder()
					targets.Named("front").ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
					require.Equal(t, http.StatusOK, w.Code)
				} else {
					response, err := send(
						ctx, targets.Named("back"), http.MethodGet, "/big", "",
					) //nolint:bodyclose // on purpose
					require.NoError(t, err)
					left = response.Body
				}
				began := time.Now()
				status, _, err := fetch(context.Background(), targets.Named("back"), http.MethodGet, "/small", "")
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, c.waits, time.Since(began))
				switch {
				case c.size == 1000:
					require.NoError(t, <-wrote)
					data, err := io.ReadAll(left)
					require.NoError(t, err)
					require.Len(t, data, 10_000)
				case c.front || !c.await:
					require.Error(t, <-wrote)
					_, err := io.Copy(io.Discard, left)
					require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a part does not look whole")
				default:
					require.Empty(t, wrote, "it goes on waiting")
				}
				cancel()
				require.NoError(t, rt.Shutdown(context.Background()))
			})
		})
	}
}

func TestHTTP_LongResponseIsAbortedForAClientThatDoesNotRead(t *testing.T) {
	hints := func(w http.ResponseWriter) error {
		for range 200 {
			w.Header().Set("Link", strings.Repeat("x", 10_000))
			w.WriteHeader(http.StatusEarlyHints)
		}
		_, err := io.WriteString(w, "hello")
		return err
	}
	hijack := func(w http.ResponseWriter) error {
		_, _, err := http.NewResponseController(w).Hijack()
		return err
	}
	for name, write := range map[string]func(w http.ResponseWriter, r *http.Request) error{
		"by its length":         func(w http.ResponseWriter, _ *http.Request) error { return big(w, 20<<20) },
		"by flushes":            func(w http.ResponseWriter, _ *http.Request) error { return flushed(w, 20<<20) },
		"by informational ones": func(w http.ResponseWriter, _ *http.Request) error { return hints(w) },
		"by a flush of all": func(w http.ResponseWriter, _ *http.Request) error {
			return errors.Join(big(w, 900_000), flushed(w, 1))
		},
		"before a Hijack": func(w http.ResponseWriter, _ *http.Request) error {
			return errors.Join(big(w, 900_000), hijack(w))
		},
		"and what comes after": func(w http.ResponseWriter, _ *http.Request) error {
			_ = flushed(w, 20<<20)
			return flushed(w, 1)
		},
		"and a Hijack after": func(w http.ResponseWriter, _ *http.Request) error {
			_ = flushed(w, 20<<20)
			return hijack(w)
		},
		"and in Await after": func(w http.ResponseWriter, r *http.Request) error {
			_ = flushed(w, 20<<20)
			return dog.Await(r.Context(), func() error { return http.NewResponseController(w).Flush() })
		},
		"after one that was slow": func(w http.ResponseWriter, r *http.Request) error {
			_ = dog.Await(r.Context(), func() error { time.Sleep(time.Minute); return nil }) // counts for nothing
			return flushed(w, 20<<20)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wrote := make(chan error, 1)
				_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost {
						wrote <- write(w, r)
					}
				})
				srv := dogtest.Serve(t, targets.Named("ada"))
				client := post(t, srv, "/", 1, "x")
				if strings.HasPrefix(name, "after") {
					time.Sleep(time.Minute)
				}
				began := time.Now()
				status, _ := srv.Get("/")
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, 10*time.Second, time.Since(began))
				require.ErrorIs(t, <-wrote, dog.ErrSlowConsumer)
				n, err := io.Copy(io.Discard, client)
				require.Less(t, n, int64(20<<20))
				require.NoError(t, err, "the connection has ended")
				synctest.Wait()
			})
		})
	}
}

func TestHTTP_SlowClientGetsALongResponseWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, _ *http.Request) {
			require.NoError(t, big(w, 20_000_000))
		})
		for _, client := range []http.RoundTripper{
			targets.Named("ada"), dogtest.Serve(t, targets.Named("bob")).Client().Transport,
		} {
			response, err := send(context.Background(), client, http.MethodGet, "/", "")
			require.NoError(t, err)
			n, err := io.Copy(io.Discard, response.Body)
			require.NoError(t, err)
			require.EqualValues(t, 20_000_000, n)
			require.NoError(t, response.Body.Close())
		}
	})
}
