package conn_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// Messages in all sorts of pieces, with pauses long enough to park and without,
// arrive once and in order, both ways.
func TestPark_LosesNothing(t *testing.T) {
	const conns, steps = 8, 500
	l := newLot(t, conn.Options{QueueBytes: 1 << 30, MaxMessage: 1 << 20})
	s := conn.Set{Writers: conn.NewWriters(nil)}
	var peers, servers, readers sync.WaitGroup
	var sending atomic.Int32
	sending.Store(conns)
	var checks []func()
	for i := range conns {
		rnd := rand.New(rand.NewPCG(uint64(i), 1))
		c, p := l.dial()
		s.Add(c.Conn)
		parked := make(chan struct{}, 1) // it has parked since this was last read
		var sent, got []string
		parks, waits := 0, 0
		servers.Go(func() {
			for event := range c.events {
				switch event {
				case "parked", "parked early":
					parks++
					select {
					case parked <- struct{}{}:
					default:
					}
				case "woken":
				case "end":
					s.Remove(c.Conn)
					return
				default:
					got = append(got, strings.TrimPrefix(event, "message "))
				}
			}
		})
		readers.Go(func() {
			next := 0
			for {
				f, err := p.read()
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				switch f.op {
				case opPong:
				case opClose:
					p.Close()
					return
				default:
					if f.payload != fmt.Sprint(next) {
						t.Errorf("got %q, not %d", f.payload, next)
					}
					next++
				}
			}
		})
		peers.Go(func() {
			defer sending.Add(-1)
			write := func(b []byte) {
				if _, err := p.Write(b); err != nil {
					t.Errorf("write: %v", err)
				}
			}
			pause := func() {
				waits++
				<-parked
			}
			for step := range steps {
				message := fmt.Sprintf("%d %s", step, strings.Repeat("x", rnd.IntN(100)))
				if rnd.IntN(20) == 0 {
					message += strings.Repeat("x", rnd.IntN(100_000))
				}
				sent = append(sent, message)
				b := masked(fin|1, message)
				cut := rnd.IntN(min(len(b), 30))
				switch rnd.IntN(5) {
				case 0:
					pause()
				case 1:
					write(b[:cut])
					b = b[cut:]
					if cut > 0 {
						pause() // within the frame
					}
				case 2:
					write(masked(fin|opPing, "x"))
				case 3:
					write(b[:cut])
					b = b[cut:]
				}
				write(b)
			}
			write(masked(fin|opClose, closeFrame(1000, "").payload))
		})
		checks = append(checks, func() {
			require.Equal(t, 1000, c.end.Code, "%v", c.end)
			require.True(t, slices.Equal(sent, got), "%d messages were sent, %d received", len(sent), len(got))
			require.GreaterOrEqual(t, parks, waits)
		})
	}
	for i := 0; sending.Load() > 0; i++ {
		s.Send(conn.NewFrame(conn.Text, fmt.Append(nil, i)), "", conn.Except{})
		time.Sleep(time.Millisecond) // so that silence is possible
	}
	peers.Wait()
	servers.Wait()
	readers.Wait()
	for _, check := range checks {
		check()
	}
}

// However a connection ends, and whatever else happens just then, the Poller
// lets go of it.
func TestPark_AndEndAtTheSameTime(t *testing.T) {
	l := newLot(t, conn.Options{CloseTimeout: 2 * time.Millisecond})
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		c, p := l.dial()
		if rnd.IntN(2) == 0 {
			c.expect("parked")
		}
		stream := masked(fin|1, "message")
		ends := []func(){
			func() { c.Abort(nil) },
			func() { c.Close(4000, "") },
			func() { p.Close() },
			func() { p.Conn.(*net.TCPConn).SetLinger(0); p.Close() },
			func() { p.Write(masked(fin|opClose, "")) },
		}
		var both sync.WaitGroup
		for range 2 {
			end := ends[rnd.IntN(len(ends))]
			cut, spin := 1+rnd.IntN(len(stream)), rnd.IntN(20)
			both.Go(func() {
				p.Write(stream[:cut]) // wakes it, to park again soon
				for range spin {
					runtime.Gosched()
				}
				end()
			})
		}
		both.Wait()
		for event := ""; event != "end"; event = <-c.events {
		}
		p.Close()
	}
}

// A connection that is aborted at the moment when it parks is not kept by the
// Poller.
func TestPark_AndAbortAtTheSameTime(t *testing.T) {
	l := newLot(t, conn.Options{})
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		c, p := l.parked()
		p.sendRaw([]byte{fin | 1}) // wakes it, to park again at once
		c.expect("woken")
		for range rnd.IntN(2000) {
			runtime.KeepAlive(c)
		}
		c.Abort(nil)
		for event := ""; event != "end"; event = <-c.events {
		}
		p.Close()
	}
}
