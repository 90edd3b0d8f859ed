package load_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A client that ends its part of the connection still gets what the owner of
// its socket sent before, once that is durable, and only then the answer to its
// close.
func TestSocket_HeldMessagesArriveAfterTheClientHasClosed(t *testing.T) {
	ends := map[string]struct {
		end    func(*net.TCPConn) error
		answer string // our close frame
	}{
		"close frame":     {writes("\x88\x82\x00\x00\x00\x00\x0b\xb9"), "\x88\x02\x0b\xb9"},
		"half-close":      {(*net.TCPConn).CloseWrite, ""},
		"a violation":     {writes("\x81\x01a"), "\x88\x10\x03\xeaprotocol error"},
		"an empty close":  {writes("\x88\x80\x00\x00\x00\x00"), "\x88\x00"},
		"close, then FIN": {closes, "\x88\x02\x0b\xb9"},
	}
	outcomes := map[string]struct {
		come    func(*storetest.Engine)
		arrives bool
		timeout time.Duration // CloseTimeout
	}{
		"it is durable":  {(*storetest.Engine).Flush, true, time.Minute},
		"it is lost":     {func(e *storetest.Engine) { e.Fail(dog.ErrStoreFailed) }, false, time.Minute},
		"the disk hangs": {func(*storetest.Engine) {}, false, 20 * time.Millisecond},
	}
	for endName, end := range ends {
		for outcomeName, outcome := range outcomes {
			for _, n := range []int{0, 1, 100} {
				forEachOwner(t, fmt.Sprintf("%s, %s, %d", endName, outcomeName, n), func(t *testing.T, kind string) {
					sent, closed := make(chan error, 1), make(chan []error, 1)
					v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
						SocketOptions: dog.SocketOptions{CloseTimeout: outcome.timeout},
						Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, _ dog.Message) error {
							err := fixture.Put(o)
							for i := range n {
								if i%2 == 0 {
									err = errors.Join(err, s.Send("held"))
								} else {
									err = errors.Join(err, fixture.Emit(o, "held"))
								}
							}
							sent <- err
							return err
						},
						Close: func(_ context.Context, o fixture.Owner, s *dog.Socket, _ int, _ string) error {
							for range o.Sockets() {
								return errors.New("it is listed still")
							}
							closed <- []error{s.Send("too late"), fixture.Emit(o, "too late")}
							return nil
						},
					})
					client := mustDial(t, serveTCP(t, v.Serve, nil), "/?u=ada")
					require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
					require.NoError(t, client.send(opText, ""))
					require.NoError(t, <-sent)
					require.NoError(t, end.end(client.TCPConn))
					errs := <-closed
					require.ErrorIs(t, errs[0], dog.ErrSocketClosed)
					require.NoError(t, errs[1])
					outcome.come(engine)

					want := ""
					for range n {
						if outcome.arrives {
							want += "\x81\x04held"
						}
					}
					got, err := io.ReadAll(client.in)
					require.NoError(t, err)
					require.Equal(t, want+end.answer, string(got))
				})
			}
		}
	}
}

// writes returns what sends these bytes.
func writes(frame string) func(*net.TCPConn) error {
	return func(c *net.TCPConn) error {
		_, err := io.WriteString(c, frame)
		return err
	}
}

func closes(c *net.TCPConn) error {
	return errors.Join(writes("\x88\x82\x00\x00\x00\x00\x0b\xb9")(c), c.CloseWrite())
}
