package load_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// Nor does it wait, once its context has ended, for a client that has answered
// the close frame and does not hang up.
func TestShutdown_TimeoutCutsClientsThatDoNotDisconnect(t *testing.T) {
	for _, kind := range fixture.OwnerKinds {
		t.Run(kind, func(t *testing.T) {
			v := fixture.NewOwners(
				t, kind, dog.Options{Sockets: dog.SocketOptions{CloseTimeout: time.Hour}}, &fixture.OwnerHooks{},
			)
			client := mustDial(t, serveTCP(t, v.Serve, nil), "/?u=ada")
			require.Eventually(t, func() bool { return v.Runtime.Stats().Sockets == 1 }, patience, time.Millisecond)
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan error, 1)
			go func() { over <- v.Runtime.Shutdown(ctx) }()
			op, _, err := client.next()
			require.NoError(t, err)
			require.EqualValues(t, opClose, op)
			require.NoError(t, client.send(opClose, "\x03\xe9"))
			_, err = client.in.ReadByte() // our side of the stream has ended
			require.ErrorIs(t, err, io.EOF)
			cancel()
			<-over
			require.NoError(t, v.Runtime.Shutdown(t.Context()))
		})
	}
}
