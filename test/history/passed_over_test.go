package history_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// relaying is an owner that keeps few messages. It whispers "name: text" to the
// name, and sends everything else to all but the sender.
func relaying(durably bool) *fixture.OwnerHooks {
	return &fixture.OwnerHooks{
		History: dog.HistoryOptions{Count: 5, Durable: durably},
		Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			if name, text, is := strings.Cut(m.String(), ": "); is {
				_, err := fixture.Whisper(ctx, o, name, text)
				return err
			}
			return s.Broadcast(m)
		},
	}
}

// passedOver runs a test for each kind of owner, with a history in memory and
// on the disk. restart ends the process and starts another one.
func passedOver(t *testing.T, f func(t *testing.T, v *fixture.Owners, srv *dogtest.Server, restart func())) {
	for _, durably := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable: %v", durably), func(t *testing.T) {
			onDisk(t, relaying(durably), func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
				v := start()
				f(t, v, switched(t, &v), func() {
					if restart(t, v); durably {
						*v = *start()
						d.Crash()
					}
					*v = *start()
				})
				restart(t, v)
			})
		})
	}
}

func requireGap(t *testing.T, want dog.GapReason, c *dogtest.V1Client) *dogtest.V1Client {
	t.Helper()
	c = c.Again()
	require.Equal(t, want, c.Hello.Gap)
	c.Vanish()
	synctest.Wait()
	return c
}

// A client that alone has sent more than is kept has missed nothing.
func TestResume_OwnMessagesAreNoGap(t *testing.T) {
	passedOver(t, func(t *testing.T, _ *fixture.Owners, srv *dogtest.Server, restart func()) {
		ada := srv.DialV1("/?u=ada", dogtest.V1Options{})
		eve := srv.DialV1("/?u=eve", dogtest.V1Options{})
		bob := srv.DialV1("/?u=bob", dogtest.V1Options{})
		eve.Vanish()
		say(ada, numbered(1, 20)...)
		requireGot(t, bob, numbered(1, 20)...)
		require.Equal(t, dog.GapExpired, eve.Again().Hello.Gap, "it has missed them")
		adaBefore := ada
		for range 3 {
			ada.Vanish()
			adaBefore = requireGap(t, "", adaBefore)
			ada = ada.Again()
			require.Empty(t, ada.Hello.Gap)
			say(ada, numbered(21, 30)...)
			requireGot(t, ada)
			requireGot(t, bob, numbered(21, 30)...)
			ada.Vanish()
			restart()
			ada = ada.Again()
			require.Empty(t, ada.Hello.Gap)
			bob = again(t, bob)
		}
		ada.Vanish()
		say(bob, "of bob")
		say(bob, numbered(1, 20)...)
		require.Equal(t, dog.GapExpired, ada.Again().Hello.Gap, "it has missed those of bob")
	})
}

// A client gets no gap because of whispers to others.
func TestResume_WhispersToOthersAreNoGap(t *testing.T) {
	passedOver(t, func(t *testing.T, v *fixture.Owners, srv *dogtest.Server, restart func()) {
		ada := srv.DialV1("/?u=ada", dogtest.V1Options{})
		bob := srv.DialV1("/?u=bob", dogtest.V1Options{})
		eve := srv.DialV1("/?u=eve", dogtest.V1Options{})
		bob.Vanish()
		before, err := v.History("").Position()
		require.NoError(t, err)
		for i := range 20 {
			say(eve, fmt.Sprintf("guest-%d: %d", i, i), "bob: hello")
		}
		for uid, want := range map[string]dog.GapReason{
			"ada": "", "": "", "guest-1": dog.GapExpired, "guest-19": "", "bob": dog.GapExpired,
		} {
			page, err := v.History(uid).Read(before, 0)
			require.NoError(t, err)
			require.Equal(t, want, page.Gap, uid)
			require.Greater(t, page.Next, before)
		}
		for range 2 {
			ada.Vanish()
			ada = again(t, ada)
			ada.Vanish()
			restart()
			eve = again(t, eve)
			ada = again(t, ada)
		}
		require.Equal(t, dog.GapExpired, bob.Again().Hello.Gap)
		for i := range 300 { // so many that the history does not remember each
			say(eve, fmt.Sprintf("guest-%d: %d", i, i))
		}
		say(eve, "bob: last")
		ada.Vanish()
		require.Equal(t, dog.GapExpired, bob.Again().Hello.Gap)
	})
}
