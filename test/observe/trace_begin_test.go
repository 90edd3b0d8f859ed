package observe_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// pathKey is the key of what a [pathTrace] puts into contexts.
type pathKey struct{}

func pathOf(ctx context.Context) string {
	path, _ := ctx.Value(pathKey{}).(string)
	return path
}

// A pathTrace gives each handler a path: that of its caller, and its own name.
// It notes each beginning with the object that waits for it.
type pathTrace struct {
	mu     sync.Mutex
	begun  []string // guarded by mu
	failed error    // guarded by mu
}

func nameOf(e *dog.EventInfo) string {
	return fmt.Sprint(cmp.Or(e.Object.Name, e.Object.Namespace), ".", e.Kind)
}

func (p *pathTrace) begin(ctx context.Context, e dog.EventInfo) context.Context {
	path := pathOf(ctx) + "/" + nameOf(&e)
	note := path
	if from := e.From; from != (dog.ObjectInfo{}) {
		note += " from " + cmp.Or(from.Name, from.Namespace)
	}
	if e.Starter != nil {
		note += " started in " + pathOf(e.Starter)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun = append(p.begun, note)
	if e.Run != 0 || e.Err != nil || ctx.Done() != nil {
		p.failed = fmt.Errorf("%s has %v, %w, %v", note, e.Run, e.Err, ctx.Done())
	}
	return context.WithValue(ctx, pathKey{}, path)
}

func (p *pathTrace) done(ctx context.Context, e dog.EventInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if path := pathOf(ctx); len(path) < len(nameOf(&e)) || path[len(path)-len(nameOf(&e)):] != nameOf(&e) {
		p.failed = fmt.Errorf("the end of %s has the context of %q", nameOf(&e), path)
	}
}

func (p *pathTrace) trace() *dog.Trace { return &dog.Trace{EventBegin: p.begin, EventDone: p.done} }

// take returns the beginnings since the last call, once all goroutines are
// idle.
func (p *pathTrace) take(t *testing.T) []string {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.NoError(t, p.failed)
	begun := p.begun
	p.begun = nil
	return begun
}

// hop is an object that does what a request or a test asks for.
type hop struct {
	dog.Object
	receive func(h *hop, w http.ResponseWriter, r *http.Request) error
	alarm   func(ctx context.Context)
}

func (h *hop) Receive(w http.ResponseWriter, r *http.Request) error { return h.receive(h, w, r) }
func (h *hop) OnAlarm(ctx context.Context, _ dog.Alarm) error       { h.alarm(ctx); return nil }
func (h *hop) Do(ctx context.Context, f func(context.Context, *hop) error) error {
	return f(ctx, h)
}

func newHops(t *testing.T, options dog.Options, receive func(*hop, http.ResponseWriter, *http.Request) error,
	alarm func(context.Context),
) *dog.Namespace[hop] {
	t.Helper()
	rt := dogtest.New(t, options)
	hops, err := dog.RegisterObject(rt, "hop", &dog.ObjectOptions[hop]{
		New: func() *hop { return &hop{receive: receive, alarm: alarm} },
	})
	require.NoError(t, err)
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, dog.CallErr(t.Context(), hops.Named(name), (*hop).Do, do(nil)))
	}
	synctest.Wait()
	return hops
}

func serve(to dog.Stub[hop], r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	to.ServeHTTP(w, r)
	return w
}

// do is an argument of Do, with or without something to do.
func do(f func(ctx context.Context) error) func(context.Context, *hop) error {
	return func(ctx context.Context, _ *hop) error {
		if f == nil {
			return nil
		}
		return f(ctx)
	}
}

func TestTrace_EventBeginGivesContextToHandlersAndWhatTheyWaitFor(t *testing.T) {
	type key struct{}
	derive := map[string]func(ctx context.Context) (context.Context, context.CancelFunc){
		"its context": func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} },
		"a value": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithValue(ctx, key{}, 1), func() {}
		},
		"a deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Hour)
		},
	}
	for with, derive := range derive {
		t.Run("a call with "+with, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var p pathTrace
				hops := newHops(t, dog.Options{Trace: p.trace()}, nil, nil)
				p.take(t)
				call := func(ctx context.Context, name string, f func(context.Context) error) error {
					ctx, cancel := derive(ctx)
					defer cancel()
					return dog.CallErr(ctx, hops.Named(name), (*hop).Do, do(f))
				}
				ctx := context.WithValue(t.Context(), pathKey{}, "test")
				require.NoError(t, call(ctx, "a", func(ctx context.Context) error {
					require.Equal(t, "test/a.Call", pathOf(ctx))
					return call(ctx, "b", func(ctx context.Context) error {
						require.Equal(t, "test/a.Call/b.Call", pathOf(ctx))
						_, bounded := ctx.Deadline()
						require.Equal(t, with == "a deadline", bounded)
						_ = ctx.Done() // after which a context is another
						require.Equal(t, "test/a.Call/b.Call", pathOf(ctx))
						return errors.Join(call(ctx, "c", nil), call(ctx, "new", nil))
					})
				}))
				require.Equal(t, []string{
					"test/a.Call", "test/a.Call/b.Call from a", "test/a.Call/b.Call/c.Call from b",
					"test/a.Call/b.Call/new.OnStart from b", "test/a.Call/b.Call/new.Call from b",
				}, p.take(t))
			})
		})
	}
}

func TestTrace_EventBeginGetsTheContextOfRequests(t *testing.T) {
	for name, send := range map[string]func(to dog.Stub[hop], r *http.Request) error{
		"passed on": func(to dog.Stub[hop], r *http.Request) error {
			w := serve(to, r)
			if w.Code != http.StatusOK {
				return fmt.Errorf("status %d", w.Code)
			}
			return nil
		},
		"sent": func(to dog.Stub[hop], r *http.Request) error {
			r, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://b/", nil)
			if err != nil {
				return err
			}
			response, err := to.RoundTrip(r)
			if err != nil {
				return err
			}
			return response.Body.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var p pathTrace
				var hops *dog.Namespace[hop]
				hops = newHops(t, dog.Options{Trace: p.trace()},
					func(h *hop, _ http.ResponseWriter, r *http.Request) error {
						switch h.Name() {
						case "a":
							require.Equal(t, "ada", dog.UID(r.Context()))
							return send(hops.Named("b"), r)
						case "b":
							return send(hops.Named("c"), r)
						}
						require.Equal(t, "test/a.Receive/b.Receive/c.Receive", pathOf(r.Context()))
						return nil
					}, nil)
				p.take(t)
				ctx := context.WithValue(t.Context(), pathKey{}, "test")
				r := fixture.NewRequest("/").WithContext(ctx)
				require.Equal(t, http.StatusOK, serve(hops.Named("a").WithUID("ada"), r).Code)
				require.Equal(t, []string{
					"test/a.Receive", "test/a.Receive/b.Receive from a",
					"test/a.Receive/b.Receive/c.Receive from b",
				}, p.take(t))
			})
		})
	}
}

func TestTrace_EventBeginGetsTheContextOfGossip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pathTrace
		rt := dogtest.New(t, dog.Options{Trace: p.trace()})
		replicas, err := dog.RegisterReplica[gossiper](rt, "gossiper", nil)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "gossips", replicas, &dog.GroupOptions[gossips]{Limit: 1})
		require.NoError(t, err)
		group := groups.Named("main")
		one, err := group.Identify(t.Context(), "one")
		require.NoError(t, err)
		require.NoError(t, dog.CallErr0(t.Context(), one, (*gossiper).Ask)) // alone
		two, err := group.Identify(t.Context(), "two")
		require.NoError(t, err)
		require.NoError(t, dog.CallErr0(t.Context(), two, (*gossiper).Ask))
		p.take(t)
		require.NoError(t, dog.CallErr0(t.Context(), one, (*gossiper).Ask))
		require.Equal(t, []string{
			"/gossiper.Call", "/gossiper.Call/gossiper.OnGossip from gossiper",
		}, p.take(t))
		_, err = group.Gossip(context.WithValue(t.Context(), pathKey{}, "test"), nil)
		require.NoError(t, err)
		require.Equal(t, []string{"test/gossiper.OnGossip", "test/gossiper.OnGossip"}, p.take(t))
	})
}

type (
	gossips  struct{ dog.Group }
	gossiper struct{ dog.Replica }
)

func (g *gossiper) Ask(ctx context.Context) error {
	_, err := g.Gossip(ctx, nil)
	return err
}

func (g *gossiper) OnGossip(ctx context.Context, _ dog.Message) (any, error) { return pathOf(ctx), nil }

// An event for which no handler waits has no caller.
func TestTrace_EventBeginGetsTheContextInWhichGoWasCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pathTrace
		hops := newHops(t, dog.Options{Trace: p.trace()}, nil, func(ctx context.Context) {
			require.Equal(t, "/b.OnAlarm", pathOf(ctx))
		})
		p.take(t)
		ctx := context.WithValue(t.Context(), pathKey{}, "test")
		left := 3
		var again func(ctx context.Context) error
		again = func(ctx context.Context) error {
			if left--; left == 0 {
				return nil
			}
			return dog.Go(ctx, again)
		}
		require.NoError(t, dog.CallErr(ctx, hops.Named("a"), (*hop).Do, do(again)))
		require.Equal(t, []string{
			"test/a.Call", "test/a.Go started in test/a.Call", "test/a.Go started in test/a.Go",
		}, p.take(t), "a chain of them does not grow")

		require.NoError(t, dog.CallErr(ctx, hops.Named("b"), (*hop).Do, func(ctx context.Context, h *hop) error {
			h.After(time.Second, func(ctx context.Context) error {
				require.Equal(t, "/b.timer", pathOf(ctx))
				return nil
			})
			return h.Storage().Alarms().Set(time.Now().Add(time.Minute))
		}))
		time.Sleep(time.Hour)
		require.Equal(t, []string{"test/b.Call", "/b.timer", "/b.OnAlarm"}, p.take(t)[:3])
	})
}

// Only the values of its context count.
func TestTrace_EventBeginCannotChangeTheEndOfContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		begin := func(ctx context.Context, _ dog.EventInfo) context.Context {
			ctx, cancel := context.WithDeadline(context.WithValue(ctx, key{}, 1), time.Now().Add(-time.Hour))
			cancel()
			return ctx
		}
		hops := newHops(t, dog.Options{Trace: &dog.Trace{EventBegin: begin}}, nil, nil)
		require.NoError(t, dog.CallErr(t.Context(), hops.Named("a"), (*hop).Do, do(func(ctx context.Context) error {
			require.Equal(t, 1, ctx.Value(key{}))
			require.NoError(t, ctx.Err())
			require.NoError(t, context.Cause(ctx))
			_, limited := ctx.Deadline()
			require.False(t, limited)
			derived, cancel := context.WithCancel(ctx)
			defer cancel()
			require.NoError(t, derived.Err())
			return nil
		})))
		reason := errors.New("reason")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, reason)
		defer cancel()
		require.ErrorIs(t, dog.CallErr(ctx, hops.Named("a"), (*hop).Do, do(func(ctx context.Context) error {
			require.Equal(t, 1, ctx.Value(key{}))
			<-ctx.Done()
			require.Equal(t, 1, ctx.Value(key{}))
			require.Equal(t, context.DeadlineExceeded, context.Cause(ctx))
			return nil
		})), reason)
	})
}

// A hook that returns another context takes nothing away.
func TestTrace_EventBeginMayReturnAnyContext(t *testing.T) {
	type key struct{}
	for name, c := range map[string]struct {
		returns context.Context
		value   any
	}{
		"nil":         {nil, nil},
		"another one": {context.WithValue(context.Background(), key{}, 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done := make(chan any, 10)
				hops := newHops(t, dog.Options{Trace: &dog.Trace{
					EventBegin: func(context.Context, dog.EventInfo) context.Context { return c.returns },
					EventDone:  func(ctx context.Context, _ dog.EventInfo) { done <- ctx.Value(key{}) },
				}}, func(_ *hop, _ http.ResponseWriter, r *http.Request) error {
					require.Equal(t, "test", pathOf(r.Context()))
					require.Equal(t, "ada", dog.UID(r.Context()))
					require.Equal(t, c.value, r.Context().Value(key{}))
					return nil
				}, nil)
				r := fixture.NewRequest("/").WithContext(context.WithValue(t.Context(), pathKey{}, "test"))
				require.Equal(t, http.StatusOK, serve(hops.Named("a").WithUID("ada"), r).Code)
				require.Equal(t, c.value, <-done)
			})
		})
	}
}
