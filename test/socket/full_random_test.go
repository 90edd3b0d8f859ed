package socket_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// most is the MaxSockets of the object.
const most = 4

// A fullStep is something that happens to an object with few places.
type fullStep struct {
	do  string
	uid string
	n   int
}

var fullSteps = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) fullStep {
	return fullStep{
		rapid.SampledFrom([]string{
			"open", "open", "open", "open at once", "open and supersede",
			"close", "close", "vanish", "close by handler", "refuse", "refuse in handler", "fail",
			"sleep", "reset", "hold", "release",
		}).Draw(t, "do"),
		rapid.SampledFrom([]string{"ada", "bob"}).Draw(t, "uid"),
		rapid.IntRange(0, 7).Draw(t, "n"),
	}
}), 1, 40)

// Whatever happens, there are never more than MaxSockets sockets, those whose
// OnClose has not returned included. A further one is refused with 503 and
// ErrSocketsFull, and nobody else is: each place is given back, and once.
func TestSocket_MaxSocketsHoldsInRandomStories(t *testing.T) {
	for _, hibernate := range []bool{false, true} {
		t.Run(map[bool]string{false: "in memory", true: "hibernating"}[hibernate], func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				story := fullSteps.Draw(rt, "story")
				synctest.Test(t, func(t *testing.T) { newFullObject(t, hibernate).tell(story) })
				if t.Failed() {
					rt.FailNow()
				}
			})
		})
	}
}

// noConnection is a ResponseWriter that fails when a place has been taken.
type noConnection struct{ fixture.DiscardResponse }

// Hijack fails.
func (*noConnection) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("there is no connection")
}

// A fullObject is an object with few places, and what it should be like.
type fullObject struct {
	t    *testing.T
	rt   *dog.Runtime
	stub dog.Stub[fixture.ReceivingObject]
	srv  *dogtest.Server

	open    []fullClient
	closing int // sockets whose OnClose waits

	mu      sync.Mutex
	leave   chan struct{} // OnClose waits until it is closed; nil: it does not. guarded by mu
	refused []error       // what Connect has returned. guarded by mu
}

type fullClient struct {
	uid string
	*dogtest.Client
}

func newFullObject(t *testing.T, hibernate bool) *fullObject {
	options, _ := fixture.LogToBuffer()
	o := &fullObject{t: t, rt: dogtest.New(t, options)}
	on := &fixture.OwnerHooks{
		Receive: func(of fixture.Owner, w http.ResponseWriter, r *http.Request) error {
			if r.FormValue("not") != "" {
				return &dog.StatusError{Status: http.StatusTeapot}
			}
			_, err := of.Connect(w, r, nil)
			if err != nil {
				o.mu.Lock()
				o.refused = append(o.refused, err)
				o.mu.Unlock()
			}
			return err
		},
		Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
			if m.String() == "supersede" {
				return s.Supersede()
			}
			return s.Close(4000, "as you wish")
		},
		Close: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, _ int, _ string) error {
			o.mu.Lock()
			leave := o.leave
			o.mu.Unlock()
			if leave == nil {
				return nil
			}
			return dog.Await(ctx, func() error {
				select {
				case <-leave:
				case <-ctx.Done():
				}
				return nil
			})
		},
	}
	objects, err := dog.RegisterObject(o.rt, "object", &dog.ObjectOptions[fixture.ReceivingObject]{
		New: func() *fixture.ReceivingObject {
			return &fixture.ReceivingObject{SocketObject: fixture.SocketObject{On: on}}
		},
		MaxSockets: most, Hibernate: hibernate,
	})
	require.NoError(t, err)
	o.stub = objects.Named("a")
	o.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.stub.WithUID(r.FormValue("u")).ServeHTTP(w, r)
	}))
	return o
}

// tell lets the steps of a story happen. In the end all places are free.
func (o *fullObject) tell(story []fullStep) {
	for _, s := range story {
		o.step(s)
		synctest.Wait()
		require.Equal(o.t, len(o.open), o.rt.Stats().Sockets, "%v", s)
	}
	o.hold(false)
	for len(o.open) > 0 {
		o.step(fullStep{do: "close"})
	}
	synctest.Wait()
	o.connect("ada", most+1)
	require.Len(o.t, o.open, most, "all places are free in the end")
}

func (o *fullObject) step(s fullStep) {
	switch s.do {
	case "open":
		o.connect(s.uid, 1)
	case "open at once":
		o.connect(s.uid, 1+s.n)
	case "open and supersede":
		if o.connect(s.uid, 1) == 1 {
			newest := o.open[len(o.open)-1]
			newest.Send("supersede")
			older := func(c fullClient) bool { return c.uid == s.uid && c != newest }
			o.end(older, func(c fullClient) {
				code, _ := c.Closed()
				require.Equal(o.t, 4001, code)
			})
		}
	case "close", "vanish", "close by handler":
		if len(o.open) == 0 {
			return
		}
		one := o.open[s.n%len(o.open)]
		o.end(func(c fullClient) bool { return c == one }, func(c fullClient) {
			switch s.do {
			case "close":
				c.Close(1000, "")
			case "vanish":
				c.Vanish()
			default:
				c.Send("close")
				code, _ := c.Closed()
				require.Equal(o.t, 4000, code)
			}
		})
	case "refuse":
		foreign := handshakeHeader("Origin", "https://evil.test")
		require.Equal(o.t, http.StatusForbidden, statusOf(o.t, o.srv, "GET", "/", foreign))
		require.Equal(o.t, http.StatusUpgradeRequired, statusOf(o.t, o.srv, "GET", "/", nil))
		o.refused = nil // for other reasons
	case "refuse in handler":
		require.Equal(o.t, http.StatusTeapot, statusOf(o.t, o.srv, "GET", "/?not=1", handshakeHeader()))
	case "fail":
		full := len(o.open)+o.closing == most
		o.stub.ServeHTTP(&noConnection{}, fixture.NewUpgrade("/"))
		require.Len(o.t, o.refused, 1)
		require.Equal(o.t, full, errors.Is(o.refused[0], dog.ErrSocketsFull), "%v", o.refused[0])
		o.refused = nil
	case "sleep":
		time.Sleep(10 * time.Minute)
	case "reset":
		require.NoError(o.t, o.stub.Abort(nil))
		o.closing = 0
		o.end(func(fullClient) bool { return true }, func(c fullClient) { c.Closed() })
	case "hold", "release":
		o.hold(s.do == "hold")
	}
}

// connect has n clients come at once, and returns how many have got in, which
// must be all for whom there is a place.
func (o *fullObject) connect(uid string, n int) (in int) {
	o.t.Helper()
	free := most - len(o.open) - o.closing
	clients := make([]*dogtest.Client, n)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			c, answer, err := o.srv.TryDial("/?u="+uid, dogtest.DialOptions{})
			if clients[i] = c; err != nil && answer.StatusCode != http.StatusServiceUnavailable {
				o.t.Errorf("%v: %v", answer.Status, err)
			}
		})
	}
	all.Wait()
	for _, c := range clients {
		if c != nil {
			o.open = append(o.open, fullClient{uid, c})
			in++
		}
	}
	require.Equal(o.t, min(free, n), in, "with %d free places", free)
	require.Len(o.t, o.refused, n-in)
	for _, err := range o.refused {
		require.ErrorIs(o.t, err, dog.ErrSocketsFull)
	}
	o.refused = nil
	return in
}

// end ends the connections of some clients.
func (o *fullObject) end(which func(fullClient) bool, how func(fullClient)) {
	o.t.Helper()
	before := len(o.open)
	for _, c := range o.open {
		if which(c) {
			how(c)
		}
	}
	o.open = slices.DeleteFunc(o.open, which)
	synctest.Wait()
	if o.leave != nil {
		o.closing += before - len(o.open)
	}
}

// hold makes OnClose wait, or all go on.
func (o *fullObject) hold(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case on && o.leave == nil:
		o.leave = make(chan struct{})
	case !on && o.leave != nil:
		close(o.leave)
		o.leave, o.closing = nil, 0
	}
}
