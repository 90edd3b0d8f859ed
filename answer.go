package dog

import (
	"context"
	"net/http"
)

// answerBody is the body of the response of an exchange.
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
			for key, values := range x.trailer {
				if x.answer.Trailer == nil {
					x.answer.Trailer = make(http.Header)
				}
				x.answer.Trailer[key] = values
			}
			x.mu.Unlock()
			return 0, x.end
		}
		x.mu.Unlock()
		select {
		case <-x.more:
		case <-x.ctx.Done():
			// If both the response and the context have ended, the end of the
			// response counts.
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
