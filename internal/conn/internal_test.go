package conn

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The reader came back a moment before the sweep, and has not read the pong
// that lies there.
func TestHeart_ReaderJustBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		c := &Conn{nc: server, opts: (*Options)(nil).WithDefaults()}
		c.ended.Add(1)
		go io.Copy(io.Discard, client)
		defer client.Close()
		h := NewHeart(time.Second)
		h.Add(c)
		c.phase.Store(1)
		for look := range 2 * heartLooks {
			require.Empty(t, h.sweep(0, nil))
			if look == heartLooks {
				c.phase.Store(3) // was away since the first ping, so there was a second one
			}
			synctest.Wait()
		}
		for range heartLooks - 1 {
			require.Empty(t, h.sweep(0, nil))
		}
		require.Equal(t, []*Conn{c}, h.sweep(0, nil))
	})
}

// A frame over the limit is not copied into a concatenation, and goes alone.
func TestBatch_SendsLargeFramesAlone(t *testing.T) {
	c := &Conn{
		opts: &Options{QueueBytes: 1 << 20}, pong: []byte{finBit | opPong, 0},
		ending: &ending{frame: []byte{finBit | opClose, 0}},
	}
	small, large := NewFrame(Text, make([]byte, 100)), NewFrame(Text, make([]byte, maxWrite))
	for _, f := range []*Frame{large, small, small, large} {
		c.out.push(item{frame: f})
	}
	var sizes [][]int
	for {
		var b batch
		if !c.takeLocked(&b) {
			break
		}
		b.lay(0)
		var size []int
		for _, buf := range b.bufs {
			size = append(size, len(buf))
		}
		sizes = append(sizes, size)
	}
	require.Equal(t, [][]int{{2}, {large.Len()}, {small.Len(), small.Len()}, {large.Len()}, {2}}, sizes)
}

func TestNewFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		op := Op(rapid.IntRange(1, 2).Draw(t, "op"))
		n := rapid.OneOf(rapid.IntRange(0, 70_000), rapid.SampledFrom([]int{125, 126, 0xFFFF, 0x10000})).Draw(t, "n")
		payload := make([]byte, n)
		if n > 0 {
			payload[0], payload[n-1] = 'a', 'z'
		}
		f := NewFrame(op, payload)
		require.Equal(t, len(f.wire), f.Len())
		sent := bytes.Clone(payload)
		clear(payload) // the frame has a copy

		require.Equal(t, 0x80|byte(op), f.wire[0])
		length, header := uint64(f.wire[1]), 2
		switch length {
		case 126:
			length, header = uint64(binary.BigEndian.Uint16(f.wire[2:])), 4
			require.Greater(t, length, uint64(125), "the shortest form")
		case 127:
			length, header = binary.BigEndian.Uint64(f.wire[2:]), 10
			require.Greater(t, length, uint64(0xFFFF), "the shortest form")
		}
		require.EqualValues(t, n, length)
		require.Len(t, f.wire, header+n)
		require.Equal(t, sent, f.wire[header:])
	})
	require.Equal(t, 0x80|byte(Binary), NewFrame(9, nil).wire[0])
}

// The queue against a model that is a plain list.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := Policy(rapid.IntRange(0, int(CatchUp)).Draw(t, "policy"))
		bound := rapid.IntRange(1, 200).Draw(t, "bound")
		var q queue
		var model []item
		size := func() (n int) {
			for _, it := range model {
				n += it.frame.Len()
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"offer": func(t *rapid.T) {
				f := NewFrame(Binary, make([]byte, rapid.IntRange(0, 60).Draw(t, "n")))
				key := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key")
				room := bound - rapid.IntRange(0, 20).Draw(t, "in flight")
				var want offered
				queued := false
				if policy == Coalesce && key != "" {
					for i, it := range model {
						if it.key == key {
							model = append(model[:i:i], model[i+1:]...)
							want.coalesced++
							break
						}
					}
				}
				switch {
				case size()+f.Len() <= room:
					queued = true
				case policy != DropOldest:
					want.overflow = true
				case f.Len() > room:
					want.dropped = 1
				default:
					for size()+f.Len() > room {
						model = model[1:]
						want.dropped++
					}
					queued = true
				}
				if queued {
					model = append(model, item{frame: f, key: key})
				}
				require.Equal(t, want, q.offer(item{frame: f, key: key}, policy, room))
			},
			"pop": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("empty")
				}
				require.Same(t, model[0].frame, q.peek().frame)
				require.Same(t, model[0].frame, q.pop().frame)
				model = model[1:]
			},
			"clear": func(t *rapid.T) {
				q.clear()
				model = nil
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(model), q.len())
				require.Equal(t, size(), q.bytes)
				for i, it := range model {
					require.Same(t, it.frame, q.items[q.head+i].frame)
				}
				if q.len() == 0 {
					require.LessOrEqual(t, cap(q.items), keepItems, "an idle connection keeps little")
				}
			},
		})
	})
}

// A queue that is never empty does not grow with what went through it.
func TestQueue_Memory(t *testing.T) {
	var q queue
	f := NewFrame(Text, nil)
	for range 10 {
		q.push(item{frame: f})
	}
	for range 100_000 {
		q.push(item{frame: f})
		q.pop()
	}
	require.LessOrEqual(t, cap(q.items), 64)
}

// The timer expired just before a reader set it again, so that the watch runs
// twice.
func TestWatch_EndsOnce(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	c := &Conn{nc: server, opts: (*Options)(nil).WithDefaults()}
	c.mu.Lock()
	c.backedUp = true
	c.watchLocked()
	c.pace.timer.Stop()
	c.backedUp = false
	c.mu.Unlock()
	c.watch()
	c.watch()
	c.ended.Wait()
}

// deafConn is a connection that accepts all writes, never reads anything and
// has no deadlines.
type deafConn struct {
	net.Conn
	closed chan struct{}
}

func (d deafConn) Read([]byte) (int, error)       { <-d.closed; return 0, net.ErrClosed }
func (deafConn) Write(p []byte) (int, error)      { return len(p), nil }
func (d deafConn) Close() error                   { close(d.closed); return nil }
func (deafConn) SetDeadline(time.Time) error      { return nil }
func (deafConn) SetReadDeadline(time.Time) error  { return nil }
func (deafConn) SetWriteDeadline(time.Time) error { return nil }

// However it closes, and whether or not somebody reads.
func TestEnd_CutsAPeerBehindAWrapperWithoutDeadlines(t *testing.T) {
	for name, begin := range map[string]func(*Conn){
		"Close":        func(c *Conn) { require.NoError(t, c.Close(1000, "")) },
		"slow":         func(c *Conn) { c.mu.Lock(); defer c.mu.Unlock(); c.giveUpLocked() },
		"write failed": func(c *Conn) { c.mu.Lock(); defer c.mu.Unlock(); c.failLocked(io.ErrClosedPipe) },
	} {
		for _, reads := range []bool{true, false} {
			t.Run(fmt.Sprint(name, reads), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					closed := make(chan struct{})
					c := &Conn{
						nc: deafConn{closed: closed}, opts: (&Options{CloseTimeout: time.Second}).WithDefaults(),
						parts: 1,
					}
					c.ended.Add(1)
					ended := make(chan error, 1)
					if reads {
						go func() { ended <- end(c) }()
						synctest.Wait()
					}
					began := time.Now()
					begin(c)
					<-closed
					require.Equal(t, time.Second, time.Since(began))
					if !reads { // the handler has returned
						ended <- end(c)
					}
					require.Error(t, <-ended)
				})
			})
		}
	}
}

// seen is a connection whose goroutine waits for the network, and whose
// kernel's state is that of see.
func seen(t *testing.T, o *Options, see func() sight) (c *Conn, ended func() *CloseError) {
	server, client := net.Pipe()
	c = &Conn{nc: server, opts: o.WithDefaults(), parts: 1}
	c.ended.Add(1)
	c.pace = newPace(server, c.opts.WriteTimeout)
	c.pace.see = see
	require.NoError(t, c.Send(NewFrame(Binary, make([]byte, 10)), ""))
	return c, func() *CloseError {
		_, _, err := c.Read()
		c.Wait()
		_ = client.Close()
		return err.(*CloseError)
	}
}

// A peer whose kernel is full gets the time that it takes to read what that
// holds, at the least rate that is stated.
func TestPace_WaitsForAFullKernelBuffer(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		unread        int
		timeout       time.Duration
		full, notFull time.Duration // until the end, as the queue is
	}{
		{0, 10 * s, s, 10 * s},
		{1, 10 * s, s, 10 * s},
		{8 << 10, 10 * s, 2 * s, 10 * s},
		{100 << 10, 10 * s, 25 * s, 25 * s},
		{100 << 10, time.Hour, 25 * s, time.Hour},
		{100 << 10, s, 2500 * time.Millisecond, 2500 * time.Millisecond},
		{8 << 10, s / 10, s / 10, s / 10},
		{512 << 10, 10 * s, 128 * s, 128 * s},
		{1 << 30, 10 * s, 128 * s, 128 * s},
		{1 << 30, s, 12800 * time.Millisecond, 12800 * time.Millisecond},
	} {
		for _, full := range []bool{false, true} {
			t.Run(fmt.Sprint(c.unread, c.timeout, full), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := &Options{QueueBytes: 1000, WriteTimeout: c.timeout, CloseTimeout: time.Nanosecond}
					nc, ended := seen(t, o, func() sight { return sight{unacked: 1, unread: c.unread} })
					want := c.notFull
					if full {
						want = c.full
						for range 100 {
							require.NoError(t, nc.Send(NewFrame(Binary, make([]byte, 100)), ""))
						}
					}
					began := time.Now()
					require.ErrorIs(t, ended(), ErrSlow)
					require.InDelta(t, want, time.Since(began), 1)
				})
			})
		}
	}
}

// A peer that continues to read stays connected under every policy, though its
// kernel reports that only once in many bytes.
func TestAlive_SlowIsNotDeadBehindAFullKernelBuffer(t *testing.T) {
	for policy := range Coalesce + 1 {
		for _, piece := range []int{1, 1 << 10, 64 << 10, 200 << 10, 512 << 10} {
			for _, rate := range []int{4 << 10, 5_000, 50_000, 500_000} {
				t.Run(fmt.Sprint(policy, piece, rate), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						began := time.Now()
						c, ended := seen(t, &Options{QueueBytes: 1000, Slow: policy}, func() sight {
							signs := int(time.Since(began).Seconds()*float64(rate)) / piece
							return sight{unacked: math.MaxInt - signs*piece, unread: piece * (signs + 1)}
						})
						for range 100 {
							require.NoError(t, c.Send(NewFrame(Binary, make([]byte, 100)), ""))
						}
						time.Sleep(10 * time.Minute)
						require.False(t, c.Closing())
						c.Abort(nil)
						require.ErrorIs(t, ended(), ErrClosed)
					})
				})
			}
		}
	}
}
