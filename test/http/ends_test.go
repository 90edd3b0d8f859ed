package http_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// forward hands a request on to another object, as handlers do.
type forward struct {
	name string
	do   func(to dog.Stub[target], targets *dog.Namespace[target], w http.ResponseWriter, r *http.Request) error
}

func forwards() []forward {
	relay := func(response *http.Response, err error, ctx context.Context, w http.ResponseWriter) error {
		if err != nil {
			return err
		}
		return dog.Await(ctx, func() error {
			_, err := io.Copy(w, response.Body)
			return errors.Join(err, response.Body.Close())
		})
	}
	return []forward{
		{
			"ServeHTTP",
			func(to dog.Stub[target], _ *dog.Namespace[target], w http.ResponseWriter, r *http.Request) error {
				to.ServeHTTP(w, r)
				return nil
			},
		},
		{
			"ServeHTTP in Await",
			func(to dog.Stub[target], _ *dog.Namespace[target], w http.ResponseWriter, r *http.Request) error {
				return dog.Await(r.Context(), func() error { to.ServeHTTP(w, r); return nil })
			},
		},
		{
			"RoundTrip of the request",
			func(to dog.Stub[target], _ *dog.Namespace[target], w http.ResponseWriter, r *http.Request) error {
				response, err := to.RoundTrip(r)
				return relay(response, err, r.Context(), w)
			},
		},
		{
			"RoundTrip of a copy",
			func(to dog.Stub[target], _ *dog.Namespace[target], w http.ResponseWriter, r *http.Request) error {
				ctx, cancel := context.WithTimeout(r.Context(), 2*time.Hour)
				defer cancel()
				response, err := to.RoundTrip(r.WithContext(ctx))
				return relay(response, err, ctx, w)
			},
		},
		{
			"a client's request",
			func(to dog.Stub[target], _ *dog.Namespace[target], w http.ResponseWriter, r *http.Request) error {
				response, err := send(r.Context(), to, http.MethodGet, r.URL.Path, "")
				return relay(response, err, r.Context(), w)
			},
		},
		{"a proxy", func(to dog.Stub[target], _ *dog.Namespace[target], w http.ResponseWriter, r *http.Request) error {
			proxy := &httputil.ReverseProxy{
				Rewrite:   func(p *httputil.ProxyRequest) { p.Out.URL.Scheme = "http" },
				Transport: to,
			}
			return dog.Await(r.Context(), func() error { proxy.ServeHTTP(w, r); return nil })
		}},
		{
			"a call that sends one",
			func(to dog.Stub[target], targets *dog.Namespace[target], w http.ResponseWriter, r *http.Request) error {
				return dog.CallErr(
					r.Context(), targets.Named("between "+to.Name()), (*target).Run,
					func(ctx context.Context, _ *target) error {
						response, err := send(ctx, to, http.MethodGet, r.URL.Path, "")
						return relay(response, err, ctx, w)
					},
				)
			},
		},
	}
}

// late is the cause for which the middle object is responsible: a deadline that
// it gives to what it asks of the last.
const late = "the time of the middle object is over"

func TestHTTP_CauseOfTheOuterContextReachesAllObjects(t *testing.T) {
	const minute = time.Minute
	cut := context.Context.Done
	for _, f := range forwards() {
		for name, c := range map[string]struct {
			ended func(ctx context.Context) <-chan struct{} // by the last handler
			end   func(t *testing.T, rt *dog.Runtime, front dog.Stub[target], leave func())
		}{
			"the client leaves": {
				dog.ClientGone, func(_ *testing.T, _ *dog.Runtime, _ dog.Stub[target], leave func()) { leave() },
			},
			"the first object is reset": {
				dog.ClientGone, func(t *testing.T, _ *dog.Runtime, front dog.Stub[target], _ func()) {
					planned := errors.New("as planned")
					abort := func(_ context.Context, d *target) error { d.Abort(planned); return nil }
					require.ErrorIs(t, dog.CallErr(context.Background(), front, (*target).Run, abort), planned)
				},
			},
			"Shutdown begins": {dog.ClientGone, func(t *testing.T, rt *dog.Runtime, _ dog.Stub[target], _ func()) {
				require.NoError(t, rt.Shutdown(context.Background()))
			}},
			"Shutdown loses patience": {cut, func(t *testing.T, rt *dog.Runtime, _ dog.Stub[target], _ func()) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				require.ErrorIs(t, rt.Shutdown(ctx), context.Canceled)
			}},
			late: {dog.ClientGone, func(*testing.T, *dog.Runtime, dog.Stub[target], func()) {}},
		} {
			if f.name == "a call that sends one" && name == "the first object is reset" {
				continue // the callee goes on, and so does who works for it
			}
			t.Run(f.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					next := map[string]string{"front": "middle", "middle": "back"}
					elapsed := make(chan time.Duration, 1)
					began := time.Now()
					var targets *dog.Namespace[target]
					serve := func(d *target, w http.ResponseWriter, r *http.Request) {
						if name == late && d.Name() == "middle" {
							ctx, cancel := context.WithTimeout(r.Context(), minute)
							defer cancel()
							r = r.WithContext(ctx)
						}
						if to, ok := next[d.Name()]; ok {
							_ = f.do(targets.Named(to), targets, w, r)
							return
						}
						_ = dog.Await(r.Context(), func() error {
							select {
							case <-c.ended(r.Context()):
							case <-time.After(time.Hour):
							}
							return nil
						})
						elapsed <- time.Since(began)
					}
					rt, targets := newTargets(t, dog.Options{}, serve)
					ctx, leave := context.WithCancel(context.Background())
					defer leave()
					r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
					served := make(chan struct{})
					go func() {
						defer close(served)
						defer func() { _ = recover() }() // an answer that is broken off
						targets.Named("front").ServeHTTP(httptest.NewRecorder(), r)
					}()
					time.Sleep(minute)
					c.end(t, rt, targets.Named("front"), leave)
					require.Equal(t, minute, <-elapsed)
					<-served
				})
			})
		}
	}
}

// The client of a request is also gone once the event that made it is over,
// however many objects lie between.
func TestHTTP_EndOfTheFirstEventReachesAllObjects(t *testing.T) {
	for _, f := range forwards() {
		if f.name == "a call that sends one" {
			continue // the event that sends the request is the call's, which goes on
		}
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := map[string]string{"first": "second", "second": "third"}
				elapsed := make(chan time.Duration, 1)
				began := time.Now()
				var targets *dog.Namespace[target]
				_, targets = newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
					_ = http.NewResponseController(w).Flush() // the answer begins
					if to, ok := next[d.Name()]; ok {
						_ = f.do(targets.Named(to), targets, w, r)
						return
					}
					_ = dog.Await(r.Context(), func() error {
						select {
						case <-dog.ClientGone(r.Context()):
						case <-time.After(time.Hour):
						}
						return nil
					})
					elapsed <- time.Since(began)
				})
				var body io.Closer
				require.NoError(t, dog.CallErr(
					t.Context(), targets.Named("caller"), (*target).Run,
					func(ctx context.Context, _ *target) error {
						response, err := send(ctx, targets.Named("first"), http.MethodGet, "/", "")
						if err != nil {
							return err
						}
						body = response.Body
						return fixture.Idle(ctx, time.Minute)
					},
				))
				require.Equal(t, time.Minute, <-elapsed)
				require.NoError(t, body.Close())
			})
		})
	}
}

// A request that a handler makes after its client has gone is served: the end
// of that client does not cancel it.
func TestHTTP_HandlerWithoutAClientMayStillCallOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets *dog.Namespace[target]
		result := make(chan string, 1)
		_, targets = newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
			if d.Name() == "back" {
				_ = fixture.Idle(r.Context(), time.Second)
				_, _ = io.WriteString(w, "noted")
				return
			}
			_ = dog.Await(r.Context(), func() error { <-dog.ClientGone(r.Context()); return nil })
			_, text, err := fetch(r.Context(), targets.Named("back"), http.MethodPost, "/", "she has left")
			result <- fmt.Sprint(text, err)
		})
		ctx, leave := context.WithCancel(context.Background())
		time.AfterFunc(time.Minute, leave)
		targets.Named("front").
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		require.Equal(t, "noted<nil>", <-result)
	})
}

func TestHTTP_EventStartedByAHandlerOutlivesItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets *dog.Namespace[target]
		gone := make(chan bool, 1)
		_, targets = newTargets(t, dog.Options{}, func(d *target, _ http.ResponseWriter, r *http.Request) {
			if d.Name() == "front" {
				require.NoError(t, dog.Go(r.Context(), func(ctx context.Context) error {
					_, _, err := fetch(ctx, targets.Named("back"), http.MethodGet, "/", "")
					return err
				}))
				return
			}
			_ = fixture.Idle(r.Context(), time.Minute)
			select {
			case <-dog.ClientGone(r.Context()):
				gone <- true
			default:
				gone <- false
			}
		})
		ctx, leave := context.WithCancel(context.Background())
		targets.Named("front").
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		leave()
		require.False(t, <-gone)
	})
}

func TestHTTP_RoundTripFailsOnAWrongContentLength(t *testing.T) {
	_, targets := newTargets(
		t, dog.Options{},
		func(_ *target, _ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
	)
	for _, length := range []int64{1, 99_999, 100_001} {
		r, err := http.NewRequest(http.MethodPost, "http://target/", io.NopCloser(text(100_000)()))
		require.NoError(t, err)
		r.ContentLength = length
		_, err = targets.Named("ada").RoundTrip(r) //nolint:bodyclose // there is no response
		require.ErrorContains(t, err, "the request's body")
	}
}
