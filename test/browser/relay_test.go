package browser_test

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A relay is a network between browsers and a program, that can be cut.
type relay struct {
	addr string

	mu     sync.Mutex
	conns  map[net.Conn]bool // guarded by mu
	cut    bool              // nothing gets through; guarded by mu
	after  []byte            // see holdBetween; guarded by mu
	before []byte            // see holdBetween; guarded by mu
}

// newRelay relays to an address until the test ends.
func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{addr: listener.Addr().String(), conns: make(map[net.Conn]bool)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(from, target) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		r.setCut(true)
		serving.Wait()
	})
	return r
}

// setCut ends all connections and lets no others through, until it is called
// with false.
func (r *relay) setCut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut, r.after, r.before = cut, nil, nil
	if !cut {
		return
	}
	for conn := range r.conns {
		_ = conn.Close()
	}
	clear(r.conns)
}

// holdBetween passes on a text, and nothing of what the server sends on the
// same connection from the next occurrence of another text on. It lasts until
// setCut.
func (r *relay) holdBetween(text, another string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.after, r.before = []byte(text), []byte(another)
}

// join reports whether the ends of a connection are let through.
func (r *relay) join(ends ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range ends {
		if !r.cut {
			r.conns[conn] = true
		} else {
			_ = conn.Close()
		}
	}
	return !r.cut
}

func (r *relay) serve(from net.Conn, target string) {
	defer from.Close()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	if !r.join(from, to) {
		return
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		defer to.Close()
		r.pass(from, to, false)
	})
	r.pass(to, from, true)
	_ = from.Close()
	sending.Wait()
}

// pass passes on what comes, until a side is closed.
func (r *relay) pass(from, to net.Conn, down bool) {
	b := make([]byte, 64<<10)
	for held := false; ; {
		n, err := from.Read(b)
		allowed := n
		switch {
		case held:
			allowed = 0
		case down:
			allowed = r.allowed(b[:n])
			held = allowed < n
		}
		if _, failed := to.Write(b[:allowed]); err != nil || failed != nil {
			return
		}
	}
}

// allowed returns how many bytes from a server may be passed on. If these are
// not all, nothing is after them.
func (r *relay) allowed(b []byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := 0
	if r.after != nil {
		at := bytes.Index(b, r.after)
		if at < 0 {
			return len(b)
		}
		from, r.after = at+len(r.after), nil
	}
	if at := bytes.Index(b[from:], r.before); r.before != nil && at >= 0 {
		return from + at
	}
	return len(b)
}
