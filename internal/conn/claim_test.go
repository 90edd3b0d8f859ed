package conn

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// What happens while somebody has claimed a connection, and when the kernel
// refuses: a kernel of the test's own stands before the real one.

// kernel is a connection's kernel that refuses all writes on request, and
// reports each write.
type kernel struct {
	syscall.RawConn
	client  net.Conn
	refuses atomic.Bool
	asked   func() // after each write; may be nil. Not changed while somebody writes
	reads   atomic.Int64
}

func (k *kernel) Read(f func(fd uintptr) bool) error {
	return k.RawConn.Read(func(fd uintptr) bool {
		k.reads.Add(1)
		return f(fd)
	})
}

func (k *kernel) Write(f func(fd uintptr) bool) (err error) {
	if !k.refuses.Load() {
		err = k.RawConn.Write(f)
	}
	if k.asked != nil {
		k.asked()
	}
	return err
}

type hijackable struct {
	*httptest.ResponseRecorder
	nc net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.nc, nil, nil }

// overKernel accepts a connection whose peer reads everything. Sends to it are
// gathered for the Set's writers, as if its reader were waiting.
func overKernel(t *testing.T, o *Options) (*Conn, *kernel) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err := l.Accept()
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "http://example.com/ws", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	c, err := Accept(hijackable{httptest.NewRecorder(), server}, r, o)
	require.NoError(t, err)
	if !c.direct.ok() {
		client.Close()
		c.Abort(nil)
		c.Read()
		c.Wait()
		t.Skip("only Linux has connections that can be written without waiting")
	}
	c.Start()
	c.phase.Store(1)
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, client) })
	t.Cleanup(func() {
		c.Abort(nil)
		end(c)
		client.Close()
		reading.Wait()
	})
	k := replaceKernel(c)
	k.client = client
	return c, k
}

// end reads to the end of a connection, and returns its error.
func end(c *Conn) (err error) {
	for err == nil {
		_, _, err = c.Read()
	}
	c.Wait()
	return err
}

// held are the writers' goroutines that the test runs itself, when it likes.
type held []func()

func (h *held) writers() *Writers { return NewWriters(func(f func()) { *h = append(*h, f) }) }

func (h *held) run() {
	for _, f := range *h {
		f()
	}
	*h = nil
}

// However fast others send to one connection, the next one has its turn.
func TestClaim_OneConnectionDoesNotCaptureTheSweep(t *testing.T) {
	var work held
	s := Set{Writers: work.writers()}
	a, k := overKernel(t, nil)
	b, _ := overKernel(t, nil)
	s.Add(a)
	s.Add(b)
	f := NewFrame(Text, []byte("x"))
	writes, before := 0, 0
	k.asked = func() {
		if writes++; writes < 1000 {
			if b.Stats().MessagesOut == 0 {
				before++
			}
			_ = a.Send(f, "") // by somebody else, while the kernel is asked
		}
	}
	require.NoError(t, a.Send(f, ""))
	require.NoError(t, b.Send(f, ""))
	work.run()
	require.LessOrEqual(t, before, maxFlush)
	require.EqualValues(t, 1000, a.Stats().MessagesOut, "nothing is left behind")
}

// What may wait is bounded also while a writer is just asking the kernel.
func TestClaim_BoundsTheQueue(t *testing.T) {
	var work held
	s := Set{Writers: work.writers()}
	c, k := overKernel(t, &Options{QueueBytes: 2000, CloseTimeout: 50 * time.Millisecond})
	s.Add(c)
	f := NewFrame(Text, make([]byte, 1000))
	var sent int
	var err error
	k.asked = func() {
		k.asked = nil
		for err == nil {
			sent++
			err = c.Send(f, "")
		}
	}
	s.Send(f, "", Except{})
	work.run()
	require.ErrorIs(t, err, ErrSlow)
	require.InDelta(t, 2000+maxSpare, sent*f.Len(), float64(2*f.Len()))
	var ce *CloseError
	require.ErrorAs(t, end(c), &ce)
	require.Equal(t, 1008, ce.Code)
}

// Senders wait for the longest log, not for any.
func TestClaim_SendersWaitForEveryShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Set{Writers: NewWriters(func(func()) {})}
		for range 2 {
			sh := &shard{writers: s.Writers}
			sh.members = []*Conn{{cursor: noLog}}
			s.shards = append(s.shards, sh)
		}
		f := NewFrame(Text, make([]byte, 70<<10))
		sent := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 10 {
				s.Send(f, "", Except{})
				sent++
			}
		}()
		r := runs.Get().(*run)
		sweep := func(sh *shard) {
			for more := true; more; {
				_, more = sh.sweep(r)
			}
		}
		synctest.Wait()
		require.Equal(t, 7, sent)
		sweep(s.shards[1])
		synctest.Wait()
		require.Equal(t, 7, sent, "the other log is as long as before")
		sweep(s.shards[0])
		<-done
		require.Equal(t, 10, sent)
	})
}

// Given up in the moment when the kernel has refused: nothing is left,
// everything counts, and the reason is the right one.
func TestClaim_AbortWhileTheKernelRefuses(t *testing.T) {
	for _, refused := range []string{"a run", "a message"} {
		t.Run(refused, func(t *testing.T) {
			var work held
			s := Set{Writers: work.writers()}
			c, k := overKernel(t, &Options{QueueBytes: 100})
			s.Add(c)
			mine := errors.New("mine")
			k.refuses.Store(true)
			k.asked = func() {
				k.asked = nil
				c.Abort(mine)
			}
			f := NewFrame(Text, make([]byte, 8))
			n := 9
			if refused == "a run" {
				n = 15 // more than QueueBytes
			}
			for range n {
				if refused == "a run" {
					s.Send(f, "", Except{})
				} else {
					require.NoError(t, c.Send(f, ""))
				}
			}
			work.run()
			require.ErrorIs(t, end(c), mine)
			st := c.Stats()
			require.Zero(t, st.QueuedBytes)
			require.EqualValues(t, n, st.Lost)
		})
	}
}

// What a connection did not get is counted, wherever it waited.
func TestClaim_CountsLostMessages(t *testing.T) {
	f := NewFrame(Text, make([]byte, 8))
	for name, test := range map[string]func(s *Set, work *held, c *Conn, k *kernel){
		"in the log, when it is cut": func(s *Set, work *held, c *Conn, k *kernel) {
			for range 30 {
				s.Send(f, "", Except{})
			}
			c.Abort(nil)
		},
		"in the log, when its kernel breaks": func(s *Set, work *held, c *Conn, k *kernel) {
			for range 30 {
				s.Send(f, "", Except{})
			}
			_ = c.nc.Close()
			work.run()
		},
		"in a run that the kernel refuses": func(s *Set, work *held, c *Conn, k *kernel) {
			k.refuses.Store(true)
			k.asked = func() { c.Abort(nil) }
			for range 30 {
				s.Send(f, "", Except{})
			}
			work.run()
		},
		"behind a goroutine that waits": func(s *Set, work *held, c *Conn, k *kernel) {
			c.mu.Lock()
			c.writing, c.backedUp = true, true
			c.watchLocked()
			c.mu.Unlock()
			for range 30 {
				s.Send(f, "", Except{})
			}
			work.run()
			c.mu.Lock()
			c.startWriterLocked()
			c.mu.Unlock()
		},
	} {
		t.Run(name, func(t *testing.T) {
			var work held
			s := Set{Writers: work.writers()}
			c, k := overKernel(t, &Options{QueueBytes: 100, Moment: 1, CloseTimeout: 50 * time.Millisecond})
			s.Add(c)
			test(&s, &work, c, k)
			require.Error(t, end(c))
			st := c.Stats()
			require.EqualValues(t, 30, st.Lost+st.MessagesOut, "%+v", st)
			require.Positive(t, st.Lost)
			require.Zero(t, st.QueuedBytes)
		})
	}
}

// Of messages with one key that waited for the kernel, the newest is left when
// it refuses, at its place.
func TestClaim_CoalescesWhileTheKernelRefuses(t *testing.T) {
	var work held
	s := Set{Writers: work.writers()}
	c, k := overKernel(t, &Options{QueueBytes: 100, Slow: Coalesce, CloseTimeout: 50 * time.Millisecond})
	s.Add(c)
	k.refuses.Store(true)
	for i := range 40 {
		s.Send(NewFrame(Text, []byte("12345678")), fmt.Sprint("key ", i%3), Except{})
	}
	s.Send(NewFrame(Text, []byte("without")), "", Except{})
	s.Send(NewFrame(Text, []byte("without")), "", Except{})
	k.asked = func() { k.refuses.Store(false) }
	work.run()
	require.EqualValues(t, 37, c.Stats().Coalesced)
	require.NoError(t, c.Close(1000, ""))
	work.run()
	require.Error(t, end(c)) // the peer does not answer
	require.EqualValues(t, 5, c.Stats().MessagesOut)
}

// Many small messages that arrive at once are read at once.
func TestClaim_ReadsBatchesAtOnce(t *testing.T) {
	c, k := overKernel(t, nil)
	const messages = 500
	var stream []byte
	for range messages {
		stream = appendMasked(stream, finBit|byte(Text), "twelve bytes", 7)
	}
	_, err := k.client.Write(stream)
	require.NoError(t, err)
	for range messages {
		_, data, err := c.Read()
		require.NoError(t, err)
		require.Equal(t, "twelve bytes", string(data))
	}
	// As many as fill the buffer, and one for each time that the client's write
	// was not seen as a whole.
	require.LessOrEqual(t, k.reads.Load(), int64(10))
}

func TestClaim_Newest(t *testing.T) {
	keys := func(items []item) (all []string) {
		for _, it := range items {
			all = append(all, it.key)
		}
		return all
	}
	items := []item{{key: "a"}, {key: ""}, {key: "b"}, {key: "a"}, {key: ""}, {key: "b"}, {key: "c"}}
	require.Equal(t, []string{"", "a", "", "b", "c"}, keys(newest(items)))
}
