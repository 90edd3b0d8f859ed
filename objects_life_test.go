package dog_test

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
)

// Notes of a parlor, in its database.
var notesSchema = dog.Schema{"CREATE TABLE notes (text TEXT NOT NULL)"}

// Note stores a note in SQL, counts it in a key, sets an alarm, and tells who is
// connected.
func (p *parlor) Note(_ context.Context, text string) (int, error) {
	if _, err := p.Storage().SQL().Exec("INSERT INTO notes VALUES (?)", text); err != nil {
		return 0, err
	}
	n, err := dog.Update(p.Storage(), "count", func(n int) (int, error) { return n + 1, nil })
	if err != nil {
		return 0, err
	}
	if err := p.Storage().Alarms().SetNamed(text, time.Now().Add(time.Hour), nil); err != nil {
		return 0, err
	}
	return n, p.Broadcast("noted " + text)
}

// Notes returns the notes.
func (p *parlor) Notes(context.Context) (notes []string, err error) {
	for note, err := range dog.QueryAs[string](p.Storage().SQL(), "SELECT text FROM notes ORDER BY rowid") {
		if err != nil {
			return nil, err
		}
		notes = append(notes, note)
	}
	return notes, nil
}

func TestAnObjectIsOneThingWhetherSomebodyIsConnectedOrNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		newStore := func() *venue {
			return newVenue(t, "an object", dog.Options{Store: disk}, &owners{
				schema: notesSchema,
				message: func(ctx context.Context, o owner, _ *dog.Socket, m dog.Message) error {
					_, err := o.(*parlor).Note(ctx, m.String())
					return err
				},
			})
		}
		v := newStore()
		main := v.objects.Named("main")
		note := func(text string) int {
			n, err := dog.Call(t.Context(), main, (*parlor).Note, text)
			require.NoError(t, err)
			return n
		}
		notes := func() []string {
			all, err := dog.Call0(t.Context(), main, (*parlor).Notes)
			require.NoError(t, err)
			return all
		}
		require.Equal(t, 1, note("alone"))
		ada := v.enter("ada")
		require.Equal(t, 2, note("called"))
		require.Equal(t, "noted called", ada.Receive().String(), "what a call says reaches the clients")
		ada.Send("said")
		require.Equal(t, "noted said", ada.Receive().String())
		require.Equal(t, []string{"alone", "called", "said"}, notes())
		time.Sleep(90 * time.Minute)
		require.Equal(t, []string{"alarm alone", "alarm called", "alarm said"}, texts(ada))
		ada.Close(1000, "")
		require.Equal(t, 4, note("after"))
		elapse(time.Hour) // it leaves memory
		require.Equal(t, []string{"alone", "called", "said", "after"}, notes())

		disk.Crash()
		v = newStore()
		main = v.objects.Named("main")
		ada = v.enter("ada")
		ada.Send("later")
		require.Equal(t, "noted later", ada.Receive().String())
		require.Equal(t, []string{"alone", "called", "said", "after", "later"}, notes())

		require.NoError(t, main.Delete(t.Context()))
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		require.Equal(t, 1, note("anew"))
		require.Equal(t, []string{"anew"}, notes())
	})
}

func TestAnOwnerHibernatesWithOpenSockets(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		starts, lives := 0, map[owner]bool{}
		var closed lines
		v := newVenue(t, kind, dog.Options{}, &owners{
			hibernate:     true,
			socketOptions: dog.SocketOptions{Tags: []string{"tagged"}, AutoRequest: "ping", AutoReply: "pong", PingInterval: -1},
			start:         func(context.Context, owner) error { starts++; return nil },
			open: func(_ context.Context, o owner, s *dog.Socket) error {
				return errors.Join(o.Storage().Put("k", []byte("kept")), s.SetAttachment(s.UID()+"'s"))
			},
			message: func(_ context.Context, o owner, s *dog.Socket, m dog.Message) error {
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
			close: func(_ context.Context, _ owner, s *dog.Socket, code int, _ string) error {
				return closed.add("%s %d", s.UID(), code)
			},
		})
		ada, bob := v.enter("ada"), v.enter("bob")
		ada.Send("1")
		ada.Send("2")
		require.Equal(t, []string{"true ada's kept [ada bob]", "false ada's kept [ada bob]"}, texts(bob))
		require.Equal(t, []string{"true ada's kept [ada bob]", "false ada's kept [ada bob]"}, texts(ada))
		require.Equal(t, 1, starts)
		require.False(t, onlyLive(t, v).Hibernated)

		elapse(time.Minute)
		live := onlyLive(t, v)
		require.True(t, live.Hibernated)
		require.Equal(t, 2, live.Sockets)
		require.Equal(t, 2, v.rt.Stats().Sockets)
		ada.Send("ping")
		require.Equal(t, []string{"pong"}, texts(ada))
		require.True(t, onlyLive(t, v).Hibernated, "an automatic answer wakes nobody")
		require.Equal(t, 1, starts)

		bob.Send("3")
		require.Equal(t, []string{"true bob's kept [ada bob]"}, texts(ada))
		require.Equal(t, 2, starts)
		require.False(t, onlyLive(t, v).Hibernated)

		elapse(time.Minute)
		bob.Close(1000, "")
		synctest.Wait()
		require.Equal(t, []string{"bob 1000"}, closed.take())
		require.Equal(t, 3, starts, "OnClose wakes it")
		elapse(time.Minute)
		require.NoError(t, v.abort(errors.New("broken")))
		code, _ := ada.Closed()
		require.Equal(t, 1011, code, "a reset closes the sockets of one that sleeps")
		synctest.Wait()
		require.Equal(t, []string{"ada 1011"}, closed.take())
	})
}

func TestAnObjectStaysInMemoryWithItsSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := dog.Options{MaxObjects: 4, EvictAfter: time.Minute, HibernateAfter: time.Second}
		var stops lines
		starts := map[string]int{}
		rt := dogtest.New(t, options)
		on := &owners{
			start:   func(_ context.Context, o owner) error { starts[o.(*parlor).Name()]++; return nil },
			message: func(_ context.Context, _ owner, s *dog.Socket, m dog.Message) error { return s.Send(m) },
		}
		parlors, err := dog.RegisterObject(rt, "parlor", &dog.ObjectOptions[parlor]{New: func() *parlor { return &parlor{on: on} }})
		require.NoError(t, err)
		srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			parlors.Named(req.URL.Path[1:]).ServeHTTP(w, req)
		}))
		clients := []*dogtest.Client{}
		for i := range 6 { // more than MaxObjects
			clients = append(clients, srv.Dial(fmt.Sprintf("/%d", i)))
		}
		for i := range 40 {
			require.NoError(t, dog.CallErr(t.Context(), parlors.Named(fmt.Sprintf("other-%d", i)), (*parlor).Do,
				func(context.Context, *parlor) error { return nil }))
		}
		elapse(time.Hour)
		for i, c := range clients {
			c.Send("still?")
			require.Equal(t, "still?", c.Receive().String())
			require.Equal(t, 1, starts[fmt.Sprint(i)], "it has been in memory all the time")
		}
		require.Len(t, slices.Collect(rt.Objects()), len(clients), "the others have gone")
		require.Empty(t, stops.take())

		for _, c := range clients[1:] {
			c.Close(1000, "")
		}
		elapse(30 * time.Second)
		require.NotEmpty(t, slices.Collect(rt.Objects()))
		elapse(2 * time.Minute)
		require.Len(t, slices.Collect(rt.Objects()), 1, "the last socket has gone, and so does its object")
		clients[0].Close(1000, "")
		elapse(2 * time.Minute)
		require.Empty(t, slices.Collect(rt.Objects()))
	})
}

func TestTrafficOfObjectsIsCounted(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		v := newVenue(t, kind, dog.Options{}, &owners{
			message: func(_ context.Context, o owner, _ *dog.Socket, m dog.Message) error { return o.Broadcast(m) },
		})
		ada, bob := v.enter("ada"), v.enter("bob")
		ada.Send("12345")
		require.Equal(t, []string{"12345"}, texts(bob))
		require.Equal(t, []string{"12345"}, texts(ada))
		check := func(sockets int) {
			t.Helper()
			stats := v.rt.Stats()
			require.Equal(t, sockets, stats.Sockets)
			require.EqualValues(t, 1, stats.MessagesIn)
			require.EqualValues(t, 2, stats.MessagesOut)
			require.GreaterOrEqual(t, stats.BytesIn, uint64(len("12345")))
			require.GreaterOrEqual(t, stats.BytesOut, uint64(2*len("12345")))
		}
		check(2)
		require.Equal(t, 2, onlyLive(t, v).Sockets)
		ada.Close(1000, "")
		synctest.Wait()
		check(1)
		require.Equal(t, 1, onlyLive(t, v).Sockets)
		bob.Vanish()
		elapse(time.Second)
		check(0)
	})
}

func TestEventsOfASocketDoNotOverlapInAnObject(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		var did lines
		v := newVenue(t, kind, dog.Options{}, &owners{
			open: func(ctx context.Context, _ owner, _ *dog.Socket) error {
				return errors.Join(did.add("open"), dog.Await(ctx, func() error { time.Sleep(time.Second); return nil }), did.add("opened"))
			},
			message: func(ctx context.Context, _ owner, _ *dog.Socket, m dog.Message) error {
				return errors.Join(did.add("got %s", m), dog.Await(ctx, func() error { time.Sleep(time.Second); return nil }), did.add("did %s", m))
			},
			failed: func(ctx context.Context, _ owner, _ *dog.Socket, _ error) error {
				return errors.Join(did.add("fail"), dog.Await(ctx, func() error { time.Sleep(time.Second); return nil }), did.add("failed"))
			},
			close: func(context.Context, owner, *dog.Socket, int, string) error { return did.add("closed") },
		})
		ada := v.srv.Dial("/?u=ada")
		for i := range 3 {
			ada.Send(fmt.Sprint(i))
		}
		time.Sleep(1500 * time.Millisecond)
		ada.SendRaw([]byte{0xff, 0xff})
		elapse(time.Minute)
		want := []string{"open", "opened", "got 0", "did 0", "got 1", "did 1", "got 2", "did 2", "closed"}
		if hasReceive(kind) {
			want = slices.Insert(want, len(want)-1, "fail", "failed")
		}
		require.Equal(t, want, did.take())
	})
}
