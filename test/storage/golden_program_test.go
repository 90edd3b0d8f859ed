package storage_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

// goldenTime is when the objects of a golden store ring. It is always an hour
// ahead.
var goldenTime = time.Date(2200, 1, 2, 3, 4, 5, 6, time.UTC)

const lampSession = "fedcba9876543210"

type goldenLobby struct{ dog.Group }

// A goldenHall fails to hear of anybody new while a golden store is made, so
// the change of its members is stored as one to be told again.
type goldenHall struct {
	dog.Group
	of *goldenStore
}

func (h *goldenHall) Clusterize(context.Context, string) (string, error) { return "hall", nil }

func (h *goldenHall) OnPresence(_ context.Context, p dog.PresenceChange) error {
	select {
	case h.of.told <- p:
	default: // it is told again
	}
	if len(p.Joined) > 0 && p.Joined[0].UID == h.of.deafTo {
		return errors.New("not now")
	}
	return nil
}

type goldenRoom struct{ dog.Replica }

// Receive connects clients. Of other requests it stores the path, and answers
// with what was stored before.
func (r *goldenRoom) Receive(w http.ResponseWriter, req *http.Request) error {
	if dog.IsUpgrade(req) {
		_, err := r.Connect(w, req, nil)
		return err
	}
	before, _, err := r.Storage().Get("said")
	if err == nil && req.URL.Path != "/" {
		err = r.Storage().Put("said", []byte(req.URL.Path))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil
	}
	_, _ = fmt.Fprintf(w, "%s in %s", before, r.GroupName())
	return nil
}

func (r *goldenRoom) OnAlarm(context.Context, dog.Alarm) error { return nil }

func (r *goldenRoom) OnOpen(_ context.Context, s *dog.Socket) error {
	return s.SetPresence("of " + s.UID())
}

type goldenDevice struct {
	dog.Object
	Commands outbox.Queue
}

func (d *goldenDevice) OnStart(context.Context) error {
	return d.Commands.Bind(&d.Object, outbox.Policy{})
}

func (d *goldenDevice) OnOpen(_ context.Context, s *dog.Socket) error { return d.Commands.Attach(s) }

func (d *goldenDevice) OnAlarm(ctx context.Context, a dog.Alarm) error {
	return d.Commands.OnAlarm(ctx, a)
}

// Do runs f in a turn.
func (d *goldenDevice) Do(ctx context.Context, f func(context.Context, *goldenDevice) error) error {
	return f(ctx, d)
}

// goldenStore is the program whose data directory it is.
type goldenStore struct {
	rt      *dog.Runtime
	parcels *parcels
	lobbies *dog.Groups[goldenLobby, goldenRoom]
	halls   *dog.Groups[goldenHall, goldenRoom]
	devices *dog.Namespace[goldenDevice]

	deafTo string                  // of whose arrival a hall fails to hear
	told   chan dog.PresenceChange // what a hall is told, with room for one
}

func openGolden(t *testing.T, dir, deafTo string) *goldenStore {
	rt := dogtest.New(t, dog.Options{
		Store:      disk.At(dir),
		Migrations: []dog.Migration{{Tag: "first", Renamed: map[string]string{"box": "parcel"}}},
	})
	fixture.SetWallClock(rt, func() time.Time { return goldenTime.Add(-time.Hour) })
	h := &goldenStore{
		rt: rt, parcels: addParcels(t, rt, "parcel"), deafTo: deafTo, told: make(chan dog.PresenceChange, 1),
	}
	rooms, err := dog.RegisterReplica[goldenRoom](rt, "room", nil)
	require.NoError(t, err)
	h.lobbies, err = dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[goldenLobby]{
		Limit: 9, History: dog.HistoryOptions{Age: 200 * 365 * 24 * time.Hour},
		Presence: dog.Presence{Grace: time.Hour},
	})
	require.NoError(t, err)
	others, err := dog.RegisterReplica[goldenRoom](rt, "other", nil)
	require.NoError(t, err)
	h.halls, err = dog.RegisterGroup(rt, "hall", others, &dog.GroupOptions[goldenHall]{
		New:   func() *goldenHall { return &goldenHall{of: h} },
		Limit: 9, History: dog.HistoryOptions{Age: 200 * 365 * 24 * time.Hour, Durable: true},
		Presence: dog.Presence{Grace: time.Hour, Every: time.Millisecond, Durable: true},
	})
	require.NoError(t, err)
	h.devices, err = dog.RegisterObject[goldenDevice](rt, "device", nil)
	require.NoError(t, err)
	rt.Start()
	return h
}

// request sends a request to a replica of a group.
func request[G, R any](t *testing.T, group dog.GroupStub[G, R], path string) string {
	t.Helper()
	to, err := group.Identify(t.Context(), "ada")
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	require.NoError(t, err)
	answer, err := to.RoundTrip(req)
	require.NoError(t, err)
	defer answer.Body.Close()
	var b strings.Builder
	_, err = fmt.Fprint(&b, answer.StatusCode, " ")
	require.NoError(t, err)
	buf := make([]byte, 1000)
	n, _ := answer.Body.Read(buf)
	return b.String() + string(buf[:n])
}

// connect runs f with a connection that speaks dog.v1, and its hello.
func connect(t *testing.T, to http.Handler, session string, f func(ws *websocket.Conn, hello string)) {
	t.Helper()
	srv := httptest.NewServer(to)
	defer srv.Close()
	ws, _, err := websocket.Dial(t.Context(), srv.URL+"/?session="+session, &websocket.DialOptions{
		Subprotocols: []string{"dog.v1"},
	})
	require.NoError(t, err)
	defer ws.CloseNow()
	f(ws, hear(t, ws))
}

func hear(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	_, data, err := ws.Read(t.Context())
	require.NoError(t, err)
	return string(data)
}

func say(t *testing.T, ws *websocket.Conn, frame string) {
	t.Helper()
	require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte(frame)))
}

// sendOnce sends the first message of the session of a member of a group, and
// returns the hello of the connection.
func sendOnce[G, R any](t *testing.T, group dog.GroupStub[G, R], uid string) (hello string) {
	t.Helper()
	to, err := group.Identify(t.Context(), uid)
	require.NoError(t, err)
	connect(t, to, "0123456789abcdef"+uid, func(ws *websocket.Conn, first string) {
		hello = first
		say(t, ws, "m1\nfirst")
		require.Equal(t, "a1", hear(t, ws))
	})
	return hello
}

// command runs f in a turn of the device.
func (h *goldenStore) command(t *testing.T, f func(ctx context.Context, d *goldenDevice) error) {
	t.Helper()
	require.NoError(t, dog.CallErr(t.Context(), h.devices.Named("lamp"), (*goldenDevice).Do, f))
}

// commandAll gives the device commands that end in all ways: a dead letter, one
// that is done, one that is replaced, and some that wait.
func (h *goldenStore) commandAll(t *testing.T) {
	h.command(t, func(_ context.Context, d *goldenDevice) error {
		_, err := d.Commands.Put("explode")
		return errors.Join(err, d.Commands.Bind(&d.Object, outbox.Policy{Deliver: 2, AckWait: time.Second}))
	})
	connect(t, h.devices.Named("lamp"), lampSession, func(ws *websocket.Conn, _ string) {
		say(t, ws, "y")
		for range 2 {
			require.Contains(t, hear(t, ws), "explode")
		}
		done := make(chan error, 1)
		go func() {
			done <- dog.CallErr(
				t.Context(), h.devices.Named("lamp"), (*goldenDevice).Do,
				func(ctx context.Context, d *goldenDevice) error {
					_, err := outbox.Ask[string](ctx, &d.Commands, "shine", outbox.Key("first light"))
					return err
				},
			)
		}()
		head, body, _ := strings.Cut(hear(t, ws), "\n") // when the first one is a dead letter
		require.Equal(t, "shine", body)
		say(t, ws, "r2 "+strings.Fields(head)[1]+" done\nshone")
		require.NoError(t, <-done)
	})
	h.command(t, func(_ context.Context, d *goldenDevice) error {
		_, err := d.Commands.Put([]byte{0}, outbox.Key("reset"))
		for _, brightness := range []string{"30", "20"} {
			_, other := d.Commands.Put(brightness, outbox.Replace("brightness"))
			err = errors.Join(err, other)
		}
		return err
	})
}

// requireCommands requires what commandAll has left, with a brightness, which
// is 30 afterwards.
func (h *goldenStore) requireCommands(t *testing.T, brightness string) {
	h.command(t, func(_ context.Context, d *goldenDevice) error {
		o, found, err := d.Commands.Outcome("first light")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, outbox.Done, o.State)
		require.Equal(t, "shone", o.Reply.String())
		require.Equal(t, []outbox.Command{
			{Body: dog.Message{Type: dog.Text, Data: []byte("explode")}, Deliveries: 2},
		}, commandsOf(t, d.Commands.Dead()))
		require.Equal(t, []outbox.Command{
			{Body: dog.Message{Type: dog.Binary, Data: []byte{0}}, Key: "reset"},
			{Body: dog.Message{Type: dog.Text, Data: []byte(brightness)}, Replace: "brightness"},
		}, commandsOf(t, d.Commands.Waiting()))
		_, err = d.Commands.Put("30", outbox.Replace("brightness"))
		return err
	})
	connect(t, h.devices.Named("lamp"), lampSession, func(ws *websocket.Conn, _ string) {
		say(t, ws, "y")
		head, body, _ := strings.Cut(hear(t, ws), "\n")
		require.Equal(t, "c3", strings.Fields(head)[0])
		require.Equal(t, "\x00", body)
	})
}

// commandsOf returns commands without their numbers and times.
func commandsOf(t *testing.T, commands iter.Seq2[outbox.Command, error]) (all []outbox.Command) {
	for c, err := range commands {
		require.NoError(t, err)
		c.Number, c.Expires = 0, time.Time{}
		all = append(all, c)
	}
	return all
}
