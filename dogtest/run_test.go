package dogtest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// inbox is a replica that counts and remembers messages, tries to forward each,
// and forgets them an hour after the latest.
type inbox struct {
	dog.Replica
	forward  func(text string) error
	started  time.Time
	received int // since it started
}

func (b *inbox) OnStart(context.Context) error {
	b.started = time.Now()
	return nil
}

func (b *inbox) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	b.received++
	return errors.Join(b.keep(m.String()), s.Send("got "+m.String()))
}

func (b *inbox) keep(text string) error {
	alarms := b.Storage().Alarms()
	return errors.Join(
		b.Storage().Put("last", []byte(text)),
		alarms.SetNamed("forward", time.Now(), []byte(text)),
		alarms.SetNamed("forget", time.Now().Add(time.Hour), nil),
	)
}

func (b *inbox) OnAlarm(_ context.Context, alarm dog.Alarm) error {
	if alarm.Name == "forward" {
		return b.forward(string(alarm.Payload))
	}
	_, err := b.Storage().Delete("last")
	return err
}

type inboxGroup struct{ dog.Group }

// newInbox returns the stub of an inbox, by way of any uid, and a client's way
// to it.
func newInbox(
	t *testing.T, options dog.Options, forward func(text string) error,
) (func() dog.Stub[inbox], *dogtest.Server) {
	t.Helper()
	rt := dogtest.New(t, options)
	boxes, err := dog.RegisterReplica(rt, "inbox", &dog.ReplicaOptions[inbox]{
		New:             func() *inbox { return &inbox{forward: forward} },
		Hibernate:       true,
		RollbackOnError: true,
	})
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(rt, "inboxes", boxes, &dog.GroupOptions[inboxGroup]{Limit: 10})
	require.NoError(t, err)
	box := func() dog.Stub[inbox] {
		stub, err := groups.Named("main").Identify(context.Background(), "ada")
		require.NoError(t, err)
		return stub
	}
	return box, dogtest.Serve(
		t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { box().ServeHTTP(w, req) }),
	)
}

func delivered(string) error { return nil }

func TestOutcome_ReportsWhatAHandlerDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, srv := newInbox(t, dog.Options{Store: dogtest.NewDisk(t)}, delivered)
		ada, bob := srv.Dial("/"), srv.Dial("/")
		ada.Send("before")

		out := dogtest.Run(t, box(), func(_ context.Context, b *inbox) error {
			_, err := b.Storage().Delete("last")
			return errors.Join(err,
				b.Storage().Put("new", []byte("value")),
				b.Storage().Alarms().SetNamed("soon", time.Now().Add(time.Minute), nil),
				b.Emit("hello"),
			)
		}, ada, bob)
		require.NoError(t, out.Err)
		require.Equal(t, map[string][]byte{"new": []byte("value")}, out.Stored)
		require.Equal(t, []string{"last"}, out.Deleted)
		require.Len(t, out.Alarms, 2)
		require.Equal(t, "soon", out.Alarms[0].Name)
		require.Equal(t, "forget", out.Alarms[1].Name)
		for _, sent := range out.Sent {
			require.Equal(t, []dog.Message{{Type: dog.Text, Data: []byte("hello")}}, sent)
		}

		out = dogtest.Run(
			t, box(), func(_ context.Context, b *inbox) error { return b.Storage().Put("new", []byte("value")) },
		)
		require.Empty(t, out.Stored, "it was there")
	})
}

func TestOutcome_OmitsUndoneChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, srv := newInbox(t, dog.Options{}, delivered)
		ada := srv.Dial("/")
		lost := errors.New("lost")
		keep := func(b *inbox) error { return errors.Join(b.keep("text"), b.Emit("kept")) }
		out := dogtest.Run(t, box(), func(_ context.Context, b *inbox) error { return errors.Join(keep(b), lost) }, ada)
		require.ErrorIs(t, out.Err, lost)
		require.Equal(t, &dogtest.Outcome{Err: out.Err, Stored: map[string][]byte{}, Sent: [][]dog.Message{nil}}, out)

		out = dogtest.Run(t, box(), func(_ context.Context, b *inbox) error { panic(keep(b)) }, ada)
		require.ErrorIs(t, out.Err, dog.ErrReset)
		require.Empty(t, out.Stored)
		require.Empty(t, out.Sent[0])
	})
}

func TestServer_VirtualTimeDrivesAlarmsAndRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		box, srv := newInbox(t, dog.Options{}, func(string) error {
			if tries = append(tries, time.Now()); len(tries) < 3 {
				return errors.New("nobody there")
			}
			return nil
		})
		srv.Dial("/").Send("hello")
		time.Sleep(time.Minute) // at once
		synctest.Wait()
		require.Len(t, tries, 3)
		require.GreaterOrEqual(t, tries[1].Sub(tries[0]), 2*time.Second)
		require.GreaterOrEqual(t, tries[2].Sub(tries[1]), 4*time.Second)

		time.Sleep(time.Hour)
		out := dogtest.Run(t, box(), func(_ context.Context, b *inbox) error {
			_, found, err := b.Storage().Get("last")
			require.False(t, found, "forgotten after an hour")
			return err
		})
		require.NoError(t, out.Err)
		require.Empty(t, out.Alarms)
	})
}

func TestServer_VirtualTimeDrivesHibernation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, srv := newInbox(t, dog.Options{}, delivered)
		ada := srv.Dial("/")
		ada.Send("one")
		require.Equal(t, "got one", ada.Receive().String())
		look := func() (started time.Time, received int) {
			dogtest.Run(t, box(), func(_ context.Context, b *inbox) error {
				started, received = b.started, b.received
				return nil
			})
			return started, received
		}
		started, received := look()
		require.Equal(t, 1, received)
		time.Sleep(time.Minute)
		again, received := look()
		require.True(t, again.After(started), "a new life")
		require.Zero(t, received)
		ada.Send("two")
		require.Equal(t, "got two", ada.Receive().String(), "with the same socket")
	})
}

func TestServer_VirtualTimeDrivesEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Hour})
		accounts, err := dog.RegisterObject[account](rt, "account", nil)
		require.NoError(t, err)
		ada := accounts.Named("ada")
		pay := func(_ context.Context, a *account) error {
			_, err := a.pay(5)
			return err
		}
		require.NoError(t, dogtest.Run(t, ada, pay).Err)
		inMemory := func() (n int) {
			for range accounts.Objects() {
				n++
			}
			return n
		}
		require.Equal(t, 1, inMemory())
		time.Sleep(2 * time.Hour)
		require.Zero(t, inMemory())
		require.Equal(t, "10", string(dogtest.Run(t, ada, pay).Stored["balance"]), "what it stored is still there")
	})
}
