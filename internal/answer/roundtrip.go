package answer

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"

	"github.com/godurable/dog/internal/turn"
)

// RoundTrip sends a request to serve, which runs in a goroutine of its own, and
// returns the response when serve has returned or flushes. remote is the
// address of the client for which the request is sent, if the request has none.
// The error is that of the request's body, of serve, or the cause of the end of
// the request's context. call is the caller's wait for what serve does.
func RoundTrip(
	host *Host, r *http.Request, body *Outbound, remote string, call turn.Call,
	serve func(http.ResponseWriter, *http.Request),
) (*http.Response, error) {
	ctx := r.Context()
	x := newExchange(host, r)
	if e := turn.From(ctx); e != nil { // from then on, the object must not wait for the reader
		x.forget = e.OnEnd(x.abandon)
	}
	in := received(x.ctx, r, body, remote)
	body.failed = x.fail
	trace := httptrace.ContextClientTrace(ctx)
	host.Work.Spawn(func() { x.serve(serve, in) })
	for {
		select {
		case <-x.news:
			if err := x.reportHints(trace); err != nil {
				x.close()
				return nil, err
			}
		case <-x.ready:
			if err := x.reportHints(trace); err != nil {
				x.close()
				return nil, err
			}
			response, err := x.result(call)
			if err != nil {
				x.close()
			}
			return response, err
		case <-ctx.Done():
			x.close()
			return nil, context.Cause(ctx)
		}
	}
}

// Record returns the response to a request that write writes, which must not
// wait.
func Record(host *Host, r *http.Request, write func(http.ResponseWriter)) (*http.Response, error) {
	x := newExchange(host, r)
	write(x)
	x.finish(io.EOF)
	return x.result(turn.Call{})
}

// Untraced returns a context with the values of a request's context except its
// [httptrace.ClientTrace], which is for the client's side only. ctx is the
// request's context. values has its values, and may be nil.
func Untraced(ctx, values context.Context) context.Context {
	if values == nil || httptrace.ContextClientTrace(ctx) == nil {
		return values
	}
	return untraced{values}
}

// untraced is a context without the trace.
type untraced struct{ context.Context }

func (c untraced) Value(key any) any {
	v := c.Context.Value(key)
	if _, trace := v.(*httptrace.ClientTrace); trace {
		return nil
	}
	return v
}
