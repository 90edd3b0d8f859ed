package history_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/wire"
)

// A countdown closes done when it has been counted down.
type countdown struct {
	left atomic.Int64
	done chan struct{}
}

func newCountdown(n int) *countdown {
	c := &countdown{done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) count() {
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}

// A survivor is a client of dog.v1 that checks the messages and gaps it gets,
// over the lives of its server.
type survivor struct {
	uid, session string
	gap          dog.GapReason // that it must get after its server was killed
	random       *rand.Rand

	sent         uint64 // the number of its last message
	acknowledged uint64
	pos          string // of the last message
	last         int    // the number in that message; 0: a gap came before the next
	highest      int    // the highest number that it has received
	killed       bool   // its server, since it had the position
	connections  int
	failed       error
}

func newSurvivor(uid string, gap dog.GapReason, seed uint64) *survivor {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test
	return &survivor{uid: uid, session: "session-of-" + uid, gap: gap, random: random}
}

// text returns a message.
func (s *survivor) text(number uint64) string { return fmt.Sprintf("%s %06d", s.uid, number) }

// talk sends and receives over several connections, until the server is killed.
func (s *survivor) talk(ctx context.Context, addr, kind string, left *countdown) {
	s.connections = 0
	for s.failed == nil {
		ws, err := s.connect(ctx, addr, kind)
		if err != nil {
			break
		}
		s.converse(ctx, ws, left)
		_ = ws.CloseNow()
	}
	s.killed = true
}

// connect opens a connection. The error is that the server is gone.
func (s *survivor) connect(ctx context.Context, addr, kind string) (*websocket.Conn, error) {
	query := url.Values{"u": {s.uid}, "session": {s.session}, "after": {s.pos}}
	ws, _, err := websocket.Dial(ctx, "ws://"+addr+"/"+kind+"?"+query.Encode(),
		&websocket.DialOptions{Subprotocols: []string{wire.Protocol}})
	if err != nil {
		return nil, err
	}
	_, data, err := ws.Read(ctx)
	if err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	s.connections++
	return ws, s.greet(data)
}

// greet checks a hello.
func (s *survivor) greet(data []byte) error {
	var h hello
	if err := json.Unmarshal(data[1:], &h); err != nil {
		s.failed = err
		return err
	}
	want := dog.GapReason("")
	switch {
	case s.pos == "":
		want = dog.GapFirst
	case s.killed && h.Gap == string(dog.GapEpoch) && strings.HasSuffix(s.pos, "-a0"):
		want = dog.GapEpoch // nothing had been kept yet, so the epoch was not either
	case s.killed:
		want = s.gap
	}
	switch {
	case dog.GapReason(h.Gap) != want:
		s.failed = fmt.Errorf("hello %s for the position %q: the gap should be %q", data, s.pos, want)
	case want == "" && !s.killed && h.Pos != s.pos:
		s.failed = fmt.Errorf("hello %s for the position %q", data, s.pos)
	case h.In < s.acknowledged || h.In > s.sent:
		s.failed = fmt.Errorf("hello %s after %d messages, of which %d were acknowledged", data, s.sent, s.acknowledged)
	}
	if h.Gap != "" {
		s.last = 0
	}
	s.pos, s.acknowledged, s.killed = h.Pos, h.In, false
	return s.failed
}

// converse sends again what has not been acknowledged, and then new messages,
// and receives, until the client breaks the connection or loses it.
func (s *survivor) converse(ctx context.Context, ws *websocket.Conn, left *countdown) {
	for number := s.acknowledged + 1; number <= s.sent; number++ {
		if s.write(ctx, ws, number) != nil {
			return
		}
	}
	for range s.random.IntN(100) {
		for s.sent < s.acknowledged+5 && s.random.IntN(2) == 0 {
			s.sent++
			if s.write(ctx, ws, s.sent) != nil {
				return
			}
		}
		if s.sent == s.acknowledged { // nobody may send anything
			continue
		}
		before := s.acknowledged
		if s.read(ctx, ws) != nil {
			return
		}
		for range s.acknowledged - before {
			left.count()
		}
	}
}

func (s *survivor) write(ctx context.Context, ws *websocket.Conn, number uint64) error {
	return ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "m%d\n%s", number, s.text(number)))
}

// read receives a frame, and checks it.
func (s *survivor) read(ctx context.Context, ws *websocket.Conn) error {
	_, data, err := ws.Read(ctx)
	if err != nil {
		return err
	}
	header, payload, _ := strings.Cut(string(data), "\n")
	switch header[0] {
	case 'a':
		n, err := strconv.ParseUint(header[1:], 10, 64)
		if err != nil || n < s.acknowledged || n > s.sent {
			s.failed = fmt.Errorf("%q after %d messages, of which %d were acknowledged", data, s.sent, s.acknowledged)
		}
		s.acknowledged = n
	case 'm':
		s.failed = s.message(header[1:], payload)
	default:
		s.failed = fmt.Errorf("the frame %q", data)
	}
	return s.failed
}

// message checks that a message follows the one before, in its place and in its
// number.
func (s *survivor) message(place, payload string) error {
	epoch, _, _ := strings.Cut(s.pos, "-")
	before, e1 := wire.ParsePosition(s.pos)
	now, e2 := wire.ParsePosition(epoch + "-" + place)
	n, e3 := strconv.Atoi(payload)
	switch {
	case e1 != nil || e2 != nil || e3 != nil:
		return fmt.Errorf("the message %q at %q after %q", payload, place, s.pos)
	case now.Offset != before.Offset+1:
		return fmt.Errorf("the message at %q after %q", place, s.pos)
	case s.last != 0 && n != s.last+1 || s.last == 0 && n <= s.highest:
		return fmt.Errorf("the message %d at %q after %d", n, place, s.last)
	}
	s.pos, s.last, s.highest = epoch+"-"+place, n, max(s.highest, n)
	return nil
}

// settle has all messages acknowledged that were sent.
func (s *survivor) settle(t *testing.T, addr, kind string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for again := true; again; again = s.acknowledged < s.sent { // it is cut off while the disk is full
		ws, err := s.connect(ctx, addr, kind)
		require.NoError(t, err, s.uid)
		for number := s.acknowledged + 1; err == nil && number <= s.sent; number++ {
			err = s.write(ctx, ws, number)
		}
		for err == nil && s.acknowledged < s.sent {
			err = s.read(ctx, ws)
		}
		_ = ws.CloseNow()
		require.NoError(t, s.failed, s.uid)
	}
}
