package life_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func exactly(d time.Duration) (earliest, latest time.Duration) { return d, d }

// looked is a time for which somebody looks, in quarters of it and every second
// at the least, so often as the time may be late.
func looked(times time.Duration) func(time.Duration) (earliest, latest time.Duration) {
	return func(d time.Duration) (earliest, latest time.Duration) {
		return d, d + times*min(max(d/4, 10*time.Millisecond), time.Second)
	}
}

func span(from, to, of time.Duration) func(time.Duration) (earliest, latest time.Duration) {
	return func(d time.Duration) (earliest, latest time.Duration) { return d * from / of, d * to / of }
}

// stops returns a channel of the times at which objects of a namespace leave
// memory.
func stops(o *dog.Options, namespace string) chan time.Time {
	stopped := make(chan time.Time, 10)
	o.Trace = &dog.Trace{ObjectStopped: func(info dog.ObjectInfo, _ error) {
		if info.Namespace == namespace {
			stopped <- time.Now()
		}
	}}
	return stopped
}

// dialRaw connects a client that sends nothing by itself, not even an answer.
func dialRaw(t *testing.T, h *fixture.Rooms) io.ReadWriteCloser {
	t.Helper()
	req, err := http.NewRequest("GET", dogtest.URL+"/ws?u=raw", nil)
	require.NoError(t, err)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		req.Header.Set(name, value)
	}
	res, err := h.Server.Client().Do(req)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	ws := res.Body.(io.ReadWriteCloser)
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// sendEmpty sends an empty text.
func sendEmpty(t *testing.T, ws io.Writer) {
	t.Helper()
	_, err := ws.Write([]byte{0x81, 0x80, 0, 0, 0, 0})
	require.NoError(t, err)
}

var two = dog.GroupOptions[fixture.Lobby]{Limit: 2}

func seconds(n ...time.Duration) []time.Duration {
	for i := range n {
		n[i] *= time.Second
	}
	return n
}

// timedGroup is a group whose events take time, and which may hibernate.
type timedGroup struct{ dog.Group }

// Take takes a while.
func (g *timedGroup) Take(_ context.Context, d time.Duration) error { time.Sleep(d); return nil }

// timeToEviction returns how long a timedGroup stays in memory after an event
// that is longer than the interval of the sweeper.
func timeToEviction(t *testing.T, o dog.Options, phase time.Duration) time.Duration {
	stopped := stops(&o, "group")
	rt := dogtest.New(t, o)
	rooms, err := dog.RegisterReplica[fixture.Room](rt, "room", nil)
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(
		rt, "group", rooms, &dog.GroupOptions[timedGroup]{Limit: 1, Hibernate: o.HibernateAfter > 0},
	)
	require.NoError(t, err)
	require.NoError(t, dog.CallErr(t.Context(), groups.Named("main").Stub, (*timedGroup).Take, phase+3*time.Second/2))
	began := time.Now()
	return (<-stopped).Sub(began)
}

// timeToCutOff returns how long after so many messages of a kilobyte a client
// that reads nothing is cut off, with or without a history.
func timeToCutOff(
	t *testing.T, o dog.Options, phase time.Duration, messages int, history dog.HistoryOptions,
) time.Duration {
	o.Sockets.PingInterval = -1
	ended := make(chan time.Time, 1)
	h := fixture.NewRoomsWith(
		t, o, dog.GroupOptions[fixture.Lobby]{Limit: 2, History: history},
		&fixture.Hooks{Close: func(_ context.Context, _ *fixture.Room, _ *dog.Socket, code int, _ string) error {
			require.Equal(t, 1006, code)
			ended <- time.Now()
			return nil
		}},
	)
	dialRaw(t, h)
	fixture.Elapse(phase)
	began := time.Now()
	for range messages {
		require.NoError(t, h.Group.Broadcast(t.Context(), strings.Repeat("x", 1000)))
	}
	return (<-ended).Sub(began)
}

// lingeringFor returns rooms in which ada was on the first replica, which has
// more load than the second.
func lingeringFor(
	t *testing.T, o dog.Options, group dog.GroupOptions[fixture.Lobby], phase time.Duration,
) (h *fixture.Rooms, first dog.ID) {
	t.Helper()
	o.RetireAfter = time.Hour
	h = fixture.NewRoomsWith(t, o, group, &fixture.Hooks{})
	ada := h.Enter("ada")
	first = h.ReplicaOf("ada")
	h.Enter("bob")
	cyd := h.Enter("cyd")
	time.Sleep(phase)
	for _, c := range []*dogtest.Client{cyd, ada} {
		c.Close(1000, "")
	}
	synctest.Wait()
	require.Equal(t, []int{1, 0}, h.Loads())
	return h, first
}

// ignorer is an object whose handler takes no notice of Shutdown.
type ignorer struct {
	dog.Object
	until chan struct{}
}

func (l *ignorer) Wait(ctx context.Context) error {
	return dog.Await(ctx, func() error { <-l.until; return nil })
}

// undialled is a listener that nobody dials.
type undialled chan struct{}

func (l undialled) Accept() (net.Conn, error) {
	<-l
	return nil, net.ErrClosed
}

func (l undialled) Close() error {
	close(l)
	return nil
}

func (l undialled) Addr() net.Addr { return &net.TCPAddr{} }
