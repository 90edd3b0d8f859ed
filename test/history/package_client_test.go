package history_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	dogclient "github.com/godurable/dog/client"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// tally is an owner that counts its messages in storage and repeats them to
// all.
func tally() *fixture.OwnerHooks {
	return &fixture.OwnerHooks{
		History: dog.HistoryOptions{Count: 10_000},
		Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			if m.String() == "count" {
				n, err := counted(o)
				if err != nil {
					return err
				}
				return s.Send("count " + strconv.Itoa(n))
			}
			n, err := counted(o)
			if err != nil {
				return err
			}
			if err := o.Storage().Put("n", []byte(strconv.Itoa(n+1))); err != nil {
				return err
			}
			return o.Broadcast(m)
		},
	}
}

func counted(o fixture.Owner) (int, error) {
	n, found, err := o.Storage().Get("n")
	if err != nil || !found {
		return 0, err
	}
	return strconv.Atoi(string(n))
}

// flaky reaches the server of the moment over connections that break.
type flaky struct {
	mu    sync.Mutex
	srv   *dogtest.Server // guarded by mu; nil: there is none
	conns []*line         // guarded by mu
}

// line is a connection. Once deaf, it loses what the server sends.
type line struct {
	io.ReadWriteCloser
	deaf atomic.Bool
	over context.Context // done when it is closed
	end  context.CancelFunc
}

func (l *line) Read(p []byte) (int, error) {
	n, err := l.ReadWriteCloser.Read(p)
	if l.deaf.Load() {
		<-l.over.Done()
		return 0, io.ErrClosedPipe
	}
	return n, err
}

func (l *line) Close() error {
	l.end()
	return l.ReadWriteCloser.Close()
}

func (f *flaky) set(srv *dogtest.Server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.srv = srv
}

// RoundTrip implements [http.RoundTripper].
func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	srv := f.srv
	f.mu.Unlock()
	if srv == nil {
		return nil, errors.New("the server is away")
	}
	resp, err := srv.Client().Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if rwc, ok := resp.Body.(io.ReadWriteCloser); ok {
		l := &line{ReadWriteCloser: rwc}
		l.over, l.end = context.WithCancel(context.Background())
		resp.Body = l
		f.mu.Lock()
		defer f.mu.Unlock()
		f.conns = append(f.conns, l)
	}
	return resp, nil
}

// deafen lets the clients lose what the server sends, such as its
// acknowledgements.
func (f *flaky) deafen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.conns {
		l.deaf.Store(true)
	}
}

// cut breaks all connections.
func (f *flaky) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
}

// Clients of package client whose connections break all the time, while the
// server restarts and crashes, have each message handled once. As long as it
// does not crash, they receive each once, in one order.
func TestClient_EverythingTakesEffectOnce(t *testing.T) {
	for _, kind := range kinds {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, crash %v", kind, crash), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { everythingOnce(t, kind, crash) })
			})
		}
	}
}

func everythingOnce(t *testing.T, kind string, crash bool) {
	const clients, each = 4, 150
	d := dogtest.NewDisk(t)
	start := func() *fixture.Owners { return fixture.NewOwners(t, kind, dog.Options{Store: d}, tally()) }
	v, network := start(), &flaky{}
	network.set(v.Server)

	var received [clients][]string
	var sent, gaps atomic.Int64
	var senders, receivers sync.WaitGroup
	all := make([]*dogclient.Client, clients)
	for i := range all {
		c, err := dogclient.New("ws://dog.test/?u="+fmt.Sprint("client-", i), dogclient.Options{
			HTTPClient: &http.Client{Transport: network},
			MaxAge:     time.Hour,
		})
		require.NoError(t, err)
		all[i] = c
		receivers.Go(func() {
			for event, err := range c.Events(context.Background()) {
				if err != nil {
					return
				}
				switch e := event.(type) {
				case dogclient.Message:
					if e.Kept {
						received[i] = append(received[i], string(e.Data))
					}
				case dogclient.Gap:
					if e.Reason != dogclient.First {
						gaps.Add(1)
					}
				}
			}
		})
	}
	time.Sleep(5 * time.Second) // all are connected before the first message
	for i, c := range all {
		senders.Go(func() {
			for n := range each {
				if err := c.Send(t.Context(), fmt.Sprintf("%d-%d", i, n)); err != nil {
					t.Errorf("%d-%d: %v", i, n, err)
				}
				sent.Add(1)
				time.Sleep(rand.N(time.Second))
			}
		})
	}
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(rand.N(8 * time.Second)):
			network.deafen()
			time.Sleep(2 * time.Second)
			network.cut()
			if rand.IntN(3) != 0 {
				continue
			}
			network.set(nil)
			if crash && rand.IntN(2) == 0 {
				d.Crash()
			}
			_ = v.Runtime.Shutdown(t.Context())
			v = start()
			network.set(v.Server)
		}
	}
	time.Sleep(time.Minute) // everybody is connected, and has everything
	require.EqualValues(t, clients*each, sent.Load())
	last := dial(t, v.Server, "client-0", "")
	last.Send("m\ncount")
	require.Equal(t, "count "+strconv.Itoa(clients*each), last.message())
	for _, c := range all {
		c.Close()
	}
	receivers.Wait()
	if crash {
		return
	}
	require.Zero(t, gaps.Load())
	for i := range received {
		require.Len(t, received[i], clients*each)
		require.True(t, slices.Equal(received[0], received[i]), "one order for all")
	}
}
