package dog

import (
	"context"
	"net/http"

	"github.com/godurable/dog/internal/answer"
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
// object would have to wait for its reader. A handler that reads the body
// outside Await waits with its turn: a call by which the object comes to need
// that turn fails with [ErrDeadlock].
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
	body := answer.NewOutbound(r, func(value any, stack []byte) error { return &PanicError{Value: value, Stack: stack} })
	response, err := roundTrip(s.to, r, body)
	if err != nil {
		_ = body.Close() // the caller gets err
		return nil, err
	}
	return response, nil
}

func roundTrip(to target, r *http.Request, body *answer.Outbound) (*http.Response, error) {
	ctx := r.Context()
	if to == nil {
		return nil, notRunning("Stub.RoundTrip")
	}
	if err := answer.CheckRequest(r); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	rt := to.runtime()
	leave, err := rt.enterFrom(ctx)
	if err != nil {
		_ = body.Close() // it is not sent
		return answer.Record(&rt.answers, r, func(w http.ResponseWriter) { WriteError(w, err) })
	}
	defer leave()
	wait, err := yieldTurn(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer wait.Resume()
	if err := wait.durable(ctx); err != nil {
		return nil, err
	}
	from := turn.OriginOf(ctx)
	defer from.Call.Over()
	from.Values = answer.Untraced(ctx, from.Values)
	remote := ""
	if a := arrivalBehind(ctx); a != nil {
		remote = a.remote
	}
	return answer.RoundTrip(&rt.answers, r, body, remote, from.Call, func(w http.ResponseWriter, in *http.Request) {
		to.serve(w, in, from)
	})
}
