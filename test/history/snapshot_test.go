package history_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// ledger is the list of the guide: it stores the number of its last change, and
// sends each change to all. OnOpen sends the number to clients whose uid begins
// with eve.
type ledger struct{ dog.Object }

func (l *ledger) Add(context.Context) error { return addChange(l.Storage(), l.Broadcast) }

func addChange(s *dog.Storage, broadcast func(any, ...dog.SendOption) error) error {
	n, err := dog.Update(s, "n", func(n int) (int, error) { return n + 1, nil })
	if err != nil {
		return err
	}
	return broadcast(n)
}

func (l *ledger) OnOpen(_ context.Context, s *dog.Socket) error {
	if !strings.HasPrefix(s.UID(), "eve") {
		return nil
	}
	n, _, err := dog.Get[int](l.Storage(), "n")
	if err != nil {
		return err
	}
	return s.Send(fmt.Sprint("state ", n))
}

func (l *ledger) Receive(w http.ResponseWriter, r *http.Request) error {
	if dog.IsUpgrade(r) {
		_, err := l.Connect(w, r, nil)
		return err
	}
	n, _, err := dog.Get[int](l.Storage(), "n")
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(n)
}

// chapter is a group that is such a list, and desk a replica of it, whose
// OnOpen asks the group for the number.
type (
	chapter struct{ dog.Group }
	desk    struct{ dog.Replica }
)

func (c *chapter) Add(context.Context) error { return addChange(c.Storage(), c.Broadcast) }

func (c *chapter) Count(context.Context) (int, error) {
	n, _, err := dog.Get[int](c.Storage(), "n")
	return n, err
}

func (d *desk) OnOpen(ctx context.Context, s *dog.Socket) error {
	if !strings.HasPrefix(s.UID(), "eve") {
		return nil
	}
	n, err := dog.Call0(ctx, dog.GroupOf[chapter](d).Stub, (*chapter).Count)
	if err != nil {
		return err
	}
	return s.Send(fmt.Sprint("state ", n))
}

// A changing list is a ledger or a chapter.
type changing struct {
	serve http.HandlerFunc // for the uid of the parameter u
	add   func(ctx context.Context) error
	waits bool // OnOpen waits for the state, and its client gets changes meanwhile
}

func newLedger(t *testing.T, rt *dog.Runtime, history dog.HistoryOptions) changing {
	ledgers, err := dog.RegisterObject(rt, "ledger", &dog.ObjectOptions[ledger]{History: history})
	require.NoError(t, err)
	main := ledgers.Named("main")
	return changing{
		func(w http.ResponseWriter, r *http.Request) { main.WithUID(r.FormValue("u")).ServeHTTP(w, r) },
		func(ctx context.Context) error { return dog.CallErr0(ctx, main, (*ledger).Add) },
		false,
	}
}

func newChapter(t *testing.T, rt *dog.Runtime, history dog.HistoryOptions) changing {
	desks, err := dog.RegisterReplica[desk](rt, "desk", nil)
	require.NoError(t, err)
	chapters, err := dog.RegisterGroup(rt, "chapter", desks, &dog.GroupOptions[chapter]{Limit: 3, History: history})
	require.NoError(t, err)
	main := chapters.Named("main")
	serve := func(w http.ResponseWriter, r *http.Request) error {
		if dog.IsUpgrade(r) {
			stub, err := main.Identify(r.Context(), r.FormValue("u"))
			if err == nil {
				stub.ServeHTTP(w, r)
			}
			return err
		}
		n, err := dog.Call0(r.Context(), main.Stub, (*chapter).Count)
		if err == nil {
			err = json.NewEncoder(w).Encode(n)
		}
		return err
	}
	return changing{
		func(w http.ResponseWriter, r *http.Request) {
			if err := serve(w, r); err != nil {
				dog.WriteError(w, err)
			}
		},
		func(ctx context.Context) error { return dog.CallErr0(ctx, main.Stub, (*chapter).Add) },
		true,
	}
}

// While several writers change it, clients that load the state when they have a
// gap, and those to which OnOpen sends it, get exactly the changes that are not
// in it. Some of them break their connections. In a group, a few such changes
// may come before the state, for which OnOpen has asked the group.
func TestSnapshot_FitsWithTheMessagesOfConcurrentWriters(t *testing.T) {
	for name, list := range map[string]func(*testing.T, *dog.Runtime, dog.HistoryOptions) changing{
		"an object": newLedger, "a group": newChapter,
	} {
		for _, durably := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, durable: %v", name, durably), func(t *testing.T) {
				var between, lacking int
				for round := range 20 {
					synctest.Test(t, func(t *testing.T) {
						rt := dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})
						l := list(t, rt, dog.HistoryOptions{Count: 1000, Durable: durably})
						early, late := readWhileWriting(t, l, round)
						between, lacking = between+early, lacking+late
					})
				}
				require.Positive(t, between, "changes came between hello and the state, and were in both")
				t.Logf("%d changes were in the state, too, and %d came before a state without them", between, lacking)
			})
		}
	}
}

// readWhileWriting returns how many changes clients got that were in their
// states, and how many before a state that did not have them.
func readWhileWriting(t *testing.T, l changing, round int) (between, lacking int) {
	const writers, each, readers = 4, 40, 12
	srv := dogtest.Serve(t, l.serve)
	var writing sync.WaitGroup
	for writer := range writers {
		writing.Go(func() {
			for i := range each {
				if err := l.add(t.Context()); err != nil {
					t.Error(err)
				}
				if (i+writer+round)%3 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	clients := make([]*dogtest.V1Client, readers)
	states := make([]int, readers)
	for i := range clients {
		options := dogtest.V1Options{}
		if all := dog.Position(""); i%2 == 0 {
			options.After = &all
		}
		if i%3 == 0 {
			clients[i] = srv.DialV1(fmt.Sprint("/?u=eve", i), options)
		} else {
			clients[i] = srv.DialV1(fmt.Sprint("/?u=ada", i), options)
			_, body := srv.Get("/?u=ada")
			var err error
			states[i], err = strconv.Atoi(strings.TrimSpace(body))
			require.NoError(t, err)
		}
		time.Sleep(time.Millisecond)
	}
	for _, c := range clients[:readers/2] {
		c.Vanish()
	}
	writing.Wait()
	for i, c := range clients {
		if i < readers/2 {
			if i%3 == 0 {
				continue // what OnOpen has sent may be lost
			}
			c = again(t, c)
		}
		synctest.Wait()
		state, loaded, next := states[i], i%3 != 0, states[i]+1
		var early []int // changes before the state
		for _, m := range c.Received() {
			text, is := strings.CutPrefix(m.String(), "state ")
			n, err := strconv.Atoi(text)
			require.NoError(t, err)
			switch {
			case is:
				state, loaded, next = n, true, n+1
				for _, change := range early {
					if change > state {
						require.True(t, l.waits, "the state has each change that came before")
						require.Equal(t, next, change)
						next, lacking = next+1, lacking+1
					}
				}
			case !loaded:
				early = append(early, n)
			case n <= state && n < next:
				between++
			default:
				require.Equal(t, next, n, "no change is missing, and none comes twice")
				next++
			}
		}
		require.Equal(t, writers*each+1, next, "client %d", i)
	}
	return between, lacking
}
