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
// sends each change to all. OnOpen sends the number to clients of the uid eve.
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
	if s.UID() != "eve" {
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

// While several writers change it, clients that load the state when they have a
// gap, and those to which OnOpen sends it, get exactly the changes that are not
// in it. Some of them break their connections.
func TestSnapshot_FitsWithTheMessagesOfConcurrentWriters(t *testing.T) {
	for _, durably := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable: %v", durably), func(t *testing.T) {
			var between int
			for round := range 20 {
				synctest.Test(t, func(t *testing.T) { between += readWhileWriting(t, durably, round) })
			}
			require.Positive(t, between, "changes came between hello and the state, and were in both")
		})
	}
}

// readWhileWriting returns how many changes clients got that were in their
// states.
func readWhileWriting(t *testing.T, durably bool, round int) (between int) {
	const writers, each, readers = 4, 40, 12
	rt := dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})
	ledgers, err := dog.RegisterObject(rt, "ledger", &dog.ObjectOptions[ledger]{
		History: dog.HistoryOptions{Count: 1000, Durable: durably},
	})
	require.NoError(t, err)
	main := ledgers.Named("main")
	srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		main.WithUID(r.FormValue("u")).ServeHTTP(w, r)
	}))
	var writing sync.WaitGroup
	for writer := range writers {
		writing.Go(func() {
			for i := range each {
				if err := dog.CallErr0(t.Context(), main, (*ledger).Add); err != nil {
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
			clients[i] = srv.DialV1("/?u=eve", options)
		} else {
			clients[i] = srv.DialV1("/?u=ada", options)
			_, body := srv.Get("/?u=ada")
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
		for _, m := range c.Received() {
			text, is := strings.CutPrefix(m.String(), "state ")
			n, err := strconv.Atoi(text)
			require.NoError(t, err)
			switch {
			case is:
				require.LessOrEqual(t, next-1, n, "the state has each change that came before")
				state, loaded, next = n, true, n+1
			case !loaded:
				next = n + 1
			case n <= state && n < next:
				between++
			default:
				require.Equal(t, next, n, "no change is missing, and none comes twice")
				next++
			}
		}
		require.Equal(t, writers*each+1, next, "client %d", i)
	}
	return between
}
