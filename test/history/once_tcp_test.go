package history_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// A slowOpener is an object whose first OnOpen waits.
type slowOpener struct {
	dog.Object
	goOn chan struct{}
}

func (o *slowOpener) OnOpen(ctx context.Context, _ *dog.Socket) error {
	goOn := o.goOn
	o.goOn = nil
	if goOn == nil {
		return nil
	}
	return dog.Await(ctx, func() error { <-goOn; return nil })
}

func (o *slowOpener) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	return o.Storage().Put("last", m.Data)
}

// A message that lies unread when its client connects again takes its number.
// The new connection hears of that. It may be that of a new process with the
// same session, which would give the number to another message.
func TestOnce_NewConnectionHearsOfWhatAnEarlierOneHasSent(t *testing.T) {
	rt, err := dog.New(dog.Options{Store: disk.Memory(), Logger: unlogged.Logger})
	require.NoError(t, err)
	goOn := make(chan struct{})
	openers, err := dog.RegisterObject(rt, "opener", &dog.ObjectOptions[slowOpener]{
		New: func() *slowOpener { return &slowOpener{goOn: goOn} },
	})
	require.NoError(t, err)
	srv := httptest.NewServer(openers.Named("main"))
	defer srv.Close()
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
	dialTCP := func() *websocket.Conn {
		c, _, err := websocket.Dial(t.Context(), srv.URL+"/?session=0123456789", &websocket.DialOptions{
			Subprotocols: []string{"dog.v1"},
		})
		require.NoError(t, err)
		_, hello, err := c.Read(t.Context())
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(hello), "h"))
		require.Contains(t, string(hello), `"in":0`)
		return c
	}
	earlier := dialTCP()
	require.NoError(t, earlier.Write(t.Context(), websocket.MessageText, []byte("m1\nunread")))
	require.NoError(t, earlier.CloseNow())
	later := dialTCP()
	defer later.CloseNow()
	close(goOn)
	_, frame, err := later.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "a1", string(frame))
}
