package call_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// A link is one of the objects through which a call goes.
type link struct {
	dog.Object
	receive func(ctx context.Context) error
}

func (l *link) Run(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

func (l *link) Receive(_ http.ResponseWriter, r *http.Request) error { return l.receive(r.Context()) }

// chain is a call from outside, or a request, through three objects, of which
// the last one waits for an hour.
type chain struct {
	rt    *dog.Runtime
	links *dog.Namespace[link]
	leave context.CancelCauseFunc // ends the context of the outer caller

	// how the links call each other
	pass func(ctx context.Context, call func(context.Context) error) error
	// what the last one also waits for
	signal func(context.Context) <-chan struct{}

	began    time.Time
	ends     chan ending
	returned chan error // what the outer caller gets, or the handler of the request returns
}

// An ending is the end of a link's handler, or that of its context if it comes
// first.
type ending struct {
	name  string
	after time.Duration
	cause error // of the context; nil: the handler has returned
}

const (
	soon = time.Minute // when the outer cause comes
	late = time.Hour   // when the last handler returns by itself
)

// down returns the handler of the first of some links.
func (c *chain) down(names ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		note := func() { c.ends <- ending{names[0], time.Since(c.began), context.Cause(ctx)} }
		stop := context.AfterFunc(ctx, note)
		defer func() {
			if stop() { // the context has not ended
				note()
			}
		}()
		if len(names) > 1 {
			return c.pass(ctx, func(ctx context.Context) error {
				return dog.CallErr(ctx, c.links.Named(names[1]), (*link).Run, c.down(names[1:]...))
			})
		}
		return dog.Await(ctx, func() error {
			select {
			case <-c.signal(ctx):
				return context.Cause(ctx)
			case <-time.After(late):
				return nil
			}
		})
	}
}

const withOwnContext = "a call with a context that the handler has derived"

// passes are the ways in which a handler can call another object.
var passes = map[string]func(ctx context.Context, call func(context.Context) error) error{
	"a call": func(ctx context.Context, call func(context.Context) error) error { return call(ctx) },
	"a call in Await": func(ctx context.Context, call func(context.Context) error) error {
		return dog.Await(ctx, func() error { return call(ctx) })
	},
	withOwnContext: func(ctx context.Context, call func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, 2*late)
		defer cancel()
		return call(ctx)
	},
	"a call in a goroutine": func(ctx context.Context, call func(context.Context) error) error {
		return dog.Await(ctx, func() error {
			result := make(chan error, 1)
			go func() { result <- call(ctx) }()
			return <-result
		})
	},
}

var errPlanned = errors.New("as planned")

// What ends a call at its outer end reaches all objects behind, or none, as
// documented for Call. The caller gets the cause.
func TestCall_OuterCauseReachesAllObjectsBehindIt(t *testing.T) {
	reset := func(name string) func(*testing.T, *chain) {
		return func(t *testing.T, c *chain) { require.NoError(t, c.links.Named(name).Abort(errPlanned)) }
	}
	type outer struct {
		name string

		// The first object has it from a client, not from a caller.
		request bool

		// What the last handler also waits for; nil: the end of its context.
		signal func(context.Context) <-chan struct{}

		// The way of the calls; nil: all of passes.
		pass func(ctx context.Context, call func(context.Context) error) error

		end func(*testing.T, *chain)

		ends    [3]time.Duration // of the handlers or their contexts, in the order of the objects
		derived [3]time.Duration // that, if each calls with a context of its own; zero: the same
		errs    []error          // that the caller gets; none: the call succeeds
		last    error            // cause of the end of the last context; nil: its handler has returned
	}
	for _, row := range []outer{
		{
			name: "the caller's context is done",
			end:  func(_ *testing.T, c *chain) { c.leave(errPlanned) },
			ends: [3]time.Duration{soon, soon, soon}, errs: []error{errPlanned}, last: errPlanned,
		},
		{ // what works for it goes on, unless it has got a context that ends with the object
			name: "the first object is reset", end: reset("ada"),
			ends: [3]time.Duration{soon, late, late}, derived: [3]time.Duration{soon, soon, soon},
			errs: []error{dog.ErrReset, errPlanned},
		},
		{
			name: "the middle object is reset", end: reset("bob"),
			ends: [3]time.Duration{late, soon, late}, derived: [3]time.Duration{soon, soon, soon},
			errs: []error{dog.ErrReset, errPlanned},
		},
		{
			name: "the last object is reset", end: reset("cyd"),
			ends: [3]time.Duration{soon, soon, soon}, errs: []error{dog.ErrReset, errPlanned}, last: errPlanned,
		},
		{
			name: "Shutdown begins", end: shutDown,
			ends: [3]time.Duration{late, late, late},
		},
		{
			name: "Shutdown begins and the last handler watches for it", end: shutDown, signal: dog.Stopping,
			ends: [3]time.Duration{soon, soon, soon},
		},
		{
			name: "Shutdown loses patience",
			end: func(t *testing.T, c *chain) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				require.ErrorIs(t, c.rt.Shutdown(ctx), context.Canceled)
			},
			ends: [3]time.Duration{soon, soon, soon}, errs: []error{dog.ErrShutdown}, last: dog.ErrShutdown,
		},
		{
			name: "the client is gone", request: true,
			end:  func(_ *testing.T, c *chain) { c.leave(errPlanned) },
			ends: [3]time.Duration{late, late, late},
		},
		{
			name: "the client is gone and the first handler watches for it", request: true, pass: whileClient,
			end:  func(_ *testing.T, c *chain) { c.leave(errPlanned) },
			ends: [3]time.Duration{soon, soon, soon}, errs: []error{errPlanned}, last: errPlanned,
		},
	} {
		ways := passes
		if row.pass != nil {
			ways = map[string]func(context.Context, func(context.Context) error) error{"a call": row.pass}
		}
		for how, pass := range ways {
			wanted := row.ends
			if how == withOwnContext && row.derived != [3]time.Duration{} {
				wanted = row.derived
			}
			t.Run(row.name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newChain(t)
					c.pass = pass
					if c.signal = row.signal; c.signal == nil {
						c.signal = context.Context.Done
					}
					c.begin(t, row.request)
					time.Sleep(soon)
					row.end(t, c)
					err := <-c.returned
					require.Equal(t, slices.Max(wanted[:]), time.Since(c.began))
					if len(row.errs) == 0 {
						require.NoError(t, err)
					}
					for _, want := range row.errs {
						require.ErrorIs(t, err, want)
					}
					ends := make(map[string]ending)
					for range 3 {
						e := <-c.ends
						ends[e.name] = e
					}
					for i, name := range []string{"ada", "bob", "cyd"} {
						require.Equal(t, wanted[i], ends[name].after, name)
					}
					if row.last != nil {
						require.ErrorIs(t, ends["cyd"].cause, row.last)
					}
				})
			})
		}
	}
}

// shutDown shuts the runtime down in its own time.
func shutDown(t *testing.T, c *chain) {
	go func() { require.NoError(t, c.rt.Shutdown(context.Background())) }()
}

// whileClient calls as long as the client of the request is there.
func whileClient(ctx context.Context, call func(context.Context) error) error {
	calling, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if gone := dog.ClientGone(ctx); gone != nil {
		go func() {
			select {
			case <-gone:
				cancel(errPlanned)
			case <-calling.Done():
			}
		}()
	}
	return call(calling)
}

func newChain(t *testing.T) *chain {
	c := &chain{
		rt: dogtest.New(t, dog.Options{}), began: time.Now(),
		ends: make(chan ending, 3), returned: make(chan error, 1),
	}
	var err error
	c.links, err = dog.RegisterObject(c.rt, "link", &dog.ObjectOptions[link]{
		New: func() *link {
			return &link{receive: func(ctx context.Context) error {
				err := c.down("ada", "bob", "cyd")(ctx)
				c.returned <- err
				return err
			}}
		},
	})
	require.NoError(t, err)
	return c
}

// begin begins the call.
func (c *chain) begin(t *testing.T, request bool) {
	ctx, leave := context.WithCancelCause(t.Context())
	c.leave = leave
	t.Cleanup(func() { leave(nil) })
	go func() {
		if request {
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
			c.links.Named("ada").ServeHTTP(httptest.NewRecorder(), r)
			return
		}
		c.returned <- dog.CallErr(ctx, c.links.Named("ada"), (*link).Run, c.down("ada", "bob", "cyd"))
	}()
}
