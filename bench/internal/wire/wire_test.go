package wire_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/bench/internal/wire"
)

func TestNext_TakesWholeFramesOnly(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 1 << 10, 1<<16 - 1, 1 << 16} {
		payload := bytes.Repeat([]byte("abcde"), size/5+1)[:size]
		for name, frame := range map[string][]byte{
			"server": wire.AppendFrame(nil, wire.Binary, payload),
			"client": wire.AppendMasked(nil, wire.Binary, payload),
		} {
			for _, cut := range []int{0, 1, 2, 3, len(frame) - 1} {
				if cut < len(frame) {
					_, n, err := wire.Next(frame[:cut])
					require.NoError(t, err, name)
					require.Zero(t, n, "%s, %d of %d bytes", name, cut, len(frame))
				}
			}
			f, n, err := wire.Next(append(bytes.Clone(frame), "next"...))
			require.NoError(t, err, name)
			require.Equal(t, len(frame), n, name)
			require.Equal(t, byte(wire.Binary), f.Op, name)
			require.True(t, bytes.Equal(payload, f.Payload), name)
		}
	}
}

func TestNext_RefusesFragments(t *testing.T) {
	for name, frame := range map[string][]byte{
		"first": {wire.Binary, 1, 'x'},
		"last":  {0x80 | wire.Continuation, 1, 'x'},
	} {
		_, _, err := wire.Next(frame)
		require.ErrorIs(t, err, wire.ErrFragmented, name)
	}
}

func TestAppendMasked_ChangesThePayload(t *testing.T) {
	require.NotContains(t, string(wire.AppendMasked(nil, wire.Binary, []byte("plain"))), "plain")
}

func TestMessage_KeepsItsNumber(t *testing.T) {
	m := make([]byte, wire.MinMessage)
	wire.PutMessage(m, wire.FanOut, 1<<40+7)
	require.Equal(t, byte(wire.FanOut), m[0])
	require.Equal(t, uint64(1<<40+7), wire.Seq(m))
}

func TestParseCentrifuge(t *testing.T) {
	// reply { push { channel, pub { data } } }
	publication := []byte("\x0d\x22\x0b" + "\x12\x01b" + "\x22\x06" + "\x22\x04data")
	message := []byte("\x09\x22\x07" + "\x42\x05" + "\x0a\x03one") // reply { push { message { data } } }
	reply := []byte("\x04\x08\x01\x2a\x00")                        // reply { id, connect {} }
	ping := []byte{0}
	failed := []byte("\x04\x12\x02\x08\x64") // reply { error { code } }

	var got []string
	each := func(data []byte) { got = append(got, string(data)) }
	f, err := wire.ParseCentrifuge(bytes.Join([][]byte{reply, publication, message, publication}, nil), false, each)
	require.NoError(t, err)
	require.Equal(t, wire.CentrifugeFrame{Connected: true}, f)
	require.Equal(t, []string{"data", "one", "data"}, got)

	f, err = wire.ParseCentrifuge(ping, false, each)
	require.NoError(t, err)
	require.Equal(t, wire.CentrifugeFrame{Ping: true}, f)

	for name, payload := range map[string][]byte{"cut": publication[:5], "failed": failed} {
		_, err = wire.ParseCentrifuge(payload, false, each)
		require.Error(t, err, name)
	}
	_, err = wire.ParseCentrifuge(reply, true, each)
	require.Error(t, err, "nothing has been recovered")
	require.Len(t, got, 3)
}

// TestCentrifuge_Recovers has the node itself read the command and write the
// reply.
func TestCentrifuge_Recovers(t *testing.T) {
	node, err := centrifuge.New(centrifuge.Config{})
	require.NoError(t, err)
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{},
			Subscriptions: map[string]centrifuge.SubscribeOptions{wire.CentrifugeChannel: {EnableRecovery: true}},
		}, nil
	})
	require.NoError(t, node.Run())
	srv := httptest.NewServer(centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
	defer srv.Close()
	defer func() { require.NoError(t, node.Shutdown(context.Background())) }()
	connect := func(after string) (f wire.CentrifugeFrame, got []string, err error) {
		command, err := wire.AppendCentrifugeConnect(nil, after)
		require.NoError(t, err)
		ws, _, err := websocket.Dial(t.Context(), srv.URL+"/?format=protobuf", nil)
		require.NoError(t, err)
		defer ws.CloseNow()
		require.NoError(t, ws.Write(t.Context(), websocket.MessageBinary, command))
		_, data, err := ws.Read(t.Context())
		require.NoError(t, err)
		f, err = wire.ParseCentrifuge(data, after != "", func(data []byte) { got = append(got, string(data)) })
		return f, got, err
	}
	f, got, err := connect("")
	require.NoError(t, err)
	require.Empty(t, got)
	for _, text := range []string{"a", "b", "c"} {
		_, err := node.Publish(wire.CentrifugeChannel, []byte(text), centrifuge.WithHistory(2, time.Hour))
		require.NoError(t, err)
	}
	_, _, err = connect(f.Position)
	require.ErrorContains(t, err, "missing")
	_, epoch, _ := strings.Cut(f.Position, "-")
	_, got, err = connect("1-" + epoch)
	require.NoError(t, err)
	require.Equal(t, []string{"b", "c"}, got)
	_, err = wire.AppendCentrifugeConnect(nil, "x")
	require.Error(t, err)
}

func TestParseV1(t *testing.T) {
	for payload, want := range map[string]wire.V1Frame{
		"mc118\ntext\nmore": {Kind: 'm', Data: []byte("text\nmore")},
		"m\n":               {Kind: 'm', Data: []byte{}},
		"h{}":               {Kind: 'h', Data: []byte("{}")},
	} {
		f, err := wire.ParseV1([]byte(payload))
		require.NoError(t, err, payload)
		require.Equal(t, want, f, payload)
	}
	for _, payload := range []string{"", "mc118"} {
		_, err := wire.ParseV1([]byte(payload))
		require.Error(t, err, payload)
	}
	position, err := wire.V1Frame{Kind: 'h', Data: []byte(`{"v":1,"pos":"k-c118","gap":"first"}`)}.Position()
	require.NoError(t, err)
	require.Equal(t, "k-c118", position)
	_, err = wire.V1Frame{Kind: 'h', Data: []byte(`{"v":1,"pos":"k-c118","gap":"expired"}`)}.Position()
	require.ErrorContains(t, err, "expired")
	require.Equal(t, "m\nx", string(wire.AppendV1(nil, []byte("x"))))
}
