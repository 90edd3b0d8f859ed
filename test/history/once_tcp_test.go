package history_test

import (
	"context"
	"net/http/httptest"
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

func (o *slowOpener) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	return s.Broadcast(m)
}

// A message that lies unread when its client connects again takes its number.
// The new connection hears of that. It may be that of a new process with the
// same session, which would give the number to another message. Neither of the
// connections gets what the handler sends to the others.
func TestOnce_NewConnectionHearsOfWhatAnEarlierOneHasSent(t *testing.T) {
	for _, c := range []struct {
		name    string
		history dog.HistoryOptions
		leaves  bool // the earlier connection, before its message is read
	}{
		{"without a history", dog.HistoryOptions{}, true},
		{"with a history", dog.HistoryOptions{Count: 100}, true},
		{"without a history, both open", dog.HistoryOptions{}, false},
		{"with a history, both open", dog.HistoryOptions{Count: 100}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt, err := dog.New(dog.Options{Store: disk.Memory(), Logger: unlogged.Logger})
			require.NoError(t, err)
			goOn := make(chan struct{})
			openers, err := dog.RegisterObject(rt, "opener", &dog.ObjectOptions[slowOpener]{
				New:     func() *slowOpener { return &slowOpener{goOn: goOn} },
				History: c.history,
			})
			require.NoError(t, err)
			srv := httptest.NewServer(openers.Named("main"))
			defer srv.Close()
			defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
			dialTCP := func(session string) *websocket.Conn {
				c, _, err := websocket.Dial(t.Context(), srv.URL+"/?session="+session, &websocket.DialOptions{
					Subprotocols: []string{"dog.v1"},
				})
				require.NoError(t, err)
				require.Contains(t, read(t, c), `"in":0`)
				return c
			}
			earlier := dialTCP("ada-456789")
			require.NoError(t, earlier.Write(t.Context(), websocket.MessageText, []byte("m1\nunread")))
			if c.leaves {
				require.NoError(t, earlier.CloseNow())
			}
			defer earlier.CloseNow()
			later, other := dialTCP("ada-456789"), dialTCP("bob-456789")
			defer later.CloseNow()
			defer other.CloseNow()
			close(goOn)
			require.Equal(t, "a1", read(t, later))
			require.Regexp(t, "^m.*\nunread$", read(t, other))
			require.NoError(t, other.Write(t.Context(), websocket.MessageText, []byte("m\nfrom bob")))
			require.Regexp(t, "^m.*\nfrom bob$", read(t, later), "not its own message")
			if !c.leaves {
				require.Equal(t, "a1", read(t, earlier))
				require.Regexp(t, "^m.*\nfrom bob$", read(t, earlier), "not its own message")
			}
		})
	}
}

func read(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	_, frame, err := c.Read(t.Context())
	require.NoError(t, err)
	return string(frame)
}
