package dog

import (
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
)

// foreign guards an object against code that its handler runs and that belongs
// to the request: the ResponseWriter and the body, which a middleware may have
// replaced. If this code panics, only the request ends. foreign is safe for
// concurrent use.
type foreign struct {
	mu    sync.Mutex
	value any    // of the first panic; nil: none; guarded by mu
	stack []byte // guarded by mu
}

var errForeign = errors.New("dog: the request's own ResponseWriter or body panicked")

// call runs f and returns its error, or errForeign if f panics.
func (p *foreign) call(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.value == nil {
				p.value, p.stack = value, debug.Stack()
			}
			err = errForeign
		}
	}()
	return f()
}

// rethrow repeats the first panic of call, if any, for the code that made the
// request. It must be called outside of all turns.
func (p *foreign) rethrow(o target) {
	p.mu.Lock()
	value, stack := p.value, p.stack
	p.mu.Unlock()
	if value == nil {
		return
	}
	if value != http.ErrAbortHandler {
		id, _ := o.identity()
		o.runtime().opts.Logger.Error("the request's own ResponseWriter or body panicked",
			"namespace", o.namespace().name, "object", id.String(), "panic", value, "stack", string(stack))
	}
	panic(value)
}
