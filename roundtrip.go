package dog

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/godurable/dog/internal/turn"
)

// RoundTrip makes a stub the transport of a client whose requests all go to one object, whatever their host:
//
//	client := &http.Client{Transport: cart}
//
// In a handler, with its context in the request, it gives up the turn, and the request leaves when what the handler's object
// stored before is durable. What [Stub.ServeHTTP] answers, 503 of an object that is overloaded for example, comes as a response.
// It comes when the object's handler has returned or flushes; then its body streams: about a megabyte of it waits for the reader,
// and the handler for room beyond that.
//
// The body must be read or closed. Reading it waits without giving up the turn, so a handler reads a long one in [Await].
// Closing it early is, like the end of the request's context, what [ClientGone] tells the object. There is no connection that the
// object could take over: [Replica.Connect] refuses such a request.
//
// Errors: those of [Call], and of an answer that the object breaks off, which wraps [io.ErrUnexpectedEOF].
func (s Stub[T]) RoundTrip(r *http.Request) (*http.Response, error) {
	body := &requestBody{ReadCloser: cmp.Or[io.ReadCloser](r.Body, http.NoBody)}
	response, err := roundTrip(s.to, r, body)
	if err != nil {
		_ = body.Close() // the caller has its error
		return nil, err
	}
	return response, nil
}

func roundTrip(to target, r *http.Request, body *requestBody) (*http.Response, error) {
	ctx := r.Context()
	if to == nil {
		return nil, ErrNotRunning
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
	rt.spawn(func() { x.serve(to, received(r, x.ctx, body), from) })
	select {
	case <-x.ready:
		return x.result()
	case <-ctx.Done():
		x.close()
		return nil, context.Cause(ctx)
	}
}

// received returns a client's request as a server gets it.
func received(r *http.Request, ctx context.Context, body *requestBody) *http.Request {
	in := &http.Request{
		Method: cmp.Or(r.Method, http.MethodGet),
		URL:    &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery},
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:           r.Header.Clone(),
		Body:             body,
		ContentLength:    r.ContentLength,
		TransferEncoding: slices.Clone(r.TransferEncoding),
		Host:             cmp.Or(r.Host, r.URL.Host),
		Trailer:          r.Trailer.Clone(),
		RequestURI:       r.URL.RequestURI(),
	}
	if in.Header == nil {
		in.Header = make(http.Header)
	}
	switch {
	case body.ReadCloser == http.NoBody:
		in.Body, in.ContentLength = http.NoBody, 0
	case in.ContentLength == 0: // which a client says when it does not know
		in.ContentLength = -1
	}
	return in.WithContext(ctx)
}

// requestBody is closed once, by whoever comes first.
type requestBody struct {
	io.ReadCloser
	once sync.Once
	err  error // of Close; set by once
}

func (b *requestBody) Close() error {
	b.once.Do(func() { b.err = b.ReadCloser.Close() })
	return b.err
}

// exchange is a request of [Stub.RoundTrip] with its answer. To the object's side, one goroutine at a time, it is an
// [http.ResponseWriter].
type exchange struct {
	// fixed
	rt      *Runtime
	request *http.Request
	ctx     context.Context // of the request as the object gets it; ended by cancel
	cancel  context.CancelFunc
	ready   chan struct{} // closed when there is an answer, or will be none
	more    chan struct{} // has a token when the reader may find something new
	room    chan struct{} // has a token when the writer may find room

	header http.Header // owned by the object's side

	mu      sync.Mutex
	status  int         // 0: none yet. guarded by mu, like all below
	sent    http.Header // the header as it was when the status was set
	trailer http.Header // set before end
	waiting []byte      // what the object has written and nobody has read
	end     error       // what follows waiting: io.EOF, or why the answer is broken off. nil: more may come
	told    bool        // ready is closed
	closed  bool        // by the reader
	answer  *http.Response
}

func newExchange(rt *Runtime, r *http.Request) *exchange {
	x := &exchange{
		rt: rt, request: r, header: make(http.Header),
		ready: make(chan struct{}), more: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	x.ctx, x.cancel = context.WithCancel(r.Context())
	return x
}

// serve has the object answer.
func (x *exchange) serve(to target, r *http.Request, from turn.Origin) {
	// A client that has gone sends no more either.
	stop := context.AfterFunc(x.ctx, func() { _ = r.Body.Close() })
	end := fmt.Errorf("dog: the object broke its answer off: %w", io.ErrUnexpectedEOF)
	defer func() {
		p := recover()
		stop()
		_ = r.Body.Close() // as a server does
		x.finish(end)
		if p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	to.serve(x, r, from)
	end = io.EOF
}

// Header is what the object's side sets.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader sets the status, if there is none yet. Informational ones are lost.
func (x *exchange) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status == 0 {
		x.status, x.sent = status, x.header.Clone()
	}
}

// Write waits while too much waits for the reader.
func (x *exchange) Write(p []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	for {
		x.mu.Lock()
		switch {
		case x.bodilessLocked():
			x.mu.Unlock()
			return len(p), nil
		case x.closed, x.end != nil:
			x.mu.Unlock()
			return 0, io.ErrClosedPipe
		case len(x.waiting) <= maxAnswer:
			x.waiting = append(x.waiting, p...)
			x.mu.Unlock()
			notify(x.more)
			return len(p), nil
		}
		x.tellLocked()
		x.mu.Unlock()
		select {
		case <-x.room:
		case <-x.ctx.Done():
			return 0, context.Cause(x.ctx)
		case <-x.rt.ctx.Done():
			return 0, context.Cause(x.rt.ctx)
		}
	}
}

// FlushError lets the answer begin.
func (x *exchange) FlushError() error {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tellLocked()
	return nil
}

// finish ends the answer.
func (x *exchange) finish(end error) {
	if end == io.EOF {
		x.WriteHeader(http.StatusOK)
	}
	x.mu.Lock()
	if x.end = end; x.ctx.Err() != nil { // who knew that may have ended its answer early
		x.end = context.Cause(x.ctx)
	}
	if end == io.EOF { // else a handler that has ended its goroutine may have left somebody who writes
		x.trailer = trailerOf(x.sent, x.header)
	}
	x.tellLocked()
	x.mu.Unlock()
	notify(x.more)
	x.cancel()
}

// bodilessLocked reports whether what is written is no part of the answer. The caller must hold mu.
func (x *exchange) bodilessLocked() bool {
	return x.request.Method == http.MethodHead || x.status == http.StatusNoContent || x.status == http.StatusNotModified
}

// tellLocked lets the caller know what answer there is, if any. The caller must hold mu.
func (x *exchange) tellLocked() {
	if x.told {
		return
	}
	x.told = true
	defer close(x.ready)
	if x.end != nil && x.end != io.EOF {
		return
	}
	if len(x.waiting) > 0 && x.sent["Content-Type"] == nil && x.sent["Content-Encoding"] == nil {
		x.sent.Set("Content-Type", http.DetectContentType(x.waiting))
	}
	length := int64(-1)
	if n, err := strconv.ParseInt(x.sent.Get("Content-Length"), 10, 64); err == nil {
		length = n
	} else if x.end != nil && !x.bodilessLocked() {
		length = int64(len(x.waiting))
	}
	x.answer = &http.Response{
		Status: fmt.Sprintf("%03d %s", x.status, http.StatusText(x.status)), StatusCode: x.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.sent, Body: answerBody{x}, ContentLength: length, Request: x.request,
	}
}

// result returns the answer once it is ready.
func (x *exchange) result() (*http.Response, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.answer == nil {
		return nil, x.end
	}
	return x.answer, nil
}

func (x *exchange) close() {
	x.mu.Lock()
	x.closed = true
	x.waiting = nil
	x.mu.Unlock()
	x.cancel()
	notify(x.more)
}

// answerBody is the body of the response.
type answerBody struct{ x *exchange }

func (b answerBody) Read(p []byte) (int, error) {
	x := b.x
	if len(p) == 0 {
		return 0, nil
	}
	for {
		x.mu.Lock()
		switch {
		case x.closed:
			x.mu.Unlock()
			return 0, http.ErrBodyReadAfterClose
		case len(x.waiting) > 0:
			n := copy(p, x.waiting)
			x.waiting = x.waiting[n:]
			x.mu.Unlock()
			notify(x.room)
			return n, nil
		case x.end != nil:
			x.answer.Trailer = x.trailer
			x.mu.Unlock()
			return 0, x.end
		}
		x.mu.Unlock()
		select {
		case <-x.more:
		case <-x.ctx.Done():
			// Of the end of the answer and that of the context the former counts.
			x.mu.Lock()
			over := x.closed || x.end != nil
			x.mu.Unlock()
			if !over {
				return 0, context.Cause(x.ctx)
			}
		}
	}
}

func (b answerBody) Close() error {
	b.x.close()
	return nil
}

// trailerOf returns what a handler set in its header for after the body: keys that the header which was sent announces, or marked
// ones.
func trailerOf(sent, header http.Header) http.Header {
	var trailer http.Header
	for key, values := range header {
		name, marked := strings.CutPrefix(key, http.TrailerPrefix)
		if marked || announces(sent, key) {
			if trailer == nil {
				trailer = make(http.Header)
			}
			trailer[name] = values
		}
	}
	return trailer
}

// notify leaves a token for whoever waits.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
