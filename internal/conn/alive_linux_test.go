package conn_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/godurable/dog/internal/conn"
)

// A peer whose machine is gone is not reading what it had taken before.
func TestAlive_UnreachablePeerIsCutAfterWriteTimeout(t *testing.T) {
	const timeout = time.Second
	server, client := tcpPair(t)
	c, p := accept(t, server, client, &conn.Options{QueueBytes: 64 << 20, WriteTimeout: timeout})
	read := startReading(c)
	f := conn.NewFrame(conn.Binary, make([]byte, 600<<10))
	require.NoError(t, c.Send(f, ""))
	p.next() // would take it thirteen times WriteTimeout
	raw, err := client.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET}}) // lets nothing in
	}))
	require.NoError(t, err)
	start := time.Now()
	for range 13 {
		require.NoError(t, c.Send(f, "")) // more than the kernel takes
	}
	requireEnd(t, read, 1006, "", conn.ErrSlow)
	require.GreaterOrEqual(t, time.Since(start), timeout)
	require.Less(t, time.Since(start), 10*timeout)
}
