package conn_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// ending is a way in which a connection ends while messages are on their way to
// the peer, which has read none of them.
type ending struct {
	begin func(c *conn.Conn, p *peer) // by the peer, or by us, so that our reader ends; or
	ours  func(c *conn.Conn)          // by us alone, until the peer answers
	// what the peer still does when our reader has ended
	behind func(p *peer)
	// what the peer gets behind the messages
	last []frame
	// how the connection has ended
	code   int
	reason string
	failed bool // and not in peace
}

// half ends the peer's side alone, where that is possible.
func half(p *peer) {
	if nc, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		_ = nc.CloseWrite()
	}
}

// rawHalf ends TCP beneath TLS, without a word.
func rawHalf(p *peer) {
	if t, ok := p.Conn.(*tls.Conn); ok {
		_ = t.NetConn().(*net.TCPConn).CloseWrite()
		return
	}
	half(p)
}

// chatter is what a peer sends that has not read our close frame yet.
func chatter(p *peer) {
	for range 50 {
		if _, err := p.Write(append(masked(fin|opPong, ""), masked(fin|opPing, "there?")...)); err != nil {
			return
		}
	}
}

var (
	bye  = closeFrame(1000, "bye")
	ours = closeFrame(4000, "ours")
)

// endings are those that lose nothing, over any connection that can be written
// to when it cannot be read any more.
func endings() map[string]ending {
	closes := func(_ *conn.Conn, p *peer) { p.sendClose(1000, "bye") }
	crossing := func(c *conn.Conn, p *peer) {
		_ = c.Close(4000, "ours")
		p.sendClose(1000, "bye")
	}
	send := func(b []byte) func(*conn.Conn, *peer) {
		return func(_ *conn.Conn, p *peer) { p.sendRaw(b) }
	}
	chatters := func(p *peer) {
		chatter(p)
		half(p)
	}
	noise := func(p *peer) { _, _ = p.Write(masked(fin|2, strings.Repeat("noise", 20_000))) }
	all := map[string]ending{
		"closes":               {begin: closes, last: []frame{bye}, code: 1000, reason: "bye"},
		"closes, and chatters": {begin: closes, behind: chatter, last: []frame{bye}, code: 1000, reason: "bye"},
		"closes, and ends":     {begin: closes, behind: chatters, last: []frame{bye}, code: 1000, reason: "bye"},
		"closes without a code": {
			begin: send(masked(fin|opClose, "")), behind: chatter, last: []frame{{opClose, ""}}, code: 1005,
		},
		"crossing":               {begin: crossing, last: []frame{ours}, code: 4000, reason: "ours"},
		"crossing, and chatters": {begin: crossing, behind: chatters, last: []frame{ours}, code: 4000, reason: "ours"},
		"answers": {
			ours: func(c *conn.Conn) { _ = c.Close(4000, "ours") }, last: []frame{ours}, code: 4000, reason: "ours",
		},
		"half-closes": {begin: func(_ *conn.Conn, p *peer) { half(p) }, code: 1006, failed: true},
		"ends TCP":    {begin: func(_ *conn.Conn, p *peer) { rawHalf(p) }, code: 1006, failed: true},
		"half-closes a frame": {
			begin: func(_ *conn.Conn, p *peer) { p.sendRaw(masked(fin|1, "half")[:7]); half(p) }, code: 1006,
			failed: true,
		},
		"half-closes ours": {
			begin: func(c *conn.Conn, p *peer) { _ = c.Close(4000, "ours"); half(p) }, last: []frame{ours}, code: 4000,
			reason: "ours",
			failed: true,
		},
	}
	for name, bad := range map[string]struct {
		sent   []byte
		code   int
		reason string
	}{
		"no mask": {[]byte{fin | 1, 1, 'x'}, 1002, "protocol error"},
		"UTF-8":   {masked(fin|1, "\xff"), 1007, "invalid UTF-8"},
		"too big": {masked(fin|2, strings.Repeat("x", 100_000)), 1009, "message too big"},
	} {
		all["violates: "+name] = ending{
			begin: send(bad.sent), behind: noise, last: []frame{closeFrame(bad.code, bad.reason)}, code: bad.code,
			reason: bad.reason,
			failed: true,
		}
	}
	return all
}

// onTheirWay are messages, again and again: compressing each would take longer
// than all the rest.
var onTheirWay = func() (all [7]struct {
	payload string
	frame   *conn.Frame
}) {
	for i := range all {
		all[i].payload = fmt.Sprint(i, strings.Repeat(" on its way", 90))
		all[i].frame = conn.NewFrame(conn.Text, []byte(all[i].payload))
	}
	return all
}()

// run ends a connection to which n messages are on their way, and looks at what
// arrives.
func (e ending) run(t *testing.T, c *conn.Conn, p *peer, n int, deflate bool) {
	read := startReading(c)
	var want []frame
	for i := range n {
		m := onTheirWay[i%len(onTheirWay)]
		want = append(want, text(m.payload))
		require.NoError(t, c.Send(m.frame, ""))
	}
	want = append(want, e.last...)
	plain := make(map[string]string) // of what is compressed
	behind := make(chan struct{})
	go func() {
		defer close(behind)
		if e.ours != nil {
			e.ours(c)
			return
		}
		e.begin(c, p)
		<-read.done
		if e.behind != nil {
			e.behind(p)
		}
	}()
	if e.ours == nil {
		<-read.done                            // nothing has been read, and the end has begun
		if p.LocalAddr().Network() != "pipe" { // which holds nothing: the peer has to read while it writes
			<-behind
		}
	}
	for i, f := range want {
		var got frame
		var err error
		if deflate {
			if got, err = p.readAny(); err == nil {
				if packed := got.payload; got.op&0x40 != 0 {
					if plain[packed] == "" {
						plain[packed] = inflated(t, packed)
					}
					got.payload = plain[packed]
				}
				got.op &= 0xF
			}
		} else {
			got, err = p.read()
		}
		require.NoError(t, err, "frame %d of %d", i, len(want))
		require.Equal(t, f, got)
		if e.ours != nil && i == n {
			p.sendClose(4000, "ours")
		}
	}
	<-behind
	p.requireEOF()
	end := read.end(t)
	require.Equal(t, e.code, end.Code, "%v", end)
	require.Equal(t, e.reason, end.Reason)
	require.Equal(t, e.failed, end.Err != nil, "%v", end)
	stats := c.Stats()
	require.EqualValues(t, n, stats.MessagesOut)
	require.Zero(t, stats.Lost)
	require.Zero(t, stats.QueuedBytes)
}

// However a connection ends, unless it breaks, what was sent before arrives,
// and both sides get the reason of its end.
func TestEnd_DeliversEarlierMessages(t *testing.T) {
	options := conn.Options{QueueBytes: 64 << 20, CloseTimeout: time.Hour}
	for _, deflate := range []bool{false, true} {
		o := options
		o.Compression = deflate
		overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
			for name, e := range endings() {
				for _, n := range []int{0, 1, 1000} {
					t.Run(fmt.Sprintf("%s/%d/%v", name, n, deflate), func(t *testing.T) {
						c, p := dial(&o)
						e.run(t, c, p, n, deflate)
					})
				}
			}
		})
	}
}

// In memory nothing is buffered, and neither side can end alone.
func TestEnd_DeliversEarlierMessagesInMemory(t *testing.T) {
	for name, e := range endings() {
		if strings.Contains(name, "half") || strings.Contains(name, "ends") {
			continue
		}
		for _, n := range []int{0, 1, 1000} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, p := pipe(t, &conn.Options{QueueBytes: 64 << 20, CloseTimeout: time.Hour})
					e.run(t, c, p, n, false)
				})
			})
		}
	}
}

// A peer that breaks the connection is gone: nothing of it stays.
func TestEnd_PeerThatResetsIsGone(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		for _, n := range []int{0, 1, 1000} {
			c, p := dial(&conn.Options{QueueBytes: 64 << 20, CloseTimeout: time.Hour})
			read := startReading(c)
			for i := range n {
				require.NoError(t, c.Send(onTheirWay[i%len(onTheirWay)].frame, ""))
			}
			nc := p.Conn
			if secure, ok := nc.(*tls.Conn); ok {
				nc = secure.NetConn()
			}
			if t, ok := nc.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
			nc.Close()
			end := read.end(t)
			require.Equal(t, 1006, end.Code)
			require.Error(t, end.Err)
			require.Zero(t, c.Stats().QueuedBytes)
		}
	})
}
