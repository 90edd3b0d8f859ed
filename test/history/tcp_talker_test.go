package history_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/godurable/dog"
)

const (
	talkers      = 8
	slowTalkers  = 3 // of them
	slowTimes    = 3 // for how many connections each of these reads nothing until it is behind
	spokenByEach = 300
)

// tcpTalk is what all clients have in common.
type tcpTalk struct {
	srv         *httptest.Server
	history     dog.History
	slowSockets func(n int) []dog.SlowSocket
	open        [talkers]atomic.Int64 // sockets of each client
	outside     atomic.Int64          // messages from outside, once their number is known
	failed      context.Context       // done when a client has failed, because the others would wait for it
	fail        context.CancelFunc

	connections, missed, slowed, again atomic.Int64 // missed: connections with messages to catch up on
}

// tcpTalker is a client that speaks and listens, over connections that it
// breaks.
type tcpTalker struct {
	*tcpTalk
	i    int
	uid  string
	slow int    // for how many connections it is still to be slow
	pos  string // of the last message, or that of the hello
	got  []heard
	want int // of the messages of clients
	// acked and sent are numbers of its own messages. While a connection is
	// open, speak owns sent.
	acked, sent int
}

// heard is a message without its padding.
type heard struct{ place, text string }

func uidOf(i int) string { return fmt.Sprint("client-", i) }

func numberOf(uid string) int { return int(uid[len(uid)-1] - '0') }

// to returns for whom the n-th message of a client is.
func to(speaker, n int) string {
	switch n % 4 {
	case 0, 1:
		return "all"
	case 2:
		return "others"
	}
	return uidOf((speaker + n) % talkers)
}

// concerns reports whether a message is for the client.
func (c *tcpTalker) concerns(to string, speaker int) bool {
	return to == "all" || to == "others" && speaker != c.i || to == c.uid
}

// count sets how many messages of clients are for the client.
func (c *tcpTalker) count() {
	for speaker := range talkers {
		for n := range spokenByEach {
			if c.concerns(to(speaker, n), speaker) {
				c.want++
			}
		}
	}
}

// done reports whether the client has all messages, and all of its own have
// been handled.
func (c *tcpTalker) done() bool {
	outside := int(c.outside.Load())
	return outside > 0 && c.acked == spokenByEach && len(c.got) >= c.want+outside
}

// complete returns an error if what the client has got is not each message for
// it, in the order of its speaker. The number of messages is right.
func (c *tcpTalker) complete() error {
	next := map[int]int{}
	for _, m := range c.got {
		var whom string
		var speaker, n int
		if _, err := fmt.Sscan(m.text, &whom, &speaker, &n); err != nil {
			return err
		}
		want := next[speaker]
		for speaker < talkers && !c.concerns(to(speaker, want), speaker) {
			want++
		}
		if n != want || speaker < talkers && whom != to(speaker, n) {
			return fmt.Errorf("%s got %q instead of message %d", c.uid, m.text, want)
		}
		next[speaker] = n + 1
	}
	return nil
}

// converse makes connections until the client is done.
func (c *tcpTalker) converse(t *testing.T) {
	c.count()
	for c.failed.Err() == nil && !c.done() {
		if err := c.connect(t); err != nil && c.failed.Err() == nil {
			c.fail()
			t.Errorf("%s after %d messages: %v", c.uid, len(c.got), err)
		}
	}
}

// connect makes a connection that the client breaks.
func (c *tcpTalker) connect(t *testing.T) error {
	c.connections.Add(1)
	var nc net.Conn
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
			nc, err = new(net.Dialer).DialContext(ctx, network, address)
			return nc, err
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a server of the test
	}
	path := "/?u=" + c.uid + "&session=session-of-" + c.uid + "&after=" + url.QueryEscape(c.pos)
	ws, resp, err := websocket.Dial(c.failed, c.srv.URL+path, &websocket.DialOptions{
		Subprotocols: []string{"dog.v1"}, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		return err
	}
	if resp.Body != nil {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	ws.SetReadLimit(1 << 20)
	known := c.acked // it sends again even what the hello acknowledges
	if err := c.greet(ws); err != nil {
		return err
	}
	spoken := make(chan struct{})
	go func() {
		defer close(spoken)
		c.speak(ws, known)
	}()
	defer func() {
		_ = nc.Close()
		<-spoken
	}()
	if c.slow > 0 {
		behind, err := c.waitBehind()
		if err != nil || !behind {
			return err
		}
		c.slow--
		c.slowed.Add(1)
	}
	for range rand.IntN(1000) { // then it breaks the connection
		if c.done() {
			return nil
		}
		_, data, err := ws.Read(c.failed)
		if websocket.CloseStatus(err) == websocket.StatusTryAgainLater {
			return nil // its last message is being handled on another connection
		}
		if err != nil {
			return err
		}
		if err := c.hear(string(data)); err != nil {
			return err
		}
		if rand.IntN(500) == 0 {
			time.Sleep(20 * time.Millisecond) // it reads nothing for a while
		}
	}
	return nil
}

// greet reads the hello.
func (c *tcpTalker) greet(ws *websocket.Conn) error {
	_, data, err := ws.Read(c.failed)
	if err != nil {
		return err
	}
	var h hello
	if err := json.Unmarshal(data[1:], &h); err != nil {
		return err
	}
	if c.pos != "" && (h.Gap != "" || h.Pos < c.pos) || int(h.In) < c.acked || int(h.In) > c.sent {
		return fmt.Errorf("asked for %q, with %d to %d messages handled: hello %s", c.pos, c.acked, c.sent, data)
	}
	if last, err := c.history.Position(); err != nil || c.pos != "" && string(last) > c.pos {
		c.missed.Add(1)
	}
	c.pos, c.acked = h.Pos, int(h.In)
	return nil
}

// speak sends the client's messages after the acked ones, until the connection
// breaks.
func (c *tcpTalker) speak(ws *websocket.Conn, acked int) {
	c.again.Add(int64(c.sent - acked))
	for n := acked; n < spokenByEach; n++ {
		c.sent = max(c.sent, n+1)
		message := fmt.Sprintf("m%d\n%s", n+1, said(to(c.i, n), c.i, n))
		if ws.Write(context.Background(), websocket.MessageText, []byte(message)) != nil {
			return
		}
		time.Sleep(rand.N(4 * time.Millisecond)) // it speaks over many connections
	}
}

// hear takes a frame.
func (c *tcpTalker) hear(frame string) error {
	header, payload, _ := strings.Cut(frame, "\n")
	switch {
	case header[0] == 'a':
		acked, err := strconv.Atoi(header[1:])
		if err != nil || acked < c.acked || acked > spokenByEach {
			return fmt.Errorf("the acknowledgement %q after %d: %w", header, c.acked, err)
		}
		c.acked = acked
	case header[0] == 'm' && len(header) > 1:
		pos := c.pos[:strings.IndexByte(c.pos, '-')+1] + header[1:]
		if pos <= c.pos {
			return fmt.Errorf("a message at %q after %q", pos, c.pos)
		}
		c.pos = pos
		text, _, _ := strings.Cut(payload, " x")
		c.got = append(c.got, heard{header[1:], text})
	default:
		return fmt.Errorf("the frame %q", header)
	}
	return nil
}

// waitBehind reads nothing until the client's socket is behind with messages
// that were sent meanwhile, instead of with those that it has missed before. It
// returns false if the connection has ended instead, because a message of the
// client is still being handled on an earlier one.
func (c *tcpTalker) waitBehind() (bool, error) {
	began, err := c.history.Position()
	if err != nil {
		return false, err
	}
	for ; c.open[c.i].Load() > 0 && c.failed.Err() == nil; time.Sleep(5 * time.Millisecond) {
		page, err := c.history.Read(began, 200)
		if err != nil {
			return false, err
		}
		if !page.More {
			continue
		}
		for _, s := range c.slowSockets(2 * talkers) {
			if s.UID == c.uid && s.Behind {
				return true, nil
			}
		}
	}
	return false, nil
}
