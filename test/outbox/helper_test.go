package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

// Device is the object of a device.
type Device struct {
	dog.Object
	Commands outbox.Queue

	policy outbox.Policy
}

func (d *Device) OnStart(context.Context) error { return d.Commands.Bind(&d.Object, d.policy) }

// OnOpen attaches devices. Pages that watch have a uid that begins with "page",
// and devices that are refused after all one that begins with "bad".
func (d *Device) OnOpen(_ context.Context, s *dog.Socket) error {
	if strings.HasPrefix(s.UID(), "page") {
		return nil
	}
	if !strings.HasPrefix(s.UID(), "bad") {
		return d.Commands.Attach(s)
	}
	if err := d.Storage().Put("seen", nil); err != nil {
		return err
	}
	return errors.Join(errors.New("refused"), d.Commands.Attach(s))
}

func (d *Device) OnAlarm(ctx context.Context, a dog.Alarm) error { return d.Commands.OnAlarm(ctx, a) }

// With runs f in the turn.
func (d *Device) With(ctx context.Context, f func(ctx context.Context, d *Device) error) error {
	return f(ctx, d)
}

// A command is what put queues.
type command struct {
	body    any
	options []outbox.Option
}

func (d *Device) Put(_ context.Context, c command) (outbox.Outcome, error) {
	return d.Commands.Put(c.body, c.options...)
}

func (d *Device) Ask(ctx context.Context, c command) (string, error) {
	return outbox.Ask[string](ctx, &d.Commands, c.body, c.options...)
}

// A site is a runtime with devices, and a server to which they connect.
type site struct {
	t       *testing.T
	rt      *dog.Runtime
	devices *dog.Namespace[Device]
	server  *dogtest.Server

	mu sync.Mutex // see meet
}

// setup configures a site.
type setup struct {
	store   dog.Store
	policy  outbox.Policy
	options dog.Options
	object  dog.ObjectOptions[Device]
	clock   func() time.Time // nil: the usual one
}

func open(t *testing.T, s setup) *site {
	t.Helper()
	s.options.Store = s.store
	rt := dogtest.New(t, s.options)
	if s.clock != nil {
		fixture.SetWallClock(rt, s.clock)
	}
	s.object.New = func() *Device { return &Device{policy: s.policy} }
	devices, err := dog.RegisterObject(rt, "device", &s.object)
	require.NoError(t, err)
	rt.Start()
	server := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		devices.Named(r.FormValue("d")).WithUID(r.FormValue("u")).ServeHTTP(w, r)
	}))
	return &site{t: t, rt: rt, devices: devices, server: server}
}

// put queues a command for the device "d".
func (s *site) put(body any, options ...outbox.Option) outbox.Outcome {
	s.t.Helper()
	o, err := s.tryPut(body, options...)
	require.NoError(s.t, err)
	return o
}

func (s *site) tryPut(body any, options ...outbox.Option) (outbox.Outcome, error) {
	return dog.Call(s.t.Context(), s.devices.Named("d"), (*Device).Put, command{body, options})
}

// with runs f in the turn of the device's object.
func (s *site) with(f func(ctx context.Context, d *Device) error) {
	s.t.Helper()
	require.NoError(s.t, dog.CallErr(s.t.Context(), s.devices.Named("d"), (*Device).With, f))
}

// waiting returns the bodies of the commands that wait.
func (s *site) waiting() (all []string) {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) error {
		for c, err := range d.Commands.Waiting() {
			if err != nil {
				return err
			}
			all = append(all, c.Body.String())
		}
		return nil
	})
	return all
}

// dead returns the bodies of the dead letters.
func (s *site) dead() (all []string) {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) error {
		for c, err := range d.Commands.Dead() {
			if err != nil {
				return err
			}
			all = append(all, c.Body.String())
		}
		return nil
	})
	return all
}

// outcome returns the outcome of the command with a key, which must be kept.
func (s *site) outcome(key string) (o outbox.Outcome) {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) error {
		var found bool
		var err error
		o, found, err = d.Commands.Outcome(key)
		require.True(s.t, found, key)
		return err
	})
	return o
}

// kept returns how many bytes of outcomes and dead letters are kept.
func (s *site) kept() (n int) {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) error {
		status, err := d.Commands.Status()
		n = status.KeptBytes
		return err
	})
	return n
}

// alarms returns how many alarms the object of the device "d" has.
func (s *site) alarms() int { return s.alarmsOf("d") }

// alarmsOf returns how many alarms the object of a device has.
func (s *site) alarmsOf(device string) (n int) {
	s.t.Helper()
	count := func(_ context.Context, d *Device) error {
		for _, err := range d.Storage().Alarms().All() {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}
	require.NoError(s.t, dog.CallErr(s.t.Context(), s.devices.Named(device), (*Device).With, count))
	return n
}

// An answer is what an Ask returns.
type answer struct {
	reply string
	err   error
}

// ask asks the device "d" in a goroutine. A limit of 0 is none.
func (s *site) ask(limit time.Duration, body any, options ...outbox.Option) <-chan answer {
	got := make(chan answer, 1)
	ctx, cancel := s.t.Context(), func() {}
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	go func() {
		defer cancel()
		reply, err := dog.Call(ctx, s.devices.Named("d"), (*Device).Ask, command{body, options})
		got <- answer{reply, err}
	}()
	synctest.Wait()
	return got
}

// A link is the connection of a device that does as the test says.
type link struct {
	t *testing.T
	*dogtest.Client
	early []dog.Message // that have been looked at
}

// A frame is a command as the device gets it.
type frame struct {
	number int
	epoch  string
	left   time.Duration
	before int
	body   string
	typ    dog.MessageType
}

// dial connects the device "d" and says that it takes commands.
func (s *site) dial() *link {
	s.t.Helper()
	l := s.connect("dev")
	l.Send("y")
	synctest.Wait()
	return l
}

// connect connects a client with a uid.
func (s *site) connect(uid string) *link {
	s.t.Helper()
	c := s.server.DialWith("/?d=d&u="+uid, dogtest.DialOptions{Subprotocols: []string{"dog.v1"}})
	l := &link{t: s.t, Client: c}
	require.Equal(s.t, "h", l.Receive().String()[:1])
	synctest.Wait()
	return l
}

// quiet reports whether no command has arrived.
func (l *link) quiet() bool {
	synctest.Wait()
	l.early = append(l.early, l.Received()...)
	return len(l.early) == 0
}

// frames returns the commands that have arrived since the last call.
func (l *link) frames() []frame {
	l.t.Helper()
	l.quiet()
	messages := l.early
	l.early = nil
	return framesOf(l.t, messages)
}

// framesOf returns the commands among messages.
func framesOf(t *testing.T, messages []dog.Message) (all []frame) {
	t.Helper()
	for _, m := range messages {
		head, body, _ := strings.Cut(m.String(), "\n")
		if head[0] != 'c' {
			continue
		}
		f := frame{body: body, typ: m.Type}
		var ms int
		_, err := fmt.Sscanf(head, "c%d %s %d %d", &f.number, &f.epoch, &ms, &f.before)
		require.NoError(t, err, head)
		f.left = time.Duration(ms) * time.Millisecond
		all = append(all, f)
	}
	return all
}

// bodies returns the bodies of the commands that have arrived.
func (l *link) bodies() []string {
	l.t.Helper()
	return bodiesOf(l.frames())
}

func bodiesOf(frames []frame) (all []string) {
	for _, f := range frames {
		all = append(all, f.body)
	}
	return all
}

// one returns the only command that has arrived.
func (l *link) one() frame {
	l.t.Helper()
	all := l.frames()
	require.Len(l.t, all, 1)
	return all[0]
}

// reply replies to a command.
func (l *link) reply(f frame, verdict, body string) {
	l.t.Helper()
	l.Send(fmt.Sprintf("r%d %s %s\n%s", f.number, f.epoch, verdict, body))
	synctest.Wait()
}
