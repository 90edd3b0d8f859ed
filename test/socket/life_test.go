package socket_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// notesSchema is the schema of an object with notes.
var notesSchema = dog.Schema{"CREATE TABLE notes (text TEXT NOT NULL)"}

// addNote stores a note in SQL, counts it in a key, sets an alarm, and
// broadcasts it. It returns how many notes there are.
func addNote(o *fixture.SocketObject, text string) (int, error) {
	if _, err := o.Storage().SQL().Exec("INSERT INTO notes VALUES (?)", text); err != nil {
		return 0, err
	}
	n, err := dog.Update(o.Storage(), "count", func(n int) (int, error) { return n + 1, nil })
	if err != nil {
		return 0, err
	}
	if err := o.Storage().Alarms().SetNamed(text, time.Now().Add(time.Hour), nil); err != nil {
		return 0, err
	}
	return n, o.Broadcast("noted " + text)
}

// notesOf returns the notes of an object.
func notesOf(o *fixture.SocketObject) (notes []string, err error) {
	for note, err := range dog.QueryAs[string](o.Storage().SQL(), "SELECT text FROM notes ORDER BY rowid") {
		if err != nil {
			return nil, err
		}
		notes = append(notes, note)
	}
	return notes, nil
}

// inTurn runs f in a turn of an object.
func inTurn[V any](
	t *testing.T, stub dog.Stub[fixture.SocketObject], f func(*fixture.SocketObject) (V, error),
) (v V) {
	t.Helper()
	err := dog.CallErr(t.Context(), stub, (*fixture.SocketObject).Do,
		func(_ context.Context, o *fixture.SocketObject) (err error) {
			v, err = f(o)
			return err
		})
	require.NoError(t, err)
	return v
}

func TestSocket_ObjectIsTheSameWithAndWithoutSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		newStore := func() *fixture.Owners {
			return fixture.NewOwners(t, "an object", dog.Options{Store: disk}, &fixture.OwnerHooks{
				Schema: notesSchema,
				Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
					_, err := addNote(o.(*fixture.SocketObject), m.String())
					return err
				},
			})
		}
		v := newStore()
		main := v.Objects.Named("main")
		note := func(text string) int {
			return inTurn(t, main, func(o *fixture.SocketObject) (int, error) { return addNote(o, text) })
		}
		notes := func() []string { return inTurn(t, main, notesOf) }
		require.Equal(t, 1, note("alone"))
		ada := v.Enter("ada")
		require.Equal(t, 2, note("called"))
		require.Equal(t, "noted called", ada.Receive().String(), "output of a call reaches the clients")
		ada.Send("sent")
		require.Equal(t, "noted sent", ada.Receive().String())
		require.Equal(t, []string{"alone", "called", "sent"}, notes())
		time.Sleep(90 * time.Minute)
		require.Equal(t, []string{"alarm alone", "alarm called", "alarm sent"}, fixture.Texts(ada))
		ada.Close(1000, "")
		require.Equal(t, 4, note("after"))
		fixture.Elapse(time.Hour) // it leaves memory
		require.Equal(t, []string{"alone", "called", "sent", "after"}, notes())

		disk.Crash()
		v = newStore()
		main = v.Objects.Named("main")
		ada = v.Enter("ada")
		ada.Send("later")
		require.Equal(t, "noted later", ada.Receive().String())
		require.Equal(t, []string{"alone", "called", "sent", "after", "later"}, notes())

		require.NoError(t, main.Delete(t.Context()))
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		require.Equal(t, 1, note("again"))
		require.Equal(t, []string{"again"}, notes())
	})
}

func TestSocket_OwnerHibernatesWithOpenSockets(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		starts, lives := 0, map[fixture.Owner]bool{}
		var closed fixture.Lines
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Hibernate: true,
			SocketOptions: dog.SocketOptions{
				Tags:         []string{"tagged"},
				AutoRequest:  "ping",
				AutoReply:    "pong",
				PingInterval: -1,
			},
			Start: func(context.Context, fixture.Owner) error { starts++; return nil },
			Open: func(_ context.Context, o fixture.Owner, s *dog.Socket) error {
				return errors.Join(o.Storage().Put("k", []byte("kept")), s.SetAttachment(s.UID()+"'s"))
			},
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				fresh := !lives[o] // the state in its fields is gone, since it is another value
				lives[o] = true
				var attached string
				if err := s.Attachment(&attached); err != nil {
					return err
				}
				kept, _, err := o.Storage().Get("k")
				if err != nil {
					return err
				}
				uids := []string{}
				for s := range o.Sockets("tagged") {
					uids = append(uids, s.UID())
				}
				slices.Sort(uids)
				return o.Broadcast(fmt.Sprint(fresh, " ", attached, " ", string(kept), " ", uids))
			},
			Close: func(_ context.Context, _ fixture.Owner, s *dog.Socket, code int, _ string) error {
				return closed.Add("%s %d", s.UID(), code)
			},
		})
		ada, bob := v.Enter("ada"), v.Enter("bob")
		ada.Send("1")
		ada.Send("2")
		require.Equal(t, []string{"true ada's kept [ada bob]", "false ada's kept [ada bob]"}, fixture.Texts(bob))
		require.Equal(t, []string{"true ada's kept [ada bob]", "false ada's kept [ada bob]"}, fixture.Texts(ada))
		require.Equal(t, 1, starts)
		require.False(t, fixture.LiveOwner(t, v).Hibernated)

		fixture.Elapse(time.Minute)
		live := fixture.LiveOwner(t, v)
		require.True(t, live.Hibernated)
		require.Equal(t, 2, live.Sockets)
		require.Equal(t, 2, v.Runtime.Stats().Sockets)
		ada.Send("ping")
		require.Equal(t, []string{"pong"}, fixture.Texts(ada))
		require.True(t, fixture.LiveOwner(t, v).Hibernated, "an automatic answer wakes nobody")
		require.Equal(t, 1, starts)

		bob.Send("3")
		require.Equal(t, []string{"true bob's kept [ada bob]"}, fixture.Texts(ada))
		require.Equal(t, 2, starts)
		require.False(t, fixture.LiveOwner(t, v).Hibernated)

		fixture.Elapse(time.Minute)
		bob.Close(1000, "")
		synctest.Wait()
		require.Equal(t, []string{"bob 1000"}, closed.Take())
		require.Equal(t, 3, starts, "OnClose wakes it")
		fixture.Elapse(time.Minute)
		require.NoError(t, v.Abort(errors.New("broken")))
		code, _ := ada.Closed()
		require.Equal(t, 1011, code, "a reset closes the sockets of one that sleeps")
		synctest.Wait()
		require.Equal(t, []string{"ada 1011"}, closed.Take())
	})
}

func TestSocket_ObjectStaysInMemoryWithItsSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := dog.Options{MaxObjects: 4, EvictAfter: time.Minute, HibernateAfter: time.Second}
		var stops fixture.Lines
		starts := map[string]int{}
		rt := dogtest.New(t, options)
		on := &fixture.OwnerHooks{
			Start: func(_ context.Context, o fixture.Owner) error {
				starts[o.(*fixture.SocketObject).Name()]++
				return nil
			},
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error { return s.Send(m) },
		}
		objects, err := dog.RegisterObject(
			rt, "object",
			&dog.ObjectOptions[fixture.SocketObject]{
				New: func() *fixture.SocketObject { return &fixture.SocketObject{On: on} },
			},
		)
		require.NoError(t, err)
		srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			objects.Named(req.URL.Path[1:]).ServeHTTP(w, req)
		}))
		clients := []*dogtest.Client{}
		for i := range 6 { // more than MaxObjects
			clients = append(clients, srv.Dial(fmt.Sprintf("/%d", i)))
		}
		for i := range 40 {
			require.NoError(
				t,
				dog.CallErr(t.Context(), objects.Named(fmt.Sprintf("other-%d", i)), (*fixture.SocketObject).Do,
					func(context.Context, *fixture.SocketObject) error { return nil }),
			)
		}
		fixture.Elapse(time.Hour)
		for i, c := range clients {
			c.Send("still?")
			require.Equal(t, "still?", c.Receive().String())
			require.Equal(t, 1, starts[fmt.Sprint(i)], "it has been in memory all the time")
		}
		require.Len(t, slices.Collect(rt.Objects()), len(clients), "the others have gone")
		require.Empty(t, stops.Take())

		for _, c := range clients[1:] {
			c.Close(1000, "")
		}
		fixture.Elapse(30 * time.Second)
		require.NotEmpty(t, slices.Collect(rt.Objects()))
		fixture.Elapse(2 * time.Minute)
		require.Len(t, slices.Collect(rt.Objects()), 1, "the last socket has gone, and so does its object")
		clients[0].Close(1000, "")
		fixture.Elapse(2 * time.Minute)
		require.Empty(t, slices.Collect(rt.Objects()))
	})
}

func TestSocket_TrafficOfObjectsIsCounted(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
				return o.Broadcast(m)
			},
		})
		ada, bob := v.Enter("ada"), v.Enter("bob")
		ada.Send("12345")
		require.Equal(t, []string{"12345"}, fixture.Texts(bob))
		require.Equal(t, []string{"12345"}, fixture.Texts(ada))
		check := func(sockets int) {
			t.Helper()
			stats := v.Runtime.Stats()
			require.Equal(t, sockets, stats.Sockets)
			require.EqualValues(t, 1, stats.MessagesIn)
			require.EqualValues(t, 2, stats.MessagesOut)
			require.GreaterOrEqual(t, stats.BytesIn, uint64(len("12345")))
			require.GreaterOrEqual(t, stats.BytesOut, uint64(2*len("12345")))
		}
		check(2)
		require.Equal(t, 2, fixture.LiveOwner(t, v).Sockets)
		ada.Close(1000, "")
		synctest.Wait()
		check(1)
		require.Equal(t, 1, fixture.LiveOwner(t, v).Sockets)
		bob.Vanish()
		fixture.Elapse(time.Second)
		check(0)
	})
}

func TestSocket_EventsOfASocketDoNotOverlapInAnObject(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var did fixture.Lines
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Open: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket) error {
				return errors.Join(
					did.Add("open"), dog.Await(ctx, func() error { time.Sleep(time.Second); return nil }),
					did.Add("opened"),
				)
			},
			Message: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, m dog.Message) error {
				return errors.Join(
					did.Add("got %s", m), dog.Await(ctx, func() error { time.Sleep(time.Second); return nil }),
					did.Add("did %s", m),
				)
			},
			Error: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, _ error) error {
				return errors.Join(
					did.Add("fail"), dog.Await(ctx, func() error { time.Sleep(time.Second); return nil }),
					did.Add("failed"),
				)
			},
			Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error { return did.Add("closed") },
		})
		ada := v.Server.Dial("/?u=ada")
		for i := range 3 {
			ada.Send(fmt.Sprint(i))
		}
		time.Sleep(1500 * time.Millisecond)
		ada.SendRaw([]byte{0xff, 0xff})
		fixture.Elapse(time.Minute)
		want := []string{"open", "opened", "got 0", "did 0", "got 1", "did 1", "got 2", "did 2", "closed"}
		if fixture.HasReceive(kind) {
			want = slices.Insert(want, len(want)-1, "fail", "failed")
		}
		require.Equal(t, want, did.Take())
	})
}
