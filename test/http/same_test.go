package http_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A request through an object is a request through net/http: the same handler
// answers the same client, once by itself and once on each way through objects,
// and whatever either side can see has to be the same.

// seen is what a client and the handler see of one request.
type seen struct {
	Err     string // of the request, by its kind
	Status  int
	Header  http.Header
	Length  int64
	Body    string
	BodyErr string // by its kind
	Trailer http.Header
	Close   bool
	Early   []string // informational answers
	Noted   []string // what the handler has noted
}

// errKind returns what an error is to those who look for it.
func errKind(err error) string {
	for name, target := range map[string]error{
		"own": errOwn, "cut off": io.ErrUnexpectedEOF, "length": http.ErrContentLength,
		"no body": http.ErrBodyNotAllowed, "not supported": http.ErrNotSupported,
	} {
		if errors.Is(err, target) {
			return name
		}
	}
	if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
		return "too big"
	}
	switch {
	case errors.Is(err, io.EOF): // a connection that ends where an answer should begin
		return "cut off"
	case err != nil:
		return "other"
	}
	return ""
}

var errOwn = errors.New("the caller's own")

// hello writes a body and notes what came of it.
func hello(note func(...any), w http.ResponseWriter) {
	n, err := io.WriteString(w, "hello")
	note("wrote", n, errKind(err))
}

// readBody notes the body.
func readBody(note func(...any), r *http.Request) error {
	n, err := io.Copy(io.Discard, r.Body)
	note("read", n, errKind(err))
	return err
}

// failing is a body that ends with an error of its own.
type failing struct{ left int }

func (f *failing) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errOwn
	}
	n := min(len(p), f.left)
	f.left -= n
	return n, nil
}

// trailing is a body with trailers.
type trailing struct {
	io.Reader
	trailer http.Header
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.trailer.Set("X-Sum", "7")
	}
	return n, err
}

func text(n int) func() io.Reader {
	return func() io.Reader { return strings.NewReader(strings.Repeat("x", n)) }
}

// upload is the form that a browser sends with a file.
func upload(size int) (body []byte, contentType string) {
	var buf bytes.Buffer
	m := multipart.NewWriter(&buf)
	_ = m.WriteField("who", "ada")
	file, _ := m.CreateFormFile("file", "x.bin")
	_, _ = file.Write(make([]byte, size))
	_ = m.Close()
	return buf.Bytes(), m.FormDataContentType()
}

func sames() []same {
	limit := func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 1000) }
	form := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm() // as middlewares do
			h.ServeHTTP(w, r)
		})
	}
	all := []same{
		{
			name:  "a plain answer",
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) { hello(note, w) },
		},
		{name: "nothing", serve: func(func(...any), http.ResponseWriter, *http.Request) {}},
		{
			name:   "no content type, intentionally",
			direct: true,
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = nil
				hello(note, w)
			},
		},
		{name: "trailers", serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Trailer", "x-sum, X-Never")
			hello(note, w)
			_ = http.NewResponseController(w).Flush()
			w.Header().Set("X-Sum", "7")
			w.Header().Set(http.TrailerPrefix+"X-Late", "8")
		}},
		{name: "early hints", serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Link", "</b.css>")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			w.Header().Del("Link")
			hello(note, w)
		}},
		{name: "an invalid status later", serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(9)
			hello(note, w)
		}},
		{name: "an unknown status", serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(799)
			hello(note, w)
		}},
		{
			name:  "broken off",
			serve: func(func(...any), http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		},
		{name: "broken off half way", serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
			hello(note, w)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{
			name: "who asks", remote: true,
			serve: func(note func(...any), _ http.ResponseWriter, r *http.Request) {
				host, _, err := net.SplitHostPort(r.RemoteAddr)
				note(
					r.Method, r.Host != "", r.URL.Path, r.URL.RawQuery, r.RequestURI, r.Proto, host, errKind(err),
					r.Header["X-Sent"],
				)
			},
			send: func(r *http.Request) { r.Header.Set("X-Sent", "x"); r.URL.Path, r.URL.RawQuery = "/a b", "c=d" },
		},
		{
			name:  "a header with line breaks",
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) { hello(note, w) },
			send:  func(r *http.Request) { r.Header.Set("X-Sent", "a\r\nb: c") },
		},
		{
			name: "request trailers", method: http.MethodPost, direct: true,
			serve: func(note func(...any), _ http.ResponseWriter, r *http.Request) {
				note(slices.Sorted(maps.Keys(r.Trailer)), r.Trailer.Get("X-Sum"), r.ContentLength)
				_ = readBody(note, r)
				note(r.Trailer)
			},
			send: func(r *http.Request) {
				r.Trailer = http.Header{"X-Sum": nil}
				r.ContentLength, r.Body = -1, io.NopCloser(&trailing{strings.NewReader("hello"), r.Trailer})
			},
		},
		{
			name: "a form read before", method: http.MethodPost, wrap: form, direct: true,
			body: func() io.Reader { return strings.NewReader("who=ada") },
			send: func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
			serve: func(note func(...any), _ http.ResponseWriter, r *http.Request) {
				note(r.PostFormValue("who"), r.ContentLength)
				_ = readBody(note, r)
			},
		},
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, status := range []int{200, 204, 304, 404} {
			all = append(all, same{
				name:   fmt.Sprint(method, " ", status),
				method: method,
				serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(status)
					hello(note, w)
				},
			})
		}
		for _, length := range []string{"10", "2", "5", "-1", "many"} {
			if method == http.MethodHead && (length == "-1" || length == "many") {
				continue // net/http sends what its own client refuses
			}
			all = append(all, same{
				name: method + " of length " + length, method: method,
				serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Length", length)
					hello(note, w)
				},
			})
		}
	}
	for _, size := range []int64{100, 100_000, -1} {
		all = append(all, same{
			name: fmt.Sprint("a body that fails, of length ", size), method: http.MethodPost,
			serve: func(_ func(...any), _ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
			send:  func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(&failing{50}), size },
		})
	}
	for _, sent := range []int{50, 1000, 5000, 60_000, 100_000} {
		all = append(all, same{
			name: fmt.Sprint("a bounded body of ", sent), method: http.MethodPost, body: text(sent), wrap: limit,
			direct: true,
			serve: func(note func(...any), w http.ResponseWriter, r *http.Request) {
				if err := readBody(note, r); errKind(err) == "too big" {
					w.Header().Set("Connection", "close")
					w.WriteHeader(http.StatusRequestEntityTooLarge)
				}
			},
		})
	}
	for _, sent := range []int{2, 100} { // all of it waits in the client's buffer, so that nothing is answered before
		all = append(all, same{
			name: fmt.Sprint("a body of ", sent, " with a shorter stated length"), method: http.MethodPost,
			serve: func(_ func(...any), _ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
			send: func(r *http.Request) {
				r.Body, r.ContentLength = io.NopCloser(text(sent)()), int64(sent-1)
			},
		})
	}
	for _, size := range []int{20, 20 << 10, 2 << 20} {
		body, contentType := upload(size)
		all = append(all, same{
			name: fmt.Sprint("an upload of ", size), method: http.MethodPost,
			body: func() io.Reader { return bytes.NewReader(body) },
			send: func(r *http.Request) { r.Header.Set("Content-Type", contentType) },
			serve: func(note func(...any), _ http.ResponseWriter, r *http.Request) {
				note(errKind(r.ParseMultipartForm(1<<10)), r.FormValue("who"), len(r.MultipartForm.File["file"]))
			},
		})
	}
	return append(all, headerSames()...)
}

// ask sends the case's request and returns what the client and the handler saw.
func (c same) ask(t *testing.T, w way) (got seen) {
	t.Helper()
	note := func(what ...any) { got.Noted = append(got.Noted, strings.TrimSuffix(fmt.Sprintln(what...), "\n")) }
	wrap := c.wrap
	if wrap == nil {
		wrap = func(h http.Handler) http.Handler { return h }
	}
	handled := make(chan struct{})
	transport, url := w.start(t, func(rw http.ResponseWriter, r *http.Request) {
		defer close(handled)
		c.serve(note, rw, r)
	}, wrap)
	var body io.Reader
	if c.body != nil {
		body = c.body()
	}
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			got.Early = append(got.Early, fmt.Sprint(code, " ", header.Get("Link")))
			return nil
		},
	})
	r, err := http.NewRequestWithContext(ctx, cmp.Or(c.method, http.MethodGet), url+"/", body)
	require.NoError(t, err)
	if c.send != nil {
		c.send(r)
	}
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		got.Err, got.Noted = errKind(err), nil // what a handler saw of what did not arrive is chance
		return got
	}
	data, err := io.ReadAll(response.Body)
	require.NoError(t, response.Body.Close())
	<-handled
	response.Header.Del("Date")
	got.Status, got.Header, got.Length = response.StatusCode, response.Header, response.ContentLength
	got.Body, got.Trailer, got.Close = string(data), response.Trailer, response.Close
	got.BodyErr = errKind(err)
	return got
}

func TestHTTP_RequestThroughObjectsEqualsOneThroughNetHTTP(t *testing.T) {
	for _, c := range sames() {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", dir)
			var want seen
			for i, w := range ways() {
				proxied := strings.Contains(w.name, "prox")
				if !w.server && (c.wrap != nil || c.remote) || proxied && c.direct {
					continue
				}
				t.Run(w.name, func(t *testing.T) {
					got := c.ask(t, w)
					if i == 0 {
						want = got
						return
					}
					if proxied && (want.Err != "" || want.BodyErr != "") {
						// A proxy has an answer of its own for what it cannot
						// get.
						require.True(t, got.Err != "" || got.BodyErr != "" || got.Status >= 400)
						return
					}
					if bodied := want.Status != http.StatusNoContent && want.Status != http.StatusNotModified; bodied &&
						(!w.server || proxied) {
						// The length is known where the whole answer is.
						got.Length, got.Header = lengthOf(got.Length, want.Length), withLength(got.Header, want.Header)
					}
					require.Equal(t, want, got)
				})
				left, err := filepath.Glob(filepath.Join(dir, "multipart-*"))
				require.NoError(t, err)
				require.Empty(t, left, "temporary files, %s", w.name)
			}
		})
	}
}

func lengthOf(got, want int64) int64 {
	if want == -1 {
		return -1
	}
	return got
}

func withLength(got, want http.Header) http.Header {
	if want.Get("Content-Length") == "" {
		got.Del("Content-Length")
	}
	return got
}
