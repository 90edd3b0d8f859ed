package conn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func replaceKernel(c *Conn) *kernel {
	k := &kernel{RawConn: c.direct.raw}
	c.direct.raw = k
	return k
}

// When the kernel has no room for one more connection to watch, the connection
// keeps its goroutine, and nothing else changes.
func TestPoller_KernelRefusesToWatch(t *testing.T) {
	p := NewPoller(time.Hour)
	p.kernel = &epoll{fd: -1}
	c, _ := overKernel(t, &Options{Poller: p, Wake: func(*Conn) { t.Error("it was never parked") }})
	c.askToPark()
	parked, again := c.park()
	require.False(t, parked)
	require.True(t, again)
	require.NoError(
		t, c.direct.read(func(uintptr) bool { return true }), "the deadline that was to rouse the reader is gone",
	)
}
