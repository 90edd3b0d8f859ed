package socket_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// dialRaw connects a client that does only what the test does.
func dialRaw(t *testing.T, v *fixture.Owners) io.ReadWriteCloser {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, dogtest.URL+"/?u=raw", nil)
	require.NoError(t, err)
	r.Header = fixture.NewUpgrade("/").Header
	response, err := v.Server.Client().Do(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	ws := response.Body.(io.ReadWriteCloser)
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// The time that is in force is the one stated nearest to the socket: for it
// alone, for its type, or for the runtime.
func TestOptions_NearestStatedTimeIsInForce(t *testing.T) {
	const near, far = 16 * time.Second, 64 * time.Second
	for name, c := range map[string]struct {
		field       func(o *dog.SocketOptions) *time.Duration
		stuck       bool // the client reads nothing
		least, most time.Duration
	}{
		"PingInterval": {
			field: func(o *dog.SocketOptions) *time.Duration { return &o.PingInterval }, least: near * 15 / 8,
			most: near * 2,
		},
		"WriteTimeout": {
			field: func(o *dog.SocketOptions) *time.Duration { return &o.WriteTimeout }, stuck: true, least: near,
			most: near * 17 / 16,
		},
		"CloseTimeout": {
			field: func(o *dog.SocketOptions) *time.Duration { return &o.CloseTimeout }, least: near, most: near,
		},
	} {
		for level, stated := range map[string][3]time.Duration{ // of the runtime, of the type, of the socket
			"of the runtime": {near}, "of the type": {far, near}, "of the socket": {far, far, near},
		} {
			t.Run(name+" "+level, func(t *testing.T) {
				fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
					var options [3]dog.SocketOptions
					for i := range options {
						*c.field(&options[i]) = stated[i]
					}
					if name != "PingInterval" {
						options[0].PingInterval = -1
					}
					ended := make(chan time.Time, 1)
					v := fixture.NewOwners(t, kind, dog.Options{Sockets: options[0]}, &fixture.OwnerHooks{
						SocketOptions: options[1],
						Receive: func(o fixture.Owner, w http.ResponseWriter, r *http.Request) error {
							_, err := o.Connect(w, r, &options[2])
							return err
						},
						Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
							if name == "CloseTimeout" {
								return s.Close(1000, "")
							}
							return s.Send("hello")
						},
						Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error {
							ended <- time.Now()
							return nil
						},
					})
					ws := dialRaw(t, v)
					_, err := ws.Write([]byte{0x81, 0x80, 0, 0, 0, 0}) // an empty text
					require.NoError(t, err)
					began := time.Now()
					if !c.stuck {
						_, _ = io.Copy(io.Discard, ws)
					}
					took := (<-ended).Sub(began)
					require.GreaterOrEqual(t, took, c.least)
					require.LessOrEqual(t, took, c.most)
				})
			})
		}
	}
}
