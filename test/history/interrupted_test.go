package history_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/wire"
	"github.com/godurable/dog/test/internal/fixture"
)

// A listener reads frames only when it is asked to.
type listener struct {
	ws       *websocket.Conn
	v1       bool
	deflates bool
	hello    hello
	pos      string // of the last message
}

// open connects a listener that speaks dog.v1 if after is a parameter of the
// query, and a plain one if it is "".
func open(t *testing.T, v *fixture.Owners, uid, after string, options websocket.DialOptions) *listener {
	t.Helper()
	l := &listener{v1: after != ""}
	options.HTTPClient = v.Server.Client()
	if l.v1 {
		options.Subprotocols = []string{"dog.v1"}
	}
	ws, resp, err := websocket.Dial(t.Context(), dogtest.URL+"/?u="+uid+after, &options)
	require.NoError(t, err)
	ws.SetReadLimit(1 << 20)
	l.ws = ws
	l.deflates = strings.HasPrefix(resp.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
	if l.v1 {
		_, data, err := ws.Read(t.Context())
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data[1:], &l.hello), "%q", data)
		l.pos = l.hello.Pos
	}
	return l
}

// next returns the next message. It ignores that the server is about to close
// the connection.
func (l *listener) next(t *testing.T) (text string, err error) {
	t.Helper()
	_, data, err := l.ws.Read(t.Context())
	if l.v1 && err == nil && data[0] == wire.Back {
		_, data, err = l.ws.Read(t.Context())
	}
	if err != nil || !l.v1 {
		return string(data), err
	}
	header, payload, found := strings.Cut(string(data), "\n")
	if header[0] == 'b' {
		return l.next(t)
	}
	require.True(t, found && header[0] == 'm', "%q", header)
	if len(header) > 1 {
		epoch, _, _ := strings.Cut(l.pos, "-")
		l.pos = epoch + "-" + header[1:]
	}
	return payload, nil
}

// A replay that is cut off by a reset or by Shutdown has sent the messages up
// to some place, and the next one goes on from there.
func TestInterrupted_ReplayGoesOnWhereItWas(t *testing.T) {
	const messages, before = 3000, 100
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 64 << 20}}
	for name, c := range map[string]struct {
		interrupt func(v *fixture.Owners) error
		code      websocket.StatusCode
		restart   bool
	}{
		"reset": {
			func(v *fixture.Owners) error { return v.Abort(errors.New("as asked")) },
			websocket.StatusInternalError, false,
		},
		"shutdown": {
			func(v *fixture.Owners) error { return v.Runtime.Shutdown(context.Background()) },
			websocket.StatusGoingAway, true,
		},
	} {
		for _, kind := range kinds {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := dogtest.NewDisk(t)
					v := fixture.NewOwners(t, kind, dog.Options{Store: d}, on)
					plain := open(t, v, "bob", "", websocket.DialOptions{})
					for _, text := range padded(1, messages) {
						require.NoError(t, v.Broadcast(t.Context(), text))
					}
					speaks := open(t, v, "ada", "&after=", websocket.DialOptions{})
					want := padded(1, messages)
					read := map[*listener]int{}
					for _, l := range []*listener{speaks, plain} {
						for ; read[l] < before; read[l]++ {
							text, err := l.next(t)
							require.NoError(t, err)
							requireText(t, want[read[l]], text)
						}
					}
					interrupted := make(chan error, 1)
					go func() { interrupted <- c.interrupt(v) }()
					synctest.Wait() // before the clients read the rest
					for _, l := range []*listener{speaks, plain} {
						for {
							text, err := l.next(t)
							if err != nil {
								require.Equal(t, c.code, websocket.CloseStatus(err), "%v", err)
								break
							}
							requireText(t, want[read[l]], text)
							read[l]++
						}
						_ = l.ws.CloseNow() // the server has closed it
					}
					require.NoError(t, <-interrupted)
					require.Less(t, read[speaks], messages, "it was cut off")
					if c.restart {
						v = fixture.NewOwners(t, kind, dog.Options{Store: d}, on)
					}
					again := open(t, v, "ada", after(speaks.pos), websocket.DialOptions{})
					defer again.ws.CloseNow()
					require.Empty(t, again.hello.Gap)
					for _, text := range want[read[speaks]:] {
						got, err := again.next(t)
						require.NoError(t, err)
						requireText(t, text, got)
					}
				})
			})
		}
	}
}
