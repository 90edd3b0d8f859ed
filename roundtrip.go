package dog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/godurable/dog/internal/turn"
)

// RoundTrip makes a stub the transport of a client whose requests all go to one
// object, whatever their host:
//
//	client := &http.Client{Transport: cart}
//
// In a handler, with its context in the request, it gives up the turn, and the
// request leaves when what the handler's object stored before is durable. What
// [Stub.ServeHTTP] answers, 503 of an object that is overloaded for example,
// comes as a response. It comes when the object's handler has returned or
// flushes; then its body streams: about a megabyte of it waits for the reader,
// and the handler for room beyond that.
//
// The body must be read or closed. Reading it waits without giving up the turn,
// so a handler reads a long one in [Await]. Closing it early is, like the end
// of the request's context, what [ClientGone] tells the object. There is no
// connection that the object could take over: [Object.Connect] refuses such a
// request.
//
// An answer of more than a megabyte is broken off when the object has waited
// for its reader, with its turn, for ten seconds in all (see [Receiver]), and
// reading the body fails then. One that is written in [Await] waits as long as
// the request's context lasts. What a handler has not read when its event ends
// is broken off as soon as the object would have to wait for its reader.
//
// Both sides see what net/http would have carried: names of header fields and
// trailers in their canonical form, values without space around them, of what
// the object sets without fields whose names are none and with spaces in place
// of line breaks. There is no Date.
//
// The object sees the RemoteAddr of the request; where it has none, that of the
// client for whom the calling handler works, and otherwise 127.0.0.1:0. It does
// not see the request's [httptrace.ClientTrace], which gets informational
// answers.
//
// Errors: those of [Call], the error of the request's own body, those
// of a request or an answer that cannot be sent, for the control characters in
// its header, say, and of an answer that the object breaks off or that is
// shorter than its Content-Length, which wraps [io.ErrUnexpectedEOF].
func (s Stub[T]) RoundTrip(r *http.Request) (*http.Response, error) {
	body := newOutboundBody(r)
	response, err := roundTrip(s.to, r, body)
	if err != nil {
		_ = body.Close() // the caller has its error
		return nil, err
	}
	return response, nil
}

func roundTrip(to target, r *http.Request, body *outboundBody) (*http.Response, error) {
	ctx := r.Context()
	if to == nil {
		return nil, notRunning("Stub.RoundTrip")
	}
	if err := checkRequest(r); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	rt := to.runtime()
	leave, err := rt.enterFrom(ctx)
	if err != nil {
		_ = body.Close() // it is not sent
		x := newExchange(rt, r)
		WriteError(x, err)
		x.finish(io.EOF)
		return x.result()
	}
	defer leave()
	wait, err := giveUp(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer wait.Resume()
	if err := wait.durable(ctx); err != nil {
		return nil, err
	}
	from := turn.OriginOf(ctx)
	defer from.Call.Over()
	x := newExchange(rt, r)
	if e := turn.From(ctx); e != nil { // who reads the answer after that must not be waited for
		x.forget = e.OnEnd(x.abandon)
	}
	in := received(r, x.ctx, body)
	body.failed = x.fail
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && from.Values != nil {
		from.Values = untraced{from.Values}
	}
	rt.spawn(func() { x.serve(to, in, from) })
	for {
		select {
		case <-x.news:
			if err := x.tell(trace); err != nil {
				x.close()
				return nil, err
			}
		case <-x.ready:
			if err := x.tell(trace); err != nil {
				x.close()
				return nil, err
			}
			answer, err := x.result()
			if err != nil {
				x.close()
			}
			return answer, err
		case <-ctx.Done():
			x.close()
			return nil, context.Cause(ctx)
		}
	}
}

// checkRequest refuses what no client could send.
func checkRequest(r *http.Request) error {
	switch {
	case r.URL == nil:
		return errors.New("dog: the request has no URL")
	case r.Method != "" && !isToken(r.Method):
		return fmt.Errorf("dog: invalid request method %q", r.Method)
	case r.Body == nil && r.ContentLength > 0:
		return fmt.Errorf("dog: the request says ContentLength %d and has no body", r.ContentLength)
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

// checkFields is checkRequest for fields of one kind.
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

// isToken reports whether s is a token of HTTP, as methods and names of headers
// are.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune("()<>@,;:\\\"/[]?={}", c)
	})
}

// isControl reports whether a header's value must not have c.
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// inProcess is the RemoteAddr of a request that no client from outside has
// sent.
const inProcess = "127.0.0.1:0"

// received returns a client's request as a server gets it.
func received(r *http.Request, ctx context.Context, body *outboundBody) *http.Request {
	header, _ := readFields(r.Header) // checked before
	in := &http.Request{
		Method: cmp.Or(r.Method, http.MethodGet),
		URL:    &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery},
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
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
	in.Close = hasToken(in.Header["Connection"], "close")
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"} { // the request's fields say it
		delete(in.Header, name)
	}
	if a := arrivalBehind(r.Context()); a != nil {
		in.RemoteAddr = cmp.Or(in.RemoteAddr, a.remote)
	}
	in.RemoteAddr = cmp.Or(in.RemoteAddr, inProcess)
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
			in.Trailer[http.CanonicalHeaderKey(key)] = nil // until the body has ended
		}
		body.trailer, body.to = r.Trailer, in.Trailer
	}
	return in.WithContext(ctx)
}

// hostOf returns the host that a client asks for: none where it would be no
// host.
func hostOf(r *http.Request) string {
	host := cmp.Or(r.Host, r.URL.Host)
	if strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '/' }) {
		return ""
	}
	return host
}

// outboundBody is the caller's body, as the object's side reads it. It is
// closed once, by whoever comes first.
type outboundBody struct {
	// fixed before it is read
	source      io.ReadCloser
	length      int64       // that the request says; -1: it does not
	failed      func(error) // is told why the body is not what the request says
	trailer, to http.Header // the caller's trailers, and where they go; nil: none

	left int64 // of length; owned by the reader
	once sync.Once
	err  error // of Close; set by once
}

func newOutboundBody(r *http.Request) *outboundBody {
	b := &outboundBody{source: cmp.Or[io.ReadCloser](r.Body, http.NoBody), length: r.ContentLength, failed: func(error) {}}
	if b.length <= 0 { // which a client says when it does not know
		b.length = -1
	}
	b.left = b.length
	return b
}

// Read reads no more than the request says. The caller gets its body's own
// error; to the object it is a body that is cut off.
func (b *outboundBody) Read(p []byte) (int, error) {
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

// read reads from the source. A panic there is the caller's.
func (b *outboundBody) read(p []byte) (n int, err error) {
	var alien foreign
	err = alien.call(func() (err error) {
		n, err = b.source.Read(p)
		return err
	})
	if err == errForeign {
		err = &PanicError{Value: alien.value, Stack: alien.stack}
	}
	return n, err
}

func (b *outboundBody) Close() error {
	b.once.Do(func() { b.err = new(foreign).call(b.source.Close) })
	return b.err
}
