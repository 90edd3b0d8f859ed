package http_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"testing"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// same is a handler and how it is used.
type same struct {
	name  string
	serve func(note func(...any), w http.ResponseWriter, r *http.Request)
	// on the server's side; nil: nothing. Ways without a server leave such a
	// case out.
	wrap   func(http.Handler) http.Handler
	send   func(r *http.Request) // changes the request; nil: nothing
	method string
	body   func() io.Reader
	remote bool // the client has to be one from outside
	direct bool // a proxy cannot hand such a request on
}

// way is how a request gets to the handler.
type way struct {
	name   string
	server bool // there is a server to wrap
	start  func(t *testing.T, h http.HandlerFunc, wrap func(http.Handler) http.Handler) (http.RoundTripper, string)
}

func ways() []way {
	serve := func(t *testing.T, h http.Handler) (http.RoundTripper, string) {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		return srv.Client().Transport, srv.URL
	}
	single := func(t *testing.T, h http.HandlerFunc) dog.Stub[target] {
		_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, r *http.Request) { h(w, r) })
		return targets.Named("only")
	}
	chain := func(
		t *testing.T, h http.HandlerFunc, pass func(to dog.Stub[target], w http.ResponseWriter, r *http.Request),
	) dog.Stub[target] {
		var targets *dog.Namespace[target]
		next := map[string]string{"front": "middle", "middle": "back"}
		_, targets = newTargets(t, dog.Options{}, func(d *target, w http.ResponseWriter, r *http.Request) {
			if to, ok := next[d.Name()]; ok {
				pass(targets.Named(to), w, r)
				return
			}
			h(w, r)
		})
		return targets.Named("front")
	}
	proxy := func(to http.RoundTripper) *httputil.ReverseProxy {
		return &httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) {
				p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", "target", p.In.Host
			},
			Transport:     to,
			FlushInterval: -1,
		}
	}
	return []way{
		{
			"net/http",
			true,
			func(t *testing.T, h http.HandlerFunc, wrap func(http.Handler) http.Handler) (http.RoundTripper, string) {
				return serve(t, wrap(h))
			},
		},
		{
			"ServeHTTP",
			true,
			func(t *testing.T, h http.HandlerFunc, wrap func(http.Handler) http.Handler) (http.RoundTripper, string) {
				return serve(t, wrap(single(t, h)))
			},
		},
		{
			"RoundTrip",
			false,
			func(t *testing.T, h http.HandlerFunc, _ func(http.Handler) http.Handler) (http.RoundTripper, string) {
				return single(t, h), "http://target"
			},
		},
		{
			"proxy to RoundTrip",
			true,
			func(t *testing.T, h http.HandlerFunc, wrap func(http.Handler) http.Handler) (http.RoundTripper, string) {
				return serve(t, wrap(proxy(single(t, h))))
			},
		},
		{
			"three objects by ServeHTTP",
			true,
			func(t *testing.T, h http.HandlerFunc, wrap func(http.Handler) http.Handler) (http.RoundTripper, string) {
				return serve(
					t,
					wrap(
						chain(
							t, h,
							func(to dog.Stub[target], w http.ResponseWriter, r *http.Request) { to.ServeHTTP(w, r) },
						),
					),
				)
			},
		},
		{
			"three objects by proxies",
			true,
			func(t *testing.T, h http.HandlerFunc, wrap func(http.Handler) http.Handler) (http.RoundTripper, string) {
				return serve(t, wrap(chain(t, h, func(to dog.Stub[target], w http.ResponseWriter, r *http.Request) {
					_ = dog.Await(r.Context(), func() error { proxy(to).ServeHTTP(w, r); return nil })
				})))
			},
		},
		{
			"behind a gateway",
			true,
			func(t *testing.T, h http.HandlerFunc, wrap func(http.Handler) http.Handler) (http.RoundTripper, string) {
				gateway := newOpenGateway(t, func(_ *fixture.Room, w http.ResponseWriter, r *http.Request) { h(w, r) })
				return serve(t, wrap(gateway))
			},
		},
		{
			"RoundTrip to three objects",
			false,
			func(t *testing.T, h http.HandlerFunc, _ func(http.Handler) http.Handler) (http.RoundTripper, string) {
				return chain(
					t, h, func(to dog.Stub[target], w http.ResponseWriter, r *http.Request) { to.ServeHTTP(w, r) },
				), "http://target"
			},
		},
	}
}
