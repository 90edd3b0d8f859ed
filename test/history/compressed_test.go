package history_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// mixed returns messages of all sizes, some of which can be compressed.
func mixed(n int) (all []any) {
	for i := range n {
		head := fmt.Sprintf("message %d ", i)
		switch i % 3 {
		case 0:
			all = append(all, head+strings.Repeat("again and ", i%700))
		case 1:
			all = append(all, []byte(head+rand.Text()+strings.Repeat("\x00", i%3000)))
		default:
			all = append(all, head)
		}
	}
	return all
}

var compressions = []websocket.CompressionMode{
	websocket.CompressionDisabled, websocket.CompressionNoContextTakeover, websocket.CompressionContextTakeover,
}

// Clients with and without compression, of dog.v1 and plain, get the same
// messages: from the history, as they are sent, and after they were slow.
func TestCompressed_MessagesArriveIntactAndInOrder(t *testing.T) {
	const missed, total = 1000, 3000
	want := mixed(total)
	on := &fixture.OwnerHooks{
		History:       dog.HistoryOptions{Bytes: 64 << 20},
		SocketOptions: dog.SocketOptions{Compression: dog.CompressionOn, QueueBytes: 16 << 10},
	}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		say := func(messages []any) {
			for _, m := range messages {
				require.NoError(t, v.Broadcast(t.Context(), m))
			}
		}
		check := func(l *listener, messages []any) {
			for i, m := range messages {
				text, err := l.next(t)
				require.NoError(t, err, "message %d", i)
				requireText(t, fmt.Sprintf("%s", m), text)
			}
		}
		say(want[:missed])
		var speak, plain []*listener
		for i, mode := range compressions {
			options := websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1}
			speak = append(speak, open(t, v, fmt.Sprint("v1-", i), "&after=", options))
			plain = append(plain, open(t, v, fmt.Sprint("plain-", i), "", options))
			require.Equal(t, mode != websocket.CompressionDisabled, speak[i].deflates)
			require.Equal(t, mode != websocket.CompressionDisabled, plain[i].deflates)
		}
		say(want[missed:2000]) // nobody reads, so all are behind
		for i := range compressions {
			check(speak[i], want[:2000])
			check(plain[i], want[missed:2000])
		}
		synctest.Wait()
		for _, m := range want[2000:2500] { // as it is sent
			say([]any{m})
			for i := range compressions {
				check(speak[i], []any{m})
				check(plain[i], []any{m})
			}
		}
		say(want[2500:])
		for i := range compressions {
			check(speak[i], want[2500:])
			check(plain[i], want[2500:])
			require.NoError(t, speak[i].ws.CloseNow())
			require.NoError(t, plain[i].ws.CloseNow())
		}
	})
}
