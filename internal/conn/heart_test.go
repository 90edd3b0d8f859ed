package conn_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

const interval = 8 * time.Second

// startHeart runs a Heart until the test ends.
func startHeart(t *testing.T, interval time.Duration) *conn.Heart {
	h := conn.NewHeart(interval)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return h
}

func TestHeart_FindsSilentPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHeart(t, interval)
		start := time.Now()
		var reads []*reading
		for range 2*8 + 1 { // two in each slot, and one
			c, p := pipe(t, nil)
			h.Add(c)
			h.Add(c)
			read := startReading(c)
			reads = append(reads, read)
			go func() {
				if f := p.frames(); len(f) != 1 || f[0] != (frame{opPing, ""}) {
					t.Errorf("got %v, want one ping", f)
				}
			}()
		}
		at := make(map[time.Duration]int)
		for _, read := range reads {
			requireEnd(t, read, 1006, "", conn.ErrPingTimeout)
			at[read.at.Sub(start)]++
			h.Remove(read.c)
			h.Remove(read.c)
		}
		// A ping at the eighth look, the end at the sixteenth; a 64th of the
		// interval from slot to slot.
		want := make(map[time.Duration]int)
		for slot := range 8 {
			want[interval*15/8+time.Duration(slot+1)*interval/64] = 2
		}
		want[interval*15/8+interval/64] = 3
		require.Equal(t, want, at)
	})
}

// The first ping comes between seven eighths of an interval and one after the
// peer's last word, and the next ones an interval apart, however promptly they
// are answered. So nothing in between sees a connection idle for longer. A peer
// that stops to answer is gone an interval after the ping that it does not
// answer.
func TestHeart_PingsEveryInterval(t *testing.T) {
	for after := time.Duration(0); after < interval; after += interval / 13 {
		synctest.Test(t, func(t *testing.T) {
			h := startHeart(t, interval)
			time.Sleep(after)
			c, p := pipe(t, nil)
			h.Add(c)
			read := startReading(c)
			word := time.Now()
			p.send(fin|1, "the last word")
			const answered = 5
			var pings []time.Duration
			for f, err := p.read(); err == nil; f, err = p.read() {
				require.Equal(t, frame{opPing, ""}, f)
				if pings = append(pings, time.Since(word)); len(pings) <= answered {
					p.send(fin|opPong, "")
				}
			}
			requireEnd(t, read, 1006, "", conn.ErrPingTimeout)
			h.Remove(c)
			require.GreaterOrEqual(t, pings[0], interval*7/8)
			require.LessOrEqual(t, pings[0], interval)
			for i := range answered {
				require.Equal(t, interval, pings[i+1]-pings[i])
			}
			require.Len(t, pings, answered+1)
			require.Equal(t, interval, read.at.Sub(word)-pings[answered])
		})
	}
}

func TestHeart_KeepsLivePeers(t *testing.T) {
	for name, live := range map[string]func(p *peer, stop <-chan struct{}){
		"answers pings": func(p *peer, _ <-chan struct{}) {
			for {
				f, err := p.read()
				if err != nil {
					return
				}
				if f.op == opPing {
					p.Write(masked(fin|opPong, f.payload))
				}
			}
		},
		"talks": func(p *peer, stop <-chan struct{}) {
			for {
				select {
				case <-stop:
					return
				case <-time.After(interval - time.Second):
					p.Write(masked(fin|1, "x"))
				}
			}
		},
		"sends one frame byte by byte": func(p *peer, stop <-chan struct{}) {
			for _, b := range masked(fin|2, string(make([]byte, 1000))) {
				select {
				case <-stop:
					return
				case <-time.After(interval - time.Second):
					p.Write([]byte{b})
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startHeart(t, interval)
				c, p := pipe(t, nil)
				h.Add(c)
				read := startReading(c)
				stop := make(chan struct{})
				go live(p, stop)
				time.Sleep(20 * interval)
				select {
				case <-read.done:
					require.NoError(t, read.err, "ended after %v", read.at)
				default:
				}
				h.Remove(c)
				close(stop)
				p.Close()
				require.Equal(t, 1006, read.end(t).Code)
			})
		})
	}
}

// While a handler runs nobody reads the pong that may have arrived.
func TestHeart_WaitsForTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHeart(t, interval)
		c, p := pipe(t, nil)
		h.Add(c)
		go p.send(fin|1, "work")
		_, _, err := c.Read()
		require.NoError(t, err)
		go p.frames()
		time.Sleep(10 * interval) // the handler
		resumed := time.Now()
		require.Zero(t, c.Stats().BytesOut, "its answer to a ping would wait for the reader")
		read := startReading(c)
		requireEnd(t, read, 1006, "", conn.ErrPingTimeout)
		took := read.at.Sub(resumed)
		require.GreaterOrEqual(t, took, interval)
		require.LessOrEqual(t, took, interval*9/8)
		h.Remove(c)
	})
}

func TestHeart_Remove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHeart(t, interval)
		var all []*conn.Conn
		var reads []*reading
		for range 24 {
			c, p := pipe(t, nil)
			go p.frames()
			h.Add(c)
			all, reads = append(all, c), append(reads, startReading(c))
		}
		for i, c := range all {
			if i%3 != 0 {
				h.Remove(c)
			}
		}
		time.Sleep(4 * interval)
		for i, read := range reads {
			if i%3 == 0 {
				requireEnd(t, read, 1006, "", conn.ErrPingTimeout)
				continue
			}
			all[i].Abort(nil)
			requireEnd(t, read, 1006, "", conn.ErrClosed)
		}
	})
}

// No ping may follow a close frame; a peer that does not answer it either is as
// gone as any other.
func TestHeart_WhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHeart(t, interval)
		c, p := pipe(t, &conn.Options{CloseTimeout: 10 * interval})
		read := startReading(c)
		h.Add(c)
		require.NoError(t, c.Close(1000, ""))
		require.Equal(t, []frame{closeFrame(1000, "")}, p.frames())
		requireEnd(t, read, 1000, "", conn.ErrPingTimeout)
		h.Remove(c)
	})
}

func TestHeart_Off(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHeart(t, 0)
		c, p := pipe(t, nil)
		h.Add(c)
		read := startReading(c)
		time.Sleep(time.Hour)
		require.Zero(t, c.Stats().BytesOut)
		p.Close()
		require.Equal(t, 1006, read.end(t).Code)
	})
}
