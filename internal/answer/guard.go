package answer

import (
	"errors"
	"runtime/debug"
	"sync"
)

// Guard guards an object against code that its handler runs and that belongs
// to the request: the ResponseWriter and the body, which a middleware may have
// replaced. If this code panics, only the request ends. Guard is safe for
// concurrent use.
type Guard struct {
	mu    sync.Mutex
	value any    // of the first panic; nil: none; guarded by mu
	stack []byte // guarded by mu
}

var errPanicked = errors.New("dog: the request's own ResponseWriter or body panicked")

// Call runs f and returns its error, or errPanicked if f panics.
func (p *Guard) Call(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.value == nil {
				p.value, p.stack = value, debug.Stack()
			}
			err = errPanicked
		}
	}()
	return f()
}

// Panic returns the first panic of Call. value is nil if there was none.
func (p *Guard) Panic() (value any, stack []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.value, p.stack
}
