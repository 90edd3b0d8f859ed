package life_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// served is a program that runs in Serve, over a listener of the machine.
type served struct {
	rt      *dog.Runtime
	objects *dog.Namespace[fixture.ReceivingObject]
	addr    string
	server  *http.Server
	ended   chan error
}

// serveProgram has a runtime with one type of objects served until ctx ends.
// change may change the server before.
func serveProgram(
	ctx context.Context, t *testing.T, options dog.Options, on *fixture.OwnerHooks, change func(*http.Server),
) *served {
	t.Helper()
	p := &served{rt: dogtest.New(t, options), ended: make(chan error, 1)}
	objects, err := dog.RegisterObject(p.rt, "entrance", &dog.ObjectOptions[fixture.ReceivingObject]{
		New: func() *fixture.ReceivingObject {
			return &fixture.ReceivingObject{SocketObject: fixture.SocketObject{On: on}}
		},
	})
	require.NoError(t, err)
	p.objects = objects
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.addr = listener.Addr().String()
	p.server = &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			objects.Named(req.URL.Path[1:]).ServeHTTP(w, req)
		}),
	}
	if change != nil {
		change(p.server)
	}
	go func() { p.ended <- p.rt.Serve(ctx, p.server, listener) }()
	return p
}

// dial connects a client to an object.
func (p *served) dial(t *testing.T, object string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+p.addr+"/"+object, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// requireEnded checks that the program has ended with its runtime and its
// server.
func (p *served) requireEnded(t *testing.T) {
	t.Helper()
	select {
	case <-p.rt.Stopping():
	default:
		require.Fail(t, "the runtime goes on")
	}
	_, err := net.Dial("tcp", p.addr)
	require.Error(t, err, "nobody listens any more")
	require.ErrorIs(
		t, dog.CallErr0(t.Context(), p.objects.Named("a"), (*fixture.ReceivingObject).Nothing), dog.ErrShutdown,
	)
}

func TestServe_EndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var did fixture.Lines
	streams := make(chan struct{})
	p := serveProgram(ctx, t, dog.Options{}, &fixture.OwnerHooks{
		Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
			if dog.IsUpgrade(req) {
				_, err := o.Connect(w, req, nil)
				return err
			}
			if _, err := io.WriteString(w, "a stream"); err != nil {
				return err
			}
			return dog.Await(req.Context(), func() error {
				err := http.NewResponseController(w).Flush()
				close(streams)
				<-dog.Stopping(req.Context())
				return err
			})
		},
		Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error { return s.Send(m) },
		Close: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, code int, reason string) error {
			return did.Add("closed %d %s", code, reason)
		},
	}, nil)
	ada := p.dial(t, "a")
	require.NoError(t, ada.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, received, err := ada.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "hello", string(received))

	answer, err := http.Get("http://" + p.addr + "/b")
	require.NoError(t, err)
	<-streams
	stop()
	_, _, err = ada.Read(t.Context())
	require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err, "a stream ends well")
	require.NoError(t, answer.Body.Close())
	require.Equal(t, "a stream", string(body))
	require.NoError(t, <-p.ended)
	require.Equal(t, []string{"closed 1001 server shutting down"}, did.Take())
	p.requireEnded(t)
}

func TestServe_StartsTheRuntime(t *testing.T) {
	disk := dogtest.NewDisk(t)
	rang := make(chan struct{})
	register := func(rt *dog.Runtime) *dog.Namespace[ringer] {
		ringers, err := dog.RegisterObject(
			rt, "ringer", &dog.ObjectOptions[ringer]{New: func() *ringer { return &ringer{rang: rang} }},
		)
		require.NoError(t, err)
		return ringers
	}
	rt := dogtest.New(t, dog.Options{Store: disk})
	require.NoError(t, dog.CallErr(t.Context(), register(rt).Named("a"), (*ringer).Set, time.Now().Add(time.Hour)))
	require.NoError(t, rt.Shutdown(t.Context()))

	rt = dogtest.New(t, dog.Options{Store: disk})
	fixture.SetWallClock(rt, func() time.Time { return time.Now().Add(2 * time.Hour) })
	register(rt)
	ctx, stop := context.WithCancel(t.Context())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- rt.Serve(ctx, &http.Server{}, listener) }()
	<-rang // without any request
	stop()
	require.NoError(t, <-ended)
}

// ringer is an object with an alarm.
type ringer struct {
	dog.Object
	rang chan struct{}
}

// Set sets the alarm.
func (b *ringer) Set(_ context.Context, at time.Time) error { return b.Storage().Alarms().Set(at) }

func (b *ringer) OnAlarm(context.Context, dog.Alarm) error {
	close(b.rang)
	return nil
}

func TestServe_FailsOnATakenAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	rt := dogtest.New(t, dog.Options{})
	ringers, err := dog.RegisterObject[ringer](rt, "ringer", nil)
	require.NoError(t, err)
	err = rt.Serve(t.Context(), &http.Server{Addr: taken.Addr().String()}, nil)
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	require.ErrorContains(t, err, taken.Addr().String())
	<-rt.Stopping()
	require.ErrorIs(t, dog.CallErr(t.Context(), ringers.Named("a"), (*ringer).Set, time.Now()), dog.ErrShutdown)
}

func TestServe_ListensOnTheServersAddress(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	require.NoError(t, free.Close())
	rt := dogtest.New(t, dog.Options{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- rt.Serve(ctx, &http.Server{Addr: addr}, nil) }()
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://" + addr)
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusNotFound
	}, 30*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
}

func TestServe_EndsWithItsServer(t *testing.T) {
	for name, end := range map[string]func(p *served) error{
		"shut down": func(p *served) error { return p.server.Shutdown(context.Background()) },
		"closed":    func(p *served) error { return p.server.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := serveProgram(t.Context(), t, dog.Options{}, &fixture.OwnerHooks{}, nil)
			ada := p.dial(t, "a")
			closed := make(chan error, 1)
			go func() { // else the server waits for her answer to the close frame
				_, _, err := ada.Read(t.Context())
				closed <- err
			}()
			require.NoError(t, end(p))
			require.NoError(t, <-p.ended, "somebody wanted it")
			require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(<-closed))
			p.requireEnded(t)
		})
	}
}

func TestServe_ReturnsWhyItsServerEnded(t *testing.T) {
	broken := errors.New("the listener is broken")
	rt := dogtest.New(t, dog.Options{})
	require.ErrorIs(t, rt.Serve(t.Context(), &http.Server{}, brokenListener{broken}), broken)
	<-rt.Stopping()
}

// brokenListener fails.
type brokenListener struct{ err error }

func (l brokenListener) Accept() (net.Conn, error) { return nil, l.err }
func (l brokenListener) Close() error              { return nil }
func (l brokenListener) Addr() net.Addr            { return &net.TCPAddr{} }

func TestServe_WaitsForShutdownTimeout(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	options, _ := fixture.LogToBuffer()
	options.ShutdownTimeout = 50 * time.Millisecond
	hangs, leave := make(chan struct{}), make(chan struct{})
	p := serveProgram(ctx, t, options, &fixture.OwnerHooks{
		Message: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, _ dog.Message) error {
			return dog.Await(ctx, func() error { close(hangs); <-leave; return nil })
		},
	}, nil)
	require.NoError(t, p.dial(t, "a").Write(t.Context(), websocket.MessageText, []byte("hang")))
	<-hangs
	stop()
	err := <-p.ended
	close(leave)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "ShutdownTimeout")
	require.ErrorContains(t, err, "entrance \"a\"", "it names what has not ended")
}

func TestServe_OverTLS(t *testing.T) {
	made := httptest.NewTLSServer(nil) // for its certificate
	defer made.Close()
	ctx, stop := context.WithCancel(t.Context())
	p := serveProgram(ctx, t, dog.Options{}, &fixture.OwnerHooks{
		Receive: func(_ fixture.Owner, w http.ResponseWriter, req *http.Request) error {
			_, err := io.WriteString(w, req.Proto)
			return err
		},
	}, func(server *http.Server) { server.TLSConfig = &tls.Config{Certificates: made.TLS.Certificates} })
	client := made.Client()
	defer client.CloseIdleConnections()
	answer, err := client.Get("https://" + p.addr + "/a")
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Contains(t, string(body), "HTTP/")
	stop()
	require.NoError(t, <-p.ended)
}

func TestServe_InvalidArguments(t *testing.T) {
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return listener
	}
	closed := func(listener net.Listener) {
		_, err := listener.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	}
	for _, rt := range []*dog.Runtime{nil, new(dog.Runtime)} {
		listener := listen()
		fixture.RequireUsage(t, rt.Serve(t.Context(), &http.Server{}, listener), "not made by a runtime")
		closed(listener)
	}
	rt := dogtest.New(t, dog.Options{})
	listener := listen()
	require.Error(t, rt.Serve(t.Context(), nil, listener))
	closed(listener)

	_, err := dog.New(dog.Options{ShutdownTimeout: -1})
	require.ErrorContains(t, err, "ShutdownTimeout")

	// One that has nothing to wait for ends at once, and a second time too.
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, rt.Serve(ctx, &http.Server{}, listen()))
	listener = listen()
	require.NoError(t, rt.Serve(ctx, &http.Server{}, listener))
	closed(listener)
}
