package dogtest

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Client returns the HTTP client that reaches the server. As always, the caller
// must close the bodies of responses. A body that is still open at the end of
// the test fails the test.
func (s *Server) Client() *http.Client { return s.client }

// Get requests a path and returns the status and the body of the response.
func (s *Server) Get(path string) (status int, body string) {
	s.t.Helper()
	return s.request(http.MethodGet, path, "")
}

// Post posts a body, without a Content-Type, to a path and returns the status
// and the body of the response.
func (s *Server) Post(path, body string) (status int, answer string) {
	s.t.Helper()
	return s.request(http.MethodPost, path, body)
}

func (s *Server) request(method, path, body string) (status int, answer string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatalf("dogtest: %s %s: %v", method, path, err)
	}
	return s.Do(r)
}

// Do makes a request and returns the status and the body of the response. The
// URL of the request may be only a path. Like Get and Post, Do fails the test
// if there is no response or an incomplete one, and must be called from the
// test's goroutine.
func (s *Server) Do(r *http.Request) (status int, body string) {
	s.t.Helper()
	if r.URL.Host == "" {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host, _ = strings.Cut(URL, "://")
	}
	answer, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("dogtest: %s: %v", nameOf(r), err)
	}
	defer answer.Body.Close() //nolint:errcheck // it has been read
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatalf("dogtest: %s: the answer breaks off: %v", nameOf(r), err)
	}
	return answer.StatusCode, string(data)
}

// nameOf returns the name of a request for messages.
func nameOf(r *http.Request) string { return r.Method + " " + r.URL.RequestURI() }

// requests is a transport that knows which of its requests have not ended. A
// request ends when the body of its response is closed or has been read to its
// end, or without a response when it fails. A request that has not ended would
// leave goroutines behind. A bubble or a leak check reports these in a dump
// that does not name the request.
type requests struct {
	transport *http.Transport // fixed

	mu   sync.Mutex
	open map[*request]struct{} // guarded by mu
}

// A request is a request that has not ended.
type request struct {
	all    *requests // fixed
	name   string    // fixed
	cancel func()    // fixed

	body io.Closer // of the response; nil while there is none. guarded by requests.mu
}

// RoundTrip implements [http.RoundTripper].
func (a *requests) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	q := &request{all: a, name: nameOf(r), cancel: cancel}
	a.mu.Lock()
	a.open[q] = struct{}{}
	a.mu.Unlock()
	answer, err := a.transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		q.over()
		return nil, err
	}
	answer.Request = r
	if answer.Body == http.NoBody {
		q.over()
		return answer, nil
	}
	a.mu.Lock()
	q.body = answer.Body
	a.mu.Unlock()
	answer.Body = q.watch(answer.Body)
	return answer, nil
}

// watch returns a body that ends q when the body has ended. The body of a
// response that switches protocols can be written to.
func (q *request) watch(body io.ReadCloser) io.ReadCloser {
	watched := &watchedBody{body, q}
	if w, ok := body.(io.Writer); ok {
		return struct {
			*watchedBody
			io.Writer
		}{watched, w}
	}
	return watched
}

// over ends a request.
func (q *request) over() {
	q.all.mu.Lock()
	delete(q.all.open, q)
	q.all.mu.Unlock()
	q.cancel()
}

// left ends the requests that have not ended and fails the test for each of
// them. It reports whether there were any.
func (a *requests) left(t testing.TB) bool {
	t.Helper()
	a.mu.Lock()
	left := make(map[*request]io.Closer, len(a.open))
	for q := range a.open {
		left[q] = q.body
	}
	a.mu.Unlock()
	for q, body := range left {
		if body != nil {
			t.Errorf("dogtest: the test left the response body of %s open: close it", q.name)
			_ = body.Close()
		} else {
			t.Errorf("dogtest: %s had no response at the end of the test", q.name)
		}
		q.over()
	}
	return len(left) > 0
}

// watchedBody is the body of a response.
type watchedBody struct {
	io.ReadCloser
	request *request
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.request.over()
	}
	return n, err
}

func (b *watchedBody) Close() error {
	defer b.request.over()
	return b.ReadCloser.Close()
}

// DialContext opens a connection to the server, for tests that write their own
// requests.
func (a *requests) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return a.transport.DialContext(ctx, network, addr)
}
