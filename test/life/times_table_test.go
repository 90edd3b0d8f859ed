package life_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

var statedTimes = []timed{
	{
		field: "ReserveFor", values: []time.Duration{50 * time.Millisecond, 7 * time.Second}, bounds: exactly,
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			h := fixture.NewRoomsWith(t, o, dog.GroupOptions[fixture.Lobby]{Limit: 1, MaxReplicas: 1}, &fixture.Hooks{})
			time.Sleep(phase)
			_, err := h.Identify(t.Context(), "ada")
			require.NoError(t, err)
			time.Sleep(value - 1)
			_, err = h.Identify(t.Context(), "bob")
			require.ErrorIs(t, err, dog.ErrGroupFull)
			time.Sleep(time.Nanosecond)
			_, err = h.Identify(t.Context(), "bob")
			require.NoError(t, err)
			return value
		},
	},
	{
		field: "LingerFor", values: []time.Duration{50 * time.Millisecond, 7 * time.Second}, bounds: exactly,
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			h, first := lingeringFor(t, o, two, phase)
			time.Sleep(value - 1)
			require.Equal(t, first, h.ReplicaOf("ada"))
			time.Sleep(time.Nanosecond)
			require.NotEqual(t, first, h.ReplicaOf("ada"))
			return value
		},
		never: func(t *testing.T, o dog.Options) {
			h, first := lingeringFor(t, o, two, 0)
			require.NotEqual(t, first, h.ReplicaOf("ada"))
		},
	},
	{
		field: "RetireAfter", values: []time.Duration{20 * time.Millisecond, 3 * time.Second, time.Minute},
		bounds: looked(1),
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			o.LingerFor = -1
			stopped := stops(&o, "room")
			h := fixture.NewRoomsWith(t, o, two, &fixture.Hooks{})
			ada := h.Enter("ada")
			time.Sleep(phase)
			ada.Vanish()
			began := time.Now()
			return (<-stopped).Sub(began)
		},
	},
	{
		field: "RetireAfter", values: []time.Duration{20 * time.Millisecond, 3 * time.Second, time.Minute},
		bounds: looked(2),
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			o.LingerFor = -1
			return timeToEviction(t, o, phase)
		},
	},
	{
		field: "GossipTimeout", values: []time.Duration{time.Millisecond, 7 * time.Second}, bounds: exactly,
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			h := fixture.NewRoomsWith(
				t, o, two,
				&fixture.Hooks{Gossip: func(ctx context.Context, _ *fixture.Room, _ dog.Message) (any, error) {
					<-ctx.Done()
					return nil, nil
				}},
			)
			h.Enter("ada")
			time.Sleep(phase)
			began := time.Now()
			replies, err := h.Group.Gossip(t.Context(), "who is there?")
			require.NoError(t, err)
			require.ErrorIs(t, replies[0].Err, context.DeadlineExceeded)
			return time.Since(began)
		},
	},
	{
		field: "Sockets.PingInterval", values: seconds(8, 25), bounds: span(7, 8, 8), // the first ping
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			ws := dialRaw(t, fixture.NewRoomsWith(t, o, two, &fixture.Hooks{}))
			time.Sleep(phase)
			sendEmpty(t, ws)
			began := time.Now()
			ping := make([]byte, 2)
			_, err := io.ReadFull(ws, ping)
			require.NoError(t, err)
			require.EqualValues(t, 0x89, ping[0])
			return time.Since(began)
		},
		never: func(t *testing.T, o dog.Options) {
			h := fixture.NewRoomsWith(t, o, two, &fixture.Hooks{})
			dialRaw(t, h) // and never answers
			fixture.Elapse(24 * time.Hour)
			require.Equal(t, []int{1}, h.Loads())
		},
	},
	{
		field: "Sockets.PingInterval", values: seconds(8, 25), bounds: span(15, 16, 8), // the end
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			ws := dialRaw(t, fixture.NewRoomsWith(t, o, two, &fixture.Hooks{}))
			time.Sleep(phase)
			sendEmpty(t, ws)
			began := time.Now()
			_, _ = io.Copy(io.Discard, ws)
			return time.Since(began)
		},
	},
	{
		field: "EvictAfter", values: []time.Duration{30 * time.Millisecond, time.Second, 3 * time.Second, time.Minute},
		bounds: looked(2),
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			o.HibernateAfter = value
			stopped := stops(&o, "cell")
			_, cells := fixture.NewObjects(t, o)
			require.NoError(
				t,
				dog.CallErr(t.Context(), cells.Named("ada"), (*fixture.Object).Do, func(context.Context) error {
					time.Sleep(phase + 3*time.Second/2) // looks find it busy
					return nil
				}),
			)
			began := time.Now()
			return (<-stopped).Sub(began)
		},
	},
	{
		field:  "HibernateAfter",
		values: []time.Duration{30 * time.Millisecond, time.Second, 3 * time.Second, time.Minute}, bounds: looked(2),
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			o.RetireAfter = time.Hour
			return timeToEviction(t, o, phase)
		},
	},
	{ // what is parked is waited for by the kernel, of which virtual time knows nothing
		field: "ParkAfter", elsewhere: "internal/conn/park_time_linux_test.go: TestPoller_ParksAfterItsTime",
		never: func(t *testing.T, o dog.Options) {
			h := fixture.NewRoomsWith(t, o, two, &fixture.Hooks{Message: fixture.Echo})
			ada := h.Enter("ada")
			fixture.Elapse(time.Hour)
			ada.Send("hello")
			require.Equal(t, []string{"hello"}, fixture.Texts(ada))
		},
	},
	{
		field: "StartTimeout", values: []time.Duration{time.Millisecond, 7 * time.Second}, bounds: exactly,
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			starters := newStarters(t, o, func(ctx context.Context, _ *starter) error { <-ctx.Done(); return nil })
			time.Sleep(phase)
			errs, took := callMany(starters.Named("ada"), 3)
			require.ErrorIs(t, errors.Join(errs...), dog.ErrReset)
			return took
		},
		never: func(t *testing.T, o dog.Options) {
			starters := newStarters(
				t, o, func(context.Context, *starter) error { time.Sleep(24 * time.Hour); return nil },
			)
			errs, _ := callMany(starters.Named("ada"), 1)
			require.NoError(t, errs[0])
		},
	},
	{
		field: "ShutdownTimeout", values: seconds(1, 10), bounds: span(1, 1, 1),
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			rt, err := dog.New(o)
			require.NoError(t, err)
			until := make(chan struct{})
			ignorers, err := dog.RegisterObject(rt, "ignorer", &dog.ObjectOptions[ignorer]{
				New: func() *ignorer { return &ignorer{until: until} },
			})
			require.NoError(t, err)
			ctx, end := context.WithCancel(t.Context())
			called, served := make(chan error, 1), make(chan error, 1)
			go func() { served <- rt.Serve(ctx, &http.Server{}, undialled(make(chan struct{}))) }()
			go func() { called <- dog.CallErr0(context.Background(), ignorers.Named("x"), (*ignorer).Wait) }()
			fixture.Elapse(phase + 1)
			began := time.Now()
			end()
			require.ErrorContains(t, <-served, "ShutdownTimeout")
			took := time.Since(began)
			close(until)
			<-called
			require.NoError(t, rt.Shutdown(context.Background()))
			return took
		},
	},
	{
		field: "Sockets.WriteTimeout", values: seconds(1, 16), bounds: span(16, 17, 16),
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			return timeToCutOff(t, o, phase, 1, dog.HistoryOptions{})
		},
	},
	{ // with more than QueueBytes that wait, for less than the second that makes a client slow
		field:  "Sockets.WriteTimeout",
		values: []time.Duration{time.Millisecond, 100 * time.Millisecond, 900 * time.Millisecond},
		bounds: span(16, 17, 16),
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			return timeToCutOff(t, o, phase, 500, dog.HistoryOptions{})
		},
	},
	{ // with DropOldest also for more
		field: "Sockets.WriteTimeout", values: []time.Duration{100 * time.Millisecond, 5 * time.Second},
		bounds: span(16, 17, 16),
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			o.Sockets.Slow = dog.DropOldest
			return timeToCutOff(t, o, phase, 500, dog.HistoryOptions{})
		},
	},
	{ // however much waits, if the client may take it from a history
		field: "Sockets.WriteTimeout", values: seconds(1, 10, 16), bounds: span(16, 17, 16),
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			return timeToCutOff(t, o, phase, 2000, dog.HistoryOptions{Bytes: 4 << 20})
		},
	},
	{
		field: "Sockets.CloseTimeout", values: seconds(2, 16), bounds: exactly,
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			ws := dialRaw(t, fixture.NewRoomsWith(t, o, two, &fixture.Hooks{
				Message: func(_ context.Context, _ *fixture.Room, s *dog.Socket, _ dog.Message) error {
					return s.Close(1000, "")
				},
			}))
			time.Sleep(phase)
			sendEmpty(t, ws)
			began := time.Now()
			_, _ = io.Copy(io.Discard, ws)
			return time.Since(began)
		},
	},
	{ // while a handler runs, which would read the answer later
		field: "Sockets.CloseTimeout", values: seconds(2, 16), bounds: exactly,
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			until := make(chan struct{})
			defer close(until)
			ws := dialRaw(t, fixture.NewRoomsWith(t, o, two, &fixture.Hooks{
				Message: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, _ dog.Message) error {
					return errors.Join(s.Close(1000, ""), dog.Await(ctx, func() error { <-until; return nil }))
				},
			}))
			time.Sleep(phase)
			sendEmpty(t, ws)
			began := time.Now()
			_, _ = io.Copy(io.Discard, ws)
			return time.Since(began)
		},
	},
	{ // after which Shutdown cuts what has got its close frame, though a handler runs: its context's time
		values: seconds(1, 4), bounds: exactly,
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			o.Sockets.CloseTimeout = time.Hour
			until := make(chan struct{})
			defer close(until)
			h := fixture.NewRoomsWith(t, o, two, &fixture.Hooks{
				Message: func(ctx context.Context, _ *fixture.Room, s *dog.Socket, _ dog.Message) error {
					return dog.Await(ctx, func() error { <-until; return nil })
				},
			})
			ws := dialRaw(t, h)
			sendEmpty(t, ws)
			fixture.Elapse(phase)
			ctx, cancel := context.WithTimeout(t.Context(), value)
			defer cancel()
			began := time.Now()
			go func() { _ = h.Runtime.Shutdown(ctx) }()
			_, _ = io.Copy(io.Discard, ws)
			return time.Since(began)
		},
	},
	{ // what a retry of an alarm waits for
		values: seconds(2, 4, 8, 16, 32, 64), bounds: span(4, 5, 4),
		act: func(t *testing.T, o dog.Options, value, _ time.Duration) time.Duration {
			d := fixture.NewAlarmObjects(
				t, o,
				fixture.NewAlarmHooks(
					func(context.Context, *fixture.AlarmObject, dog.Alarm) error {
						return errors.New("dropped the cup")
					},
				),
			)
			d.SetAfter("ada", time.Minute)
			fixture.Elapse(time.Hour)
			rings := d.Hooks.TakeRuns()
			require.Len(t, rings, 7)
			for i := range rings[1:] {
				if value == time.Second<<(i+1) {
					return rings[i+1].At - rings[i].At
				}
			}
			return 0
		},
	},
	{ // after which alarms that hang let others run in their place
		values: seconds(10), bounds: exactly,
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			until := make(chan struct{})
			defer close(until)
			d := fixture.NewAlarmObjects(
				t, o,
				fixture.NewAlarmHooks(func(_ context.Context, s *fixture.AlarmObject, _ dog.Alarm) error {
					if s.Name() != "ada" {
						<-until
					}
					return nil
				}),
			)
			for i := range 256 {
				d.SetAfter(strconv.Itoa(i), phase)
			}
			d.SetAfter("ada", phase+1)
			fixture.Elapse(phase)
			hung := d.Hooks.TakeRuns()
			fixture.Elapse(time.Minute)
			return d.Hooks.TakeRuns()[0].At - hung[0].At
		},
	},
	{ // until the sockets of a replica that does not wake are closed: 1 s, and 2 s more
		values: seconds(3), bounds: exactly,
		act: func(t *testing.T, _ dog.Options, _, phase time.Duration) time.Duration {
			w := newWaking(t, func(n int) error {
				if n > 1 {
					return errors.New("dropped the cup")
				}
				return nil
			})
			ada := w.srv.Dial("/?u=ada")
			fixture.Elapse(time.Minute + phase)
			began := time.Now()
			ada.Send("wake up")
			code, _ := ada.Closed()
			require.Equal(t, 1011, code)
			return time.Since(began)
		},
	},
	{ // which Shutdown gives OnStop of idle objects, though its context is over
		values: seconds(1), bounds: exactly,
		act: func(t *testing.T, o dog.Options, _, phase time.Duration) time.Duration {
			rt := dogtest.New(t, o)
			until := make(chan struct{})
			defer close(until)
			hangStops, err := dog.RegisterObject(
				rt, "hangStop", &dog.ObjectOptions[hangStop]{New: func() *hangStop { return &hangStop{until: until} }},
			)
			require.NoError(t, err)
			require.NoError(t, dog.CallErr0(t.Context(), hangStops.Named("ada"), (*hangStop).Nothing))
			fixture.Elapse(phase)
			over, cancel := context.WithCancel(context.Background())
			cancel()
			began := time.Now()
			require.ErrorIs(t, rt.Shutdown(over), context.Canceled)
			return time.Since(began)
		},
	},
}
