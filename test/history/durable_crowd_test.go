package history_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// Speakers of all kinds at once, with turns and without, also turns that are
// undone: what a client that stays gets is exactly what is kept, in that
// order, and each speaker's messages keep the order in which it has sent them.
func TestDurable_ManySpeakersAtOnce(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			for round := range 10 {
				synctest.Test(t, func(t *testing.T) { manySpeakers(t, kind, round) })
			}
		})
	}
}

func manySpeakers(t *testing.T, kind string, round int) {
	const each = 30
	// In an object, what a handler that waits sends may be undone with the turn
	// of another.
	undoes := func(n int) bool { return n%5 == 2 && kind == "a replica" }
	on := &fixture.OwnerHooks{
		History: durable, MaxSockets: 1, RollbackOnError: true,
		// A message is "<speaker> <number>". Each is sent in two parts to all
		// and then to its client alone.
		Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			says := func() error {
				return errors.Join(o.Broadcast("1 "+m.String()), o.Broadcast("2 "+m.String()), s.Send("3 "+m.String()))
			}
			var n int
			if _, err := fmt.Sscanf(m.String()[strings.IndexByte(m.String(), ' '):], "%d", &n); err != nil {
				return err
			}
			switch {
			case n%5 == 0:
				return dog.Await(ctx, says)
			case n%5 == 1:
				return errors.Join(says(), o.Storage().Put("k", nil))
			case undoes(n):
				_ = o.Broadcast("undone")
				return errors.New("undone")
			}
			return says()
		},
	}
	if kind == "an object" {
		on.MaxSockets = 100
	}
	d := dogtest.NewDisk(t)
	start := func() *fixture.Owners { return fixture.NewOwners(t, kind, dog.Options{Store: d}, on) }
	v := start()
	stays := dial(t, v.Server, "stays", "")
	var clients []*client
	for i := range 4 {
		clients = append(clients, dial(t, v.Server, fmt.Sprint(i), ""))
	}
	done := make(chan struct{})
	for k, c := range clients {
		go func() {
			for i := range each {
				c.Send(fmt.Sprint("m\n", k, " ", i))
				if i%7 == round%7 {
					_ = v.Broadcast(context.Background(), fmt.Sprint("outside ", k, " ", i))
				}
			}
			done <- struct{}{}
		}()
	}
	for range clients {
		<-done
	}
	synctest.Wait()
	live := stays.messages()
	require.NotContains(t, live, "undone")
	for k, c := range clients {
		got := c.messages()
		all := slices.DeleteFunc(slices.Clone(got), func(m string) bool { return m[0] == '3' })
		require.Equal(t, live, all, "one order for all")
		own := slices.DeleteFunc(got, func(m string) bool { return !strings.HasPrefix(m[1:], fmt.Sprint(" ", k, " ")) })
		var want []string
		for i := range each {
			for part := range 3 {
				if !undoes(i) {
					want = append(want, fmt.Sprint(part+1, " ", k, " ", i))
				}
			}
		}
		require.Equal(t, want, own)
	}
	d.Crash()
	v = start()
	eve := dial(t, v.Server, "eve", "&after=")
	synctest.Wait()
	require.Equal(t, live, eve.messages(), "what was sent is what is kept")
	restart(t, v)
}
