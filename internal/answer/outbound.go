package answer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// CheckRequest returns an error for a request that a client could not send.
func CheckRequest(r *http.Request) error {
	switch {
	case r.URL == nil:
		return errors.New("dog: the request has no URL")
	case r.Method != "" && !isToken(r.Method):
		return fmt.Errorf("dog: invalid request method %q", r.Method)
	case r.Body == nil && r.ContentLength > 0:
		return fmt.Errorf("dog: the request has ContentLength %d and no body", r.ContentLength)
	}
	if uri := r.URL.RequestURI(); strings.ContainsFunc(uri, isControl) {
		return fmt.Errorf("dog: the request's URL has a control character: %q", uri)
	}
	for _, key := range []string{"Content-Length", "Trailer", "Transfer-Encoding"} {
		if _, has := r.Trailer[key]; has {
			return fmt.Errorf("dog: %s cannot be a request trailer", key)
		}
	}
	return cmp.Or(checkFields("header", r.Header), checkFields("trailer", r.Trailer))
}

// checkFields is CheckRequest for a header or trailer.
func checkFields(kind string, fields http.Header) error {
	for name, values := range fields {
		if !isToken(name) {
			return fmt.Errorf("dog: invalid request %s name %q", kind, name)
		}
		if slices.ContainsFunc(values, func(v string) bool { return strings.ContainsFunc(v, isControl) }) {
			return fmt.Errorf("dog: the request %s %s has a control character", kind, name)
		}
	}
	return nil
}

// isToken reports whether s is an HTTP token, as methods and header names are.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune("()<>@,;:\\\"/[]?={}", c)
	})
}

// isControl reports whether c is not allowed in a header value.
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// inProcess is the RemoteAddr of a request that was not sent for an outside
// client.
const inProcess = "127.0.0.1:0"

// received returns a client's request as a server receives it. remote is the
// address of the client for which it was sent, if r has none.
func received(ctx context.Context, r *http.Request, body *Outbound, remote string) *http.Request {
	header, _ := readFields(r.Header) // checked before
	in := &http.Request{
		Method: cmp.Or(r.Method, http.MethodGet),
		URL: &url.URL{
			Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery,
		},
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          body,
		ContentLength: r.ContentLength,
		Host:          hostOf(r),
		RemoteAddr:    r.RemoteAddr,
		RequestURI:    r.URL.RequestURI(),
	}
	if r.Close {
		in.Header.Set("Connection", "close")
	}
	in.Close = closes(in.Header)
	// The request has fields of its own for these.
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"} {
		delete(in.Header, name)
	}
	in.RemoteAddr = cmp.Or(in.RemoteAddr, remote, inProcess)
	switch {
	case body.source == http.NoBody:
		in.Body, in.ContentLength = http.NoBody, 0
	case body.left < 0:
		in.ContentLength = -1
		in.TransferEncoding = []string{"chunked"}
	}
	if in.ContentLength > 0 {
		in.Header.Set("Content-Length", strconv.FormatInt(in.ContentLength, 10))
	}
	if r.Trailer != nil && in.Body != http.NoBody {
		in.Trailer = make(http.Header, len(r.Trailer))
		for key := range r.Trailer {
			in.Trailer[http.CanonicalHeaderKey(key)] = nil // set when the body has ended
		}
		body.trailer, body.to = r.Trailer, in.Trailer
	}
	return in.WithContext(ctx)
}

// hostOf returns the host that a client asks for, or "" if that is not a valid
// host.
func hostOf(r *http.Request) string {
	host := cmp.Or(r.Host, r.URL.Host)
	if strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '/' }) {
		return ""
	}
	return host
}

// Outbound is the caller's body, read by the object's side. It is closed
// only once.
type Outbound struct {
	// fixed before it is read
	source      io.ReadCloser
	length      int64       // length announced by the request; -1: none
	failed      func(error) // gets the error if the body is not as announced
	panicked    func(value any, stack []byte) error
	trailer, to http.Header // the caller's trailers, and where to copy them; nil: none

	left int64 // rest of length; owned by the reader
	once sync.Once
	err  error // of Close; set by once
}

// NewOutbound returns the body of a request. panicked returns the error for a
// panic of the body.
func NewOutbound(r *http.Request, panicked func(value any, stack []byte) error) *Outbound {
	b := &Outbound{
		source: cmp.Or[io.ReadCloser](r.Body, http.NoBody), length: r.ContentLength, failed: func(error) {},
		panicked: panicked,
	}
	if b.length <= 0 { // clients use 0 for an unknown length
		b.length = -1
	}
	b.left = b.length
	return b
}

// Read reads no more than the announced length. If the body fails, the caller
// gets its error, and the object sees a body that is cut off.
func (b *Outbound) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.read(p)
	b.left -= int64(n)
	switch {
	case b.length < 0:
		b.left = -1
	case b.left == 0 && err == nil:
		var more [1]byte
		for n := 0; n == 0 && err == nil; {
			n, err = b.read(more[:])
			if n > 0 {
				err = fmt.Errorf("dog: the request's body is longer than its ContentLength, %d", b.length)
			}
		}
	case b.left > 0 && err == io.EOF:
		err = fmt.Errorf("dog: the request's body ended after %d of %d bytes", b.length-b.left, b.length)
	}
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		var trailer http.Header
		if trailer, err = readFields(b.trailer); err == nil {
			maps.Copy(b.to, trailer)
			return n, io.EOF
		}
	}
	b.failed(err)
	return n, io.ErrUnexpectedEOF
}

// read reads from the source. It returns a panic of the source as an error for
// the caller.
func (b *Outbound) read(p []byte) (n int, err error) {
	var guard Guard
	err = guard.Call(func() (err error) {
		n, err = b.source.Read(p)
		return err
	})
	if err == errPanicked {
		err = b.panicked(guard.Panic())
	}
	return n, err
}

// Close closes the source once, and returns the same error each time.
func (b *Outbound) Close() error {
	b.once.Do(func() { b.err = new(Guard).Call(b.source.Close) })
	return b.err
}
