package client_test

import (
	"errors"
	"net"
	"sync"
)

// A weakness is how a connection breaks: after so many bytes in one direction,
// by an error or by silence.
type weakness struct {
	reads, writes int
	silent        bool
}

// A weakConn is a connection with a weakness.
type weakConn struct {
	net.Conn
	weakness
	mu     sync.Mutex
	broken bool
	once   sync.Once
	closed chan struct{}
}

// spend returns how many of n bytes still pass.
func (c *weakConn) spend(budget *int, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return 0
	}
	pass := min(n, *budget)
	*budget -= pass
	c.broken = *budget == 0
	return pass
}

// fail returns the error of a connection that has broken.
func (c *weakConn) fail() error {
	if c.silent {
		<-c.closed
	}
	return errors.Join(net.ErrClosed, c.Close())
}

func (c *weakConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	room := min(len(p), c.reads)
	broken := c.broken
	c.mu.Unlock()
	if broken {
		return 0, c.fail()
	}
	n, err := c.Conn.Read(p[:room])
	if pass := c.spend(&c.reads, n); pass < n {
		return pass, c.fail()
	}
	return n, err
}

func (c *weakConn) Write(p []byte) (int, error) {
	pass := c.spend(&c.writes, len(p))
	n, err := c.Conn.Write(p[:pass])
	if err != nil || n == len(p) {
		return n, err
	}
	return n, c.fail()
}

func (c *weakConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
