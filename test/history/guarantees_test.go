package history_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// secretary is an owner that whispers "name: text" to the name, and sends
// everything else to all.
func secretary() *fixture.OwnerHooks {
	return &fixture.OwnerHooks{
		History: kept,
		Message: func(ctx context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
			if name, text, is := strings.Cut(m.String(), ": "); is {
				_, err := fixture.Whisper(ctx, o, name, text)
				return err
			}
			return o.Broadcast(m)
		},
	}
}

// enter connects a client that speaks dog.v1 for a uid.
func enter(v *fixture.Owners, uid string) *dogtest.V1Client {
	c := v.Server.DialV1("/?u="+uid, dogtest.V1Options{})
	synctest.Wait()
	return c
}

// again connects a client again, which must have no gap.
func again(t *testing.T, c *dogtest.V1Client) *dogtest.V1Client {
	t.Helper()
	c = c.Again()
	require.Empty(t, c.Hello.Gap)
	synctest.Wait()
	return c
}

// say sends messages and waits until they have been handled.
func say(c *dogtest.V1Client, texts ...string) {
	for _, text := range texts {
		c.Acknowledged(c.Send(text))
	}
	synctest.Wait()
}

// requireGot checks what a client has got and not taken yet.
func requireGot(t *testing.T, c *dogtest.V1Client, want ...string) {
	t.Helper()
	synctest.Wait()
	var got []string
	for _, m := range c.Received() {
		got = append(got, m.String())
	}
	require.Equal(t, want, got)
}

// Two devices of one uid are two clients: each has a position and a session of
// its own, and each gets what is kept for the uid.
func TestGuarantee_TwoDevices(t *testing.T) {
	over(t, secretary(), dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		bob, phone, laptop := enter(v, "bob"), enter(v, "ada"), enter(v, "ada")
		say(bob, "ada: 1", "2", "eve: 3")
		requireGot(t, phone, "1", "2")
		requireGot(t, laptop, "1", "2")
		phone.Vanish()
		synctest.Wait()
		say(bob, "ada: 4", "5")
		requireGot(t, laptop, "4", "5")
		laptop.Vanish()
		synctest.Wait()
		say(bob, "ada: 6", "bob: 7", "8")
		phone = again(t, phone)
		requireGot(t, phone, "4", "5", "6", "8")
		say(bob, "ada: 9")
		laptop = again(t, laptop)
		requireGot(t, laptop, "6", "8", "9")
		requireGot(t, phone, "9")

		require.EqualValues(t, 1, phone.Send("from the phone"))
		require.EqualValues(t, 1, laptop.Send("from the laptop"))
		phone.Acknowledged(1)
		laptop.Acknowledged(1)
		synctest.Wait()
		requireGot(t, bob, "2", "5", "7", "8", "from the phone", "from the laptop")
	})
}

// A client whose replica takes no more clients continues on another one, with
// the messages sent on both until then.
func TestGuarantee_ReplicaFullOrDrained(t *testing.T) {
	for _, c := range []struct {
		name    string
		happens func(t *testing.T, v *fixture.Owners)
		loads   []int // when another client has come
	}{
		{"full", func(_ *testing.T, v *fixture.Owners) { enter(v, "cat") }, []int{1, 2}},
		{"drained", func(t *testing.T, v *fixture.Owners) {
			for r := range v.Replicas() {
				require.NoError(t, v.Drain(t.Context(), r.ID))
			}
		}, []int{1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				on := secretary()
				on.MaxSockets = 2
				v := fixture.NewOwners(t, "a replica", dog.Options{LingerFor: -1}, on)
				ada, bob := enter(v, "ada"), enter(v, "bob")
				require.Equal(t, []int{2}, v.Loads())
				say(bob, "1", "ada: 2")
				requireGot(t, ada, "1", "2")
				ada.Send("3") // handled, but the client does not learn of it
				synctest.Wait()
				ada.Vanish()
				synctest.Wait()
				say(bob, "4", "ada: 5")
				c.happens(t, v)
				eve := enter(v, "eve")
				require.Equal(t, c.loads, slices.Sorted(slices.Values(v.Loads())))
				say(bob, "6", "ada: 7")
				say(eve, "8", "ada: 9")
				ada.Send("10")
				ada = again(t, ada)
				require.Len(t, v.Loads(), 2)
				say(bob, "11", "ada: 12")
				say(eve, "13", "ada: 14")
				requireGot(t, ada, "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14")
				requireGot(t, eve, "6", "8", "10", "11", "13")
			})
		})
	}
}

// A client does not notice that the object of its connection leaves memory,
// whether it stays, or breaks off and comes back.
func TestGuarantee_Hibernates(t *testing.T) {
	for _, history := range []dog.HistoryOptions{kept, durable} {
		t.Run(fmt.Sprintf("durable %v", history.Durable), func(t *testing.T) {
			starts := 0
			on := secretary()
			on.History, on.Hibernate = history, true
			on.Start = func(context.Context, fixture.Owner) error { starts++; return nil }
			onDisk(t, on, func(t *testing.T, _ *dogtest.Disk, start func() *fixture.Owners) {
				starts = 0
				v := start()
				sleep := func() {
					time.Sleep(time.Minute)
					synctest.Wait()
					require.True(t, fixture.LiveOwner(t, v).Hibernated)
				}
				ada, bob, eve := enter(v, "ada"), enter(v, "bob"), enter(v, "eve")
				say(bob, "1", "ada: 2")
				sleep()
				requireGot(t, ada, "1", "2")
				say(bob, "3", "ada: 4")
				requireGot(t, ada, "3", "4")
				sleep()
				ada.Vanish()
				sleep()
				say(bob, "5", "ada: 6")
				sleep()
				ada = again(t, ada)
				requireGot(t, ada, "5", "6")
				sleep()
				ada.Send("7") // handled, but the client does not learn of it
				synctest.Wait()
				ada.Vanish()
				sleep()
				ada = again(t, ada)
				requireGot(t, ada, "7")
				sleep()
				say(bob, "8")
				requireGot(t, ada, "8")
				requireGot(t, bob, "1", "3", "5", "7", "8")
				requireGot(t, eve, "1", "3", "5", "7", "8")
				require.Greater(t, starts, 5)
			})
		})
	}
}
