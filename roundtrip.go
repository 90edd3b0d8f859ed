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

// RoundTrip implements [http.RoundTripper]. A client with a stub as its
// transport sends all its requests to one object, whatever their host:
//
//	client := &http.Client{Transport: cart}
//
// In a handler, with the handler's context in the request, RoundTrip gives up
// the turn. The request is sent when the earlier writes of the handler's object
// are durable. A response of [Stub.ServeHTTP] itself, such as 503 from an
// overloaded object, is returned as a response. RoundTrip returns when the
// object's handler has returned or flushes. After that, the body streams: about
// a megabyte of it is buffered for the reader, and beyond that the handler
// waits for room.
//
// The caller must read the body to its end or close it. Reading waits without
// giving up the turn, so a handler should read a long body in [Await]. Closing
// it early closes the object's [ClientGone] channel, as does the end of the
// request's context. There is no connection to hijack, so [Object.Connect]
// refuses these requests.
//
// A response of more than a megabyte is broken off when the object has waited
// for its reader, while holding its turn, for ten seconds in all (see
// [Receiver]). Reading the body then fails. A response that is written in
// [Await] waits as long as the request's context lasts. If a handler's event
// ends before it has read the body, the response is broken off as soon as the
// object would have to wait for its reader.
//
// Both sides see the request and the response as net/http would have
// transferred them. Names of header fields and trailers are in canonical form,
// and values have no space around them. Of the fields that the object sets,
// those with invalid names are dropped, and line breaks in values become
// spaces. There is no Date.
//
// The object sees the RemoteAddr of the request. If that is empty, it sees the
// address of the client on whose behalf the calling handler works, and
// otherwise 127.0.0.1:0. It does not see the request's [httptrace.ClientTrace],
// which gets informational responses.
//
// RoundTrip returns the errors of [Call] and the error of the request's own
// body. It also fails if the request or the response cannot be sent, for
// example because its header has control characters. If the object breaks off
// the response, or the response is shorter than its Content-Length, the error
// wraps [io.ErrUnexpectedEOF].
func (s Stub[T]) RoundTrip(r *http.Request) (*http.Response, error) {
	body := newOutboundBody(r)
	response, err := roundTrip(s.to, r, body)
	if err != nil {
		_ = body.Close() // the caller gets err
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
	if e := turn.From(ctx); e != nil { // from then on, the object must not wait for the reader
		x.forget = e.OnEnd(x.abandon)
	}
	in := received(r, x.ctx, body)
	body.failed = x.fail
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && from.Values != nil {
		from.Values = untraced{from.Values}
	}
	rt.work.Spawn(func() { x.serve(to, in, from) })
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

// checkRequest returns an error for a request that a client could not send.
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

// checkFields is checkRequest for a header or trailer.
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

// received returns a client's request as a server receives it.
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
	// The request has fields of its own for these.
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"} {
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

// outboundBody is the caller's body, read by the object's side. It is closed
// only once.
type outboundBody struct {
	// fixed before it is read
	source      io.ReadCloser
	length      int64       // length announced by the request; -1: none
	failed      func(error) // gets the error if the body is not as announced
	trailer, to http.Header // the caller's trailers, and where to copy them; nil: none

	left int64 // rest of length; owned by the reader
	once sync.Once
	err  error // of Close; set by once
}

func newOutboundBody(r *http.Request) *outboundBody {
	b := &outboundBody{source: cmp.Or[io.ReadCloser](r.Body, http.NoBody), length: r.ContentLength, failed: func(error) {}}
	if b.length <= 0 { // clients use 0 for an unknown length
		b.length = -1
	}
	b.left = b.length
	return b
}

// Read reads no more than the announced length. If the body fails, the caller
// gets its error, and the object sees a body that is cut off.
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

// read reads from the source. It returns a panic of the source as an error for
// the caller.
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
