package life_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

// timesOfOthers are the times of types, stores and clients, by the names that
// package surface has for them.
var timesOfOthers = []timed{
	{
		field:  "GroupOptions.LingerFor",
		values: []time.Duration{50 * time.Millisecond, 7 * time.Second}, bounds: exactly,
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			o.LingerFor = time.Hour
			h, first := lingeringFor(t, o, dog.GroupOptions[fixture.Lobby]{Limit: 2, LingerFor: value}, phase)
			time.Sleep(value - 1)
			require.Equal(t, first, h.ReplicaOf("ada"))
			time.Sleep(time.Nanosecond)
			require.NotEqual(t, first, h.ReplicaOf("ada"))
			return value
		},
	},
	{
		field: "Presence.Every", values: []time.Duration{time.Millisecond, 7 * time.Second}, bounds: exactly,
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			v := newVisited(t, o, outbox.Policy{}, dog.Presence{Grace: time.Hour, Every: value})
			time.Sleep(phase)
			began := time.Now()
			v.srv.Dial("/")
			return (<-v.told).Sub(began)
		},
	},
	{
		field: "Presence.Grace", values: []time.Duration{time.Millisecond, 7 * time.Second},
		bounds: func(d time.Duration) (earliest, latest time.Duration) { return d, d + 1 }, // and Every
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			v := newVisited(t, o, outbox.Policy{}, dog.Presence{Grace: value, Every: 1})
			c := v.srv.Dial("/")
			<-v.told
			time.Sleep(phase)
			began := time.Now()
			c.Vanish()
			return (<-v.told).Sub(began)
		},
	},
	{ // a device that says nothing
		field: "Policy.AckWait", values: []time.Duration{time.Millisecond, 7 * time.Second}, bounds: exactly,
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			v := newVisited(t, o, outbox.Policy{AckWait: value, Deliver: 1000}, dog.Presence{Grace: 1})
			c := v.srv.DialWith("/", dogtest.DialOptions{Subprotocols: []string{"dog.v1"}})
			c.Receive() // hello
			c.Send("y")
			time.Sleep(phase)
			began := time.Now()
			v.do(t, func(q *outbox.Queue) error { _, err := q.Put("open"); return err })
			c.Receive()
			require.Zero(t, time.Since(began))
			c.Receive()
			return time.Since(began)
		},
	},
	{ // by the clock, in milliseconds
		field: "Policy.TTL", values: []time.Duration{10 * time.Millisecond, 7 * time.Second, time.Minute},
		bounds: func(d time.Duration) (earliest, latest time.Duration) {
			return d - time.Millisecond, d + time.Millisecond
		},
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			v := newVisited(t, o, outbox.Policy{TTL: value}, dog.Presence{Grace: 1})
			time.Sleep(phase)
			began := time.Now()
			require.ErrorIs(t, dog.CallErr(t.Context(), v.stub, (*visited).Do, askOpen), outbox.ErrExpired)
			return time.Since(began)
		},
	},
	{
		field: "Policy.Keep", values: []time.Duration{10 * time.Millisecond, 7 * time.Second, time.Minute},
		bounds: exactly,
		act: func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration {
			v := newVisited(t, o, outbox.Policy{TTL: time.Second, Keep: value}, dog.Presence{Grace: 1})
			time.Sleep(phase)
			require.ErrorIs(t, dog.CallErr(t.Context(), v.stub, (*visited).Do, askOpen), outbox.ErrExpired)
			for _, kept := range []bool{true, false} {
				v.do(t, func(q *outbox.Queue) error {
					_, found, err := q.Outcome("door")
					require.Equal(t, kept, found)
					return err
				})
				time.Sleep(value - 2*time.Millisecond) // see TTL
				if kept {
					v.do(t, func(q *outbox.Queue) error {
						_, found, err := q.Outcome("door")
						require.True(t, found)
						return err
					})
					time.Sleep(4 * time.Millisecond)
				}
			}
			return value
		},
	},
	{field: "HistoryOptions.Age", elsewhere: "test/history/bounds_test.go: TestBounds_AgeIsExact"},
	{field: "disk.Options.Wait", elsewhere: "test/storage/wait_test.go: TestDiskWait_FailsWithTheSameErrorAfterwards"},
	{field: "client.Options.MaxAge", elsewhere: "client/send_test.go: TestSend_ExpiresAfterMaxAge"},
}

// notInForce are the types whose times are not for the library to keep: they
// are measured, or told to a client.
var notInForce = []string{
	"TurnStats", "Durations", "AlarmStats", "StoreStats", "EventInfo", "StatusError",
}

// visited is an object that has members and commands.
type visited struct {
	dog.Object
	Commands outbox.Queue
	policy   outbox.Policy
	told     chan time.Time
}

func (v *visited) OnStart(context.Context) error { return v.Commands.Bind(&v.Object, v.policy) }

func (v *visited) OnAlarm(ctx context.Context, a dog.Alarm) error { return v.Commands.OnAlarm(ctx, a) }

func (v *visited) OnOpen(_ context.Context, s *dog.Socket) error {
	if s.Subprotocol() == "" {
		return nil
	}
	return v.Commands.Attach(s)
}

func (v *visited) OnPresence(context.Context, dog.PresenceChange) error {
	v.told <- time.Now()
	return nil
}

func (v *visited) Do(ctx context.Context, f func(context.Context, *outbox.Queue) error) error {
	return f(ctx, &v.Commands)
}

// askOpen asks a device that is away.
func askOpen(ctx context.Context, q *outbox.Queue) error {
	_, err := outbox.Ask[string](ctx, q, "open", outbox.Key("door"))
	return err
}

// visitedTest is one object of the type visited, and its server.
type visitedTest struct {
	stub dog.Stub[visited]
	srv  *dogtest.Server
	told chan time.Time // when OnPresence ran
}

func newVisited(t *testing.T, o dog.Options, policy outbox.Policy, presence dog.Presence) visitedTest {
	t.Helper()
	v := visitedTest{told: make(chan time.Time, 10)}
	rt := dogtest.New(t, o)
	objects, err := dog.RegisterObject(rt, "visited", &dog.ObjectOptions[visited]{
		New:      func() *visited { return &visited{policy: policy, told: v.told} },
		Presence: presence,
	})
	require.NoError(t, err)
	v.stub = objects.Named("a")
	v.srv = dogtest.Serve(t, http.HandlerFunc(v.stub.WithUID("ada").ServeHTTP))
	return v
}

// do runs f in a turn.
func (v visitedTest) do(t *testing.T, f func(*outbox.Queue) error) {
	t.Helper()
	require.NoError(t, dog.CallErr(t.Context(), v.stub, (*visited).Do, func(_ context.Context, q *outbox.Queue) error {
		return f(q)
	}))
	synctest.Wait()
}
