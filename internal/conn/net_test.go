package conn_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// overNetwork runs f on connections of a real HTTP server, over TCP, a Unix
// socket and TLS.
func overNetwork(t *testing.T, f func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer))) {
	for _, kind := range []string{"TCP", "Unix", "TLS"} {
		t.Run(kind, func(t *testing.T) {
			opts, accepted := make(chan *conn.Options, 1), make(chan *conn.Conn, 1)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := conn.Accept(w, r, <-opts)
				if err != nil {
					t.Error(err)
					return
				}
				c.Start()
				accepted <- c
			}))
			if kind == "Unix" {
				l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
				if runtime.GOOS == "windows" && err != nil {
					t.Skip(err)
				}
				require.NoError(t, err)
				s.Listener.Close()
				s.Listener = l
			}
			if kind == "TLS" {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			f(t, func(o *conn.Options) (*conn.Conn, *peer) {
				nc, err := net.Dial(s.Listener.Addr().Network(), s.Listener.Addr().String())
				require.NoError(t, err)
				if kind == "TLS" {
					config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
					config.ServerName, config.NextProtos = "example.com", nil
					nc = tls.Client(nc, config)
				}
				p := &peer{Conn: nc, t: t, br: bufio.NewReader(nc)}
				r := upgradeRequest()
				if o != nil && o.Compression {
					r.Header.Set("Sec-WebSocket-Extensions", "permessage-deflate")
				}
				require.NoError(t, r.Write(p))
				opts <- o
				resp, err := http.ReadResponse(p.br, r)
				require.NoError(t, err)
				require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
				return <-accepted, p
			})
		})
	}
}

func TestNetwork_CloseByEither(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		c, p := dial(nil)
		read := startReading(c)
		send(t, c, "1", "2")
		require.NoError(t, c.Close(4000, "enough"))
		require.Equal(
			t, []frame{text("1"), text("2"), closeFrame(4000, "enough")}, []frame{p.next(), p.next(), p.next()},
		)
		p.sendClose(4000, "enough")
		p.requireEOF()
		p.Close()
		requireEnd(t, read, 4000, "enough", nil)

		c, p = dial(nil)
		read = startReading(c)
		send(t, c, "1", "2")
		p.sendClose(4000, "enough")
		<-read.done
		require.Equal(t, []frame{text("1"), text("2"), closeFrame(4000, "enough")}, p.frames())
		p.Close()
		requireEnd(t, read, 4000, "enough", nil)
	})
}

// A peer that goes on sending after its violation must still find the close
// frame: closing at once would reset TCP.
func TestNetwork_Violation(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		c, p := dial(&conn.Options{MaxMessage: 10, CloseTimeout: time.Minute})
		read := startReading(c)
		for range 100 {
			p.send(fin|2, strings.Repeat("x", 10000))
		}
		require.Equal(t, closeFrame(1009, "message too big"), p.next())
		p.requireEOF()
		p.Close()
		requireEnd(t, read, 1009, "message too big", conn.ErrTooBig)
	})
}

// More than the kernel buffers, to a peer that never reads.
func TestNetwork_PeerThatNeverReads(t *testing.T) {
	frame := conn.NewFrame(conn.Binary, make([]byte, 8<<10))
	fill := func(c *conn.Conn) {
		for range 8 << 10 {
			if c.Send(frame, "") != nil {
				return
			}
		}
	}
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		c, p := dial(&conn.Options{QueueBytes: 1 << 30, WriteTimeout: 20 * time.Millisecond})
		read := startReading(c)
		fill(c)
		requireEnd(t, read, 1006, "", conn.ErrSlow)
		p.Close()

		c, p = dial(&conn.Options{QueueBytes: 1 << 30, WriteTimeout: time.Hour, CloseTimeout: 20 * time.Millisecond})
		read = startReading(c)
		fill(c)
		require.NoError(t, c.Close(1000, ""))
		require.Error(t, read.end(t).Err)
		p.Close()

		c, p = dial(&conn.Options{QueueBytes: 1 << 30, WriteTimeout: time.Hour})
		read = startReading(c)
		fill(c)
		c.Abort(nil) // waits neither for the write nor for TLS's close alert
		requireEnd(t, read, 1006, "", conn.ErrClosed)
		p.Close()
	})
}

// Everything at once, for the race detector and the leak check: however a
// connection ends, it ends with one error.
func TestNetwork_ConcurrentUse(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		errMine := errors.New("mine")
		h := startHeart(t, time.Millisecond)
		s := conn.Set{Writers: conn.NewWriters(nil)}
		var all sync.WaitGroup
		for i := range 24 {
			c, p := dial(
				&conn.Options{
					QueueBytes: 2000, Slow: conn.Policy(i % 3), CloseTimeout: 10 * time.Millisecond, AutoRequest: "?",
					AutoReply: "!",
				},
			)
			s.Add(c)
			h.Add(c)
			read := startReading(c)
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			all.Go(func() {
				p.frames()
			})
			all.Go(func() {
				defer p.Close()
				for {
					var b []byte
					switch rnd.IntN(200) {
					case 0:
						b = masked(fin|opClose, closeFrame(1000, "").payload)
					case 1:
						b = []byte("nonsense")
					case 2:
						return
					default:
						b = append(masked(fin|1, "?"), masked(fin|opPing, "x")...)
					}
					if _, err := p.Write(b); err != nil {
						return
					}
				}
			})
			all.Go(func() {
				for c.Send(conn.NewFrame(conn.Text, []byte("own")), "key") == nil {
					c.Stats()
					c.LastAuto()
				}
			})
			all.Go(func() {
				for s.Len() > 0 {
					s.Send(conn.NewFrame(conn.Text, []byte("to all")), "", conn.Except{})
				}
			})
			if i%4 == 0 {
				all.Go(func() { c.Close(1001, "") })
			}
			if i%5 == 0 {
				all.Go(func() { c.Abort(errMine) })
			}
			all.Go(func() {
				ce := read.end(t)
				s.Remove(c)
				h.Remove(c)
				if ce.Code == 1006 && ce.Err == nil {
					t.Errorf("no cause: %v", ce)
				}
			})
		}
		all.Wait()
		require.Zero(t, s.Len())
	})
}
