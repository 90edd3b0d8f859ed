package load_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// One message to clients with and without compression, there and back: all read
// the same, and fewer bytes go over the wire.
func TestSocket_CompressionOverTCP(t *testing.T) {
	forEachOwner(t, "on", func(t *testing.T, kind string) { compressOverTCP(t, kind, dog.CompressionOn) })
	forEachOwner(t, "off", func(t *testing.T, kind string) { compressOverTCP(t, kind, dog.CompressionOff) })
	forEachOwner(t, "default", func(t *testing.T, kind string) { compressOverTCP(t, kind, 0) })
}

func compressOverTCP(t *testing.T, kind string, compression dog.Compression) {
	v := fixture.NewOwners(t, kind, dog.Options{Sockets: dog.SocketOptions{Compression: compression}}, echoToAll)
	url := "ws://" + serveTCP(t, v.Serve, nil) + "/?u="
	var clients []*websocket.Conn
	for id, mode := range map[string]websocket.CompressionMode{
		"a": websocket.CompressionNoContextTakeover, "b": websocket.CompressionDisabled,
		"c": websocket.CompressionContextTakeover, // asks for more than it gets
	} {
		c, _, err := websocket.Dial(t.Context(), url+id, &websocket.DialOptions{CompressionMode: mode})
		require.NoError(t, err)
		defer c.CloseNow()
		clients = append(clients, c)
	}
	long := strings.Repeat("the same again and again, ", 1000)
	for _, from := range clients {
		require.NoError(t, from.Write(t.Context(), websocket.MessageText, []byte(long)))
		for _, c := range clients {
			c.SetReadLimit(int64(len(long)))
			_, data, err := c.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, long, string(data))
		}
	}
	require.Eventually(t, func() bool { return v.Runtime.Stats().MessagesOut == 9 }, patience, time.Millisecond,
		"a client may have read what the server has not counted yet")
	traffic := v.Runtime.Stats().Traffic
	plain := uint64(len(long) * 3)
	if compression == dog.CompressionOn {
		require.Less(t, traffic.BytesIn, plain/3+plain/10)
		require.Less(t, traffic.BytesOut, plain+plain/10, "three times three, two of them small")
	} else {
		require.Greater(t, traffic.BytesIn, plain)
		require.Greater(t, traffic.BytesOut, 3*plain)
	}
}

// echoToAll sends each message to all sockets.
var echoToAll = &fixture.OwnerHooks{
	Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error { return o.Broadcast(m) },
}

// A silent client keeps no goroutine where that is possible and wanted, and is
// served as before.
func TestSocket_ParkAfterOverTCP(t *testing.T) {
	forEachOwner(t, "on", func(t *testing.T, kind string) {
		parkOverTCP(t, kind, 1, runtime.GOOS == "linux") // 1 ns stands for 10 ms
	})
	forEachOwner(t, "off", func(t *testing.T, kind string) { parkOverTCP(t, kind, -1, false) })
}

func parkOverTCP(t *testing.T, kind string, after time.Duration, parks bool) {
	v := fixture.NewOwners(t, kind, dog.Options{ParkAfter: after}, echoToAll)
	addr := serveTCP(t, v.Serve, nil)
	before := runtime.NumGoroutine()
	var clients []*peer
	for range 50 {
		clients = append(clients, mustDial(t, addr, "/?u=a"))
	}
	if parks {
		require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, patience, time.Millisecond)
	} else {
		require.Eventually(
			t, func() bool { return runtime.NumGoroutine() >= len(clients) }, patience, time.Millisecond,
		)
	}
	require.NoError(t, clients[7].send(opText, "hello"))
	for _, c := range clients {
		op, data, err := c.next()
		require.NoError(t, err)
		require.EqualValues(t, opText, op)
		require.Equal(t, "hello", string(data))
		c.Close()
	}
	require.Eventually(t, func() bool { return v.Runtime.Stats().Sockets == 0 }, patience, time.Millisecond)
}
