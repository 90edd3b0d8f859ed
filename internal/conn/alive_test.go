package conn_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// thin is a client's connection over a thin line: it takes so many bytes a
// second and never pauses.
type thin struct {
	net.Conn
	rate int
}

func (c thin) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), c.rate/20)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(c.rate))
	return n, err
}

// buffered returns the ends of a connection that holds up to 64 KiB from the
// server to the client, as a kernel does.
func buffered() (server, client net.Conn) {
	server, in := net.Pipe()
	out, client := net.Pipe()
	held := make(chan []byte, 16)
	go func() {
		defer close(held)
		for {
			b := make([]byte, 4<<10)
			n, err := in.Read(b)
			if err != nil {
				return
			}
			held <- b[:n]
		}
	}()
	go func() {
		defer out.Close()
		for b := range held {
			_, _ = out.Write(b) // of a client that has left, the rest is lost
		}
	}()
	go func() {
		_, _ = io.Copy(in, out)
		_ = in.Close()
	}()
	return server, client
}

// certificates are those of a test server.
func certificates(t *testing.T) (server, client *tls.Config) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	client = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.ServerName, client.NextProtos = "example.com", nil
	return &tls.Config{Certificates: s.TLS.Certificates}, client
}

// lines are connections in memory.
func lines(t *testing.T) map[string]func() (server, client net.Conn) {
	serverTLS, clientTLS := certificates(t)
	secured := func(server, client net.Conn) (net.Conn, net.Conn) {
		return tls.Server(server, serverTLS), tls.Client(client, clientTLS)
	}
	return map[string]func() (net.Conn, net.Conn){
		"pipe":              net.Pipe,
		"buffered":          buffered,
		"TLS over pipe":     func() (net.Conn, net.Conn) { return secured(net.Pipe()) },
		"TLS over buffered": func() (net.Conn, net.Conn) { return secured(buffered()) },
	}
}

var policies = map[string]conn.Policy{
	"Disconnect": conn.Disconnect, "DropOldest": conn.DropOldest, "Coalesce": conn.Coalesce,
	"CatchUp": conn.CatchUp, // of messages that are not kept: like Disconnect
}

// A peer that reads without a pause stays connected for minutes, however slowly
// it reads, under every policy, with heartbeats. If the policy drops nothing,
// it gets all of a burst and of what follows as fast as it reads. Otherwise it
// gets what the policy lets through of a stream twice as fast.
func TestAlive_SlowIsNotDead(t *testing.T) {
	for kind, dial := range lines(t) {
		for policy, slow := range policies {
			for _, rate := range []int{5_000, 50_000, 500_000} {
				t.Run(fmt.Sprintf("%s/%s/%d", kind, policy, rate), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						testSlowIsNotDead(t, dial, slow, rate)
					})
				})
			}
		}
	}
}

func testSlowIsNotDead(t *testing.T, dial func() (server, client net.Conn), slow conn.Policy, rate int) {
	const life = 2 * time.Minute
	size := min(rate/5, 10_000)
	server, client := dial()
	c, p := accept(t, server, thin{client, rate}, &conn.Options{QueueBytes: 100_000, Slow: slow})
	h := startHeart(t, 5*time.Second)
	h.Add(c)
	read := startReading(c)
	f := conn.NewFrame(conn.Binary, make([]byte, size))
	all := int(life/time.Second) * rate / size
	drops := slow == conn.DropOldest || slow == conn.Coalesce
	burst, sent := min(all, 4_000_000/size), all
	if drops {
		burst, sent = 0, 2*all
	}
	for range burst {
		require.NoError(t, c.Send(f, ""))
	}
	go func() {
		for i := range sent - burst {
			if err := c.Send(f, fmt.Sprint(i%10)); err != nil {
				return // the reader below finds out
			}
			time.Sleep(life / time.Duration(sent))
		}
	}()
	got := 0
	for began := time.Now(); !drops && got < all || time.Since(began) < life; {
		f, err := p.read()
		require.NoError(t, err, "after %v and %d messages", time.Since(began), got)
		if f.op == opPing {
			p.send(fin|opPong, "")
		} else if got++; !drops && got == all {
			break
		}
	}
	require.GreaterOrEqual(t, got*3/2, all, "it was never kept waiting")
	go io.Copy(io.Discard, p.br)
	h.Remove(c)
	c.Abort(nil)
	requireEnd(t, read, 1006, "", conn.ErrClosed)
	time.Sleep(life)
}

// A peer that reads nothing is cut off within the documented time and costs no
// more memory than documented.
func TestAlive_PeerThatReadsNothingIsDead(t *testing.T) {
	const timeout, closing = 8 * time.Second, 3 * time.Second
	for kind, dial := range lines(t) {
		for policy, slow := range policies {
			for _, many := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/over the bound %v", kind, policy, many), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						server, client := dial()
						const bound = 100_000
						c, p := accept(
							t, server, client,
							&conn.Options{QueueBytes: bound, Slow: slow, WriteTimeout: timeout, CloseTimeout: closing},
						)
						read := startReading(c)
						start := time.Now()
						f := conn.NewFrame(conn.Binary, make([]byte, 1000-2))
						n := 90
						if many {
							n = 1000
						}
						for i := range n {
							require.NoError(t, c.Send(f, fmt.Sprint(i)))
							if !many {
								synctest.Wait()
							}
						}
						time.Sleep(moment)
						synctest.Wait()
						require.LessOrEqual(t, c.Stats().QueuedBytes, bound)
						ce := read.end(t)
						require.ErrorIs(t, ce, conn.ErrSlow)
						if many && slow != conn.DropOldest {
							require.Equal(t, 1008, ce.Code)
							require.Equal(t, moment+closing, read.at.Sub(start))
						} else {
							require.Equal(t, 1006, ce.Code)
							require.ErrorIs(t, ce, os.ErrDeadlineExceeded)
							require.Equal(t, timeout, read.at.Sub(start))
						}
						p.Close()
						_ = server.Close()
					})
				})
			}
		}
	}
}

// A client that takes nothing of a flood costs no more than the bound, and
// 8 MiB for the moment that it has.
func TestAlive_FloodIsBounded(t *testing.T) {
	const bound, spare, size = 100_000, 8 << 20, 10_000
	for policy, slow := range policies {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p, read := stuck(t, &conn.Options{QueueBytes: bound, Slow: slow})
				f := conn.NewFrame(conn.Binary, make([]byte, size))
				for range 2 * spare / size {
					_ = c.Send(f, "")
					require.LessOrEqual(t, c.Stats().QueuedBytes, bound+spare)
				}
				time.Sleep(moment)
				for range 2 * spare / size {
					_ = c.Send(f, "")
					require.LessOrEqual(t, c.Stats().QueuedBytes, bound)
				}
				p.Close()
				<-read.done
				read.c.Wait()
			})
		})
	}
}

// Over real sockets a client stays that reads on while megabytes wait in the
// kernel, though no write returns for longer than WriteTimeout, and the ping
// lies behind them.
func TestAlive_SlowNetworkIsNotDead(t *testing.T) {
	if !conn.SeesKernel {
		t.Skip("what the kernel holds cannot be seen")
	}
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		c, p := dial(&conn.Options{QueueBytes: 64 << 20, WriteTimeout: time.Second})
		h := startHeart(t, time.Second)
		h.Add(c)
		read := startReading(c)
		f := conn.NewFrame(conn.Binary, make([]byte, 100_000))
		for range 200 {
			require.NoError(t, c.Send(f, ""))
		}
		slow := thin{p.Conn, 200_000}
		b := make([]byte, 10_000)
		for began := time.Now(); time.Since(began) < 2*time.Second; {
			_, err := io.ReadFull(slow, b)
			require.NoError(t, err, "after %v", time.Since(began))
		}
		select {
		case <-read.done:
			require.NoError(t, read.err)
		default:
		}
		c.Abort(nil)
		requireEnd(t, read, 1006, "", conn.ErrClosed)
		h.Remove(c)
		p.Close()
	})
}

// Between small buffers the kernel sends nothing for longer than it takes the
// peer to read what it has, since it waits for room for more at once.
func TestAlive_SlowNetworkIsNotDeadWithSmallBuffers(t *testing.T) {
	if !conn.SeesKernel {
		t.Skip("what the kernel holds cannot be seen")
	}
	server, client := tcpPair(t)
	require.NoError(t, client.SetReadBuffer(16<<10))
	require.NoError(t, server.SetWriteBuffer(16<<10))
	serverTLS, clientTLS := certificates(t)
	c, p := accept(t, tls.Server(server, serverTLS), tls.Client(thin{client, 30_000}, clientTLS),
		&conn.Options{QueueBytes: 64 << 20, WriteTimeout: 1500 * time.Millisecond})
	read := startReading(c)
	f := conn.NewFrame(conn.Binary, make([]byte, 100_000))
	for range 20 {
		require.NoError(t, c.Send(f, ""))
	}
	b := make([]byte, 1_000)
	for began := time.Now(); time.Since(began) < 4*time.Second; {
		_, err := io.ReadFull(p.br, b)
		require.NoError(t, err, "after %v", time.Since(began))
	}
	c.Abort(nil)
	requireEnd(t, read, 1006, "", conn.ErrClosed)
	p.Close()
}

// A kernel whose buffer is full reports nothing until a sizeable part is free.
// A peer that continues to read stays connected under every policy.
func TestAlive_SlowNetworkIsNotDeadBehindFullBuffers(t *testing.T) {
	if !conn.SeesKernel {
		t.Skip("what the kernel holds cannot be seen")
	}
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		t.Parallel()
		var all sync.WaitGroup
		for policy, slow := range policies {
			for rate, timeout := range map[int]time.Duration{
				5_000: 10 * time.Second, 50_000: time.Second, 100_000: time.Second,
			} {
				c, p := dial(&conn.Options{QueueBytes: 256 << 10, Slow: slow, WriteTimeout: timeout})
				read := startReading(c)
				f := conn.NewFrame(conn.Binary, make([]byte, 10_000))
				for range 6 << 20 / 10_000 {
					require.NoError(t, c.Send(f, ""))
				}
				all.Go(func() {
					b := make([]byte, rate/20)
					began := time.Now()
					for ; time.Since(began) < 4*time.Second && !c.Closing(); time.Sleep(50 * time.Millisecond) {
						if _, err := io.ReadFull(p.br, b); err != nil {
							break
						}
					}
					if c.Closing() {
						t.Errorf("%s: a reader of %d bytes a second was cut off", policy, rate)
					}
					c.Abort(nil)
					read.end(t)
					p.Close()
				})
			}
		}
		all.Wait()
	})
}
