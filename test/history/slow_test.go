package history_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// pad makes a text a kilobyte long.
func pad(text string) string { return text + " " + strings.Repeat("x", 1023-len(text)) }

// requireText is Equal for long texts.
func requireText(t testing.TB, want, got string) {
	t.Helper()
	require.True(t, want == got, "want %.20q, got %.20q", want, got)
}

func padded(from, to int) (all []string) {
	for _, text := range numbered(from, to) {
		all = append(all, pad(text))
	}
	return all
}

// Clients that read nothing for a while get everything in the end.
func TestCatchUp_SlowClientMissesNothing(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 64 << 20}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		speaks := dialWith(t, v.Server, "/?u=ada", dogtest.DialOptions{OnDemand: true})
		plain := v.Server.DialWith("/?u=bob", dogtest.DialOptions{OnDemand: true})
		for _, text := range padded(1, 5000) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		time.Sleep(8 * time.Second) // less than WriteTimeout
		for _, text := range padded(5001, 6000) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		for _, want := range padded(1, 6000) {
			requireText(t, want, speaks.message())
			requireText(t, want, plain.Receive().String())
		}
		synctest.Wait()
		require.NoError(t, v.Broadcast(t.Context(), "live"))
		require.Equal(t, "live", speaks.message())
		require.Equal(t, "live", plain.Receive().String())
	})
}

// Clients that read 5 KB a second of more than a queue may ever hold stay
// connected, with heartbeats, and get everything in the end.
func TestCatchUp_SlowClientLivesForMinutes(t *testing.T) {
	on := &fixture.OwnerHooks{
		History:       dog.HistoryOptions{Bytes: 64 << 20},
		SocketOptions: dog.SocketOptions{PingInterval: 5 * time.Second},
	}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		speaks := dialWith(t, v.Server, "/?u=ada", dogtest.DialOptions{OnDemand: true})
		plain := v.Server.DialWith("/?u=bob", dogtest.DialOptions{OnDemand: true})
		const burst, seconds = 9000, 150
		for _, text := range padded(1, burst) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		all := padded(1, burst+seconds)
		for i := range 5 * seconds {
			if i%5 == 0 {
				require.NoError(t, v.Broadcast(t.Context(), all[burst+i/5]))
			}
			requireText(t, all[i], speaks.message())
			requireText(t, all[i], plain.Receive().String())
			time.Sleep(time.Second / 5)
		}
		for _, want := range all[5*seconds:] {
			requireText(t, want, speaks.message())
			requireText(t, want, plain.Receive().String())
		}
	})
}

// A client that reads more slowly than messages expire gets a gap and goes on.
// A plain client is disconnected.
func TestCatchUp_ClientThatIsOutrunIsToldOfTheGap(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 1 << 20}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		speaks := dialWith(t, v.Server, "/?u=ada", dogtest.DialOptions{OnDemand: true})
		plain := v.Server.DialWith("/?u=bob", dogtest.DialOptions{OnDemand: true})
		for i, text := range padded(1, 5000) {
			require.NoError(t, v.Broadcast(t.Context(), text))
			if i == 500 { // before they are outrun, so that there is one gap
				synctest.Wait()
			}
		}
		synctest.Wait()
		n := 0
		var gap struct {
			From, To string
			Why      dog.GapReason
		}
		for {
			kind, rest := speaks.frame()
			if kind == "g" {
				require.NoError(t, json.Unmarshal([]byte(rest), &gap))
				break
			}
			n++
			require.Equal(t, padded(n, n)[0], rest)
		}
		require.Equal(t, dog.GapSlow, gap.Why)
		require.Equal(t, speaks.pos, gap.From)
		speaks.pos = gap.To
		first := speaks.message()
		require.Greater(t, speaks.pos, gap.To)
		rest := []string{first}
		for len(rest) == 0 || rest[len(rest)-1] != pad("5000") {
			rest = append(rest, speaks.message())
		}
		require.Equal(t, padded(5001-len(rest), 5000), rest)
		require.Greater(t, len(rest), 900)

		for range 5000 {
			if code, _ := plain.Closed(); code != 0 {
				require.Equal(t, 1008, code)
				break
			}
		}
	})
}

// Messages that are not kept come in the order in which they were sent.
func TestCatchUp_OtherMessagesKeepTheirOrder(t *testing.T) {
	on := &fixture.OwnerHooks{
		History: dog.HistoryOptions{Bytes: 64 << 20},
		Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			for _, text := range padded(1, 1000) {
				if err := o.Broadcast(text); err != nil {
					return err
				}
			}
			if err := s.Send("private"); err != nil {
				return err
			}
			if err := o.Broadcast("transient", dog.Transient); err != nil {
				return err
			}
			return o.Broadcast("last")
		},
	}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		ada := dialWith(t, v.Server, "/?u=ada", dogtest.DialOptions{OnDemand: true})
		ada.Send("m\ngo")
		for _, want := range append(padded(1, 1000), "private", "last") {
			got := ada.message()
			if got == "transient" { // it arrives if the client is not behind
				got = ada.message()
			}
			requireText(t, want, got)
		}
		bob := dial(t, v.Server, "bob", after(ada.pos))
		require.NoError(t, v.Broadcast(t.Context(), "next"))
		require.Equal(t, "next", bob.message())
	})
}

// A socket does not get what it has sent to all others, also when it reads
// from the history.
func TestCatchUp_LeavesOutTheSender(t *testing.T) {
	on := &fixture.OwnerHooks{
		History: dog.HistoryOptions{Bytes: 64 << 20},
		Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			for _, text := range padded(1, 2000) {
				if err := o.Broadcast(text); err != nil {
					return err
				}
			}
			if err := s.Broadcast("own"); err != nil {
				return err
			}
			return o.Broadcast("last")
		},
	}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		plain := v.Server.DialWith("/?u=bob", dogtest.DialOptions{OnDemand: true})
		plain.Send("go")
		synctest.Wait()
		for _, want := range append(padded(1, 2000), "last") {
			requireText(t, want, plain.Receive().String())
		}
		plain.Vanish()
		synctest.Wait()
		ada := dialWith(t, v.Server, "/?u=ada", dogtest.DialOptions{OnDemand: true})
		ada.Send("m\ngo")
		synctest.Wait()
		for _, want := range append(padded(1, 2000), "last") {
			requireText(t, want, ada.message())
		}
	})
}
