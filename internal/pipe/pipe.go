// Package pipe has a network in memory, for tests in virtual time.
//
// It does not know what is sent: no HTTP, no WebSockets.
package pipe

import (
	"context"
	"net"
	"sync"
)

// Listener accepts connections dialled in the same process. Use [New].
type Listener struct {
	accepted chan net.Conn
	once     sync.Once
	closed   chan struct{} // by Close
}

// New returns a listener.
func New() *Listener {
	return &Listener{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial connects to the listener. Both ends buffer nothing.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.accepted <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Dial and Accept. It may be called more than once.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns an address that is the same for all listeners.
func (l *Listener) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "pipe" }
func (address) String() string  { return "dog.test:80" }
