package conn_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// lot is a server whose connections park as soon as they are silent. When the
// test ends, nothing may be left of it.
type lot struct {
	t         *testing.T
	url       *httptest.Server
	poller    *conn.Poller
	endPoller func() // returns when Run has returned
	accepted  chan *parker
	handle    func(*parker, string) // runs between reads; may be nil
	all       sync.WaitGroup        // connections
}

// parker is one of many connections. It reports its events in order: "woken",
// "parked", "parked early", "message ..." and "end". On a busy machine a reader
// that was woken may be asked to park before it has looked. That is early, and
// the kernel wakes it again.
type parker struct {
	*conn.Conn
	lot    *lot
	events chan string
	end    *conn.CloseError // set before "end"
}

func descriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func newLot(t *testing.T, o conn.Options) *lot { return newLotAfter(t, 100*time.Microsecond, o) }

// newLotAfter is newLot for connections that park after a time.
func newLotAfter(t *testing.T, after time.Duration, o conn.Options) *lot {
	warm, err := net.Listen("tcp", "127.0.0.1:0") // Go's own descriptors for the network are there from now on
	require.NoError(t, err)
	warm.Close()
	before := descriptors(t)

	l := &lot{t: t, poller: conn.NewPoller(after), accepted: make(chan *parker, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		l.poller.Run(ctx)
	}()
	l.endPoller = func() {
		cancel()
		<-ran
	}
	o.Poller = l.poller
	o.Wake = func(c *conn.Conn) {
		p := c.Data.(*parker)
		p.report("woken")
		go p.read(true)
	}
	l.url = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := conn.Accept(w, r, &o)
		if err != nil {
			t.Error(err)
			return
		}
		p := &parker{Conn: c, lot: l, events: make(chan string, 10_000)}
		c.Data = p
		c.Start()
		l.all.Add(1)
		go p.read(false)
		l.accepted <- p
	}))
	t.Cleanup(func() {
		l.all.Wait()
		awake, places := l.poller.Tables()
		l.endPoller()
		l.url.Close()
		require.Zero(t, awake, "connections that the Poller still looks after")
		require.Zero(t, places, "connections that the Poller holds")
		require.Eventually(t, func() bool { return descriptors(t) <= before }, waitFor, tick, "descriptors are left")
	})
	return l
}

func (l *lot) dial() (*parker, *peer) {
	nc, err := net.Dial("tcp", l.url.Listener.Addr().String())
	require.NoError(l.t, err)
	p := &peer{Conn: nc, t: l.t, br: bufio.NewReader(nc)}
	l.t.Cleanup(func() { nc.Close() }) // before the lot waits for its connections
	require.NoError(l.t, upgradeRequest().Write(p))
	answer, err := http.ReadResponse(p.br, nil)
	require.NoError(l.t, err)
	require.Equal(l.t, http.StatusSwitchingProtocols, answer.StatusCode)
	return <-l.accepted, p
}

// parked is a connection that is.
func (l *lot) parked() (*parker, *peer) {
	c, p := l.dial()
	c.expect("parked")
	return c, p
}

func (c *parker) report(event string) {
	select {
	case c.events <- event:
	default:
		panic("nobody listens")
	}
}

func (c *parker) read(woken bool) {
	for before := c.Stats().BytesIn; ; {
		_, data, err := c.Read()
		switch {
		case err == conn.ErrParked && woken && c.Stats().BytesIn == before:
			c.report("parked early")
			return
		case err == conn.ErrParked:
			c.report("parked")
			return
		case err != nil:
			if !errors.As(err, &c.end) {
				panic(err)
			}
			c.OnEnd(func() {
				c.report("end")
				c.lot.all.Done()
			})
			return
		}
		c.report("message " + string(data))
		if c.lot.handle != nil {
			c.lot.handle(c, string(data))
		}
	}
}

// expect requires these events to come next, besides early parking, which may
// also follow a message, as silence does.
func (c *parker) expect(events ...string) {
	c.lot.t.Helper()
	for i, want := range events {
		got := <-c.events
		for got == "parked early" || got == "parked" && want != got {
			require.Equal(c.lot.t, "woken", <-c.events)
			got = <-c.events
		}
		require.Equal(c.lot.t, want, got, "event %d of %q", i, events)
	}
}

func (c *parker) expectEnd(code int, cause error) {
	c.lot.t.Helper()
	c.expect("end")
	require.Equal(c.lot.t, code, c.end.Code, "%v", c.end)
	if cause == nil {
		require.NoError(c.lot.t, c.end.Err)
	} else {
		require.ErrorIs(c.lot.t, c.end, cause)
	}
}
