package observe_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// say broadcasts what a client sends, in place of what was said before and has
// not been sent yet.
func say(_ context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
	return o.Broadcast(m.Data, dog.Coalesce("said"))
}

// requireSameTraffic checks that the types have sent and received what Stats
// finds when it visits all sockets.
func requireSameTraffic(t *testing.T, rt *dog.Runtime) {
	t.Helper()
	synctest.Wait()
	visited := rt.Stats().Traffic
	visited.QueuedBytes = 0
	var counted dog.Traffic
	for _, n := range rt.Totals().Types {
		counted.MessagesIn += n.MessagesIn
		counted.MessagesOut += n.MessagesOut
		counted.BytesIn += n.BytesIn
		counted.BytesOut += n.BytesOut
		counted.Dropped += n.Dropped
		counted.Coalesced += n.Coalesced
		counted.Lost += n.Lost
	}
	require.Equal(t, visited, counted)
}

func TestTotals_CountTrafficByType(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{})
		ada, bob := v.Enter("ada"), v.Enter("bob")
		ada.Send("hello")
		for range 10 {
			require.NoError(t, v.Broadcast(t.Context(), "12345"))
		}
		requireSameTraffic(t, v.Runtime)
		n := totalsOf(t, v.Runtime, "owners")
		require.EqualValues(t, 1, n.MessagesIn)
		require.EqualValues(t, 20, n.MessagesOut)
		require.EqualValues(t, 20*(2+5), n.BytesOut)
		ada.Close(1000, "")
		bob.Vanish()
		requireSameTraffic(t, v.Runtime)
		time.Sleep(time.Hour)
		requireSameTraffic(t, v.Runtime)
	})
}

func TestTotals_CountMessagesThatSlowClientsMiss(t *testing.T) {
	for _, policy := range []dog.SlowPolicy{dog.DropOldest, dog.CoalesceSlow, dog.DisconnectSlow} {
		synctest.Test(t, func(t *testing.T) {
			v := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{
				SocketOptions: dog.SocketOptions{Slow: policy, QueueBytes: 250}, Message: say,
			})
			speaker := v.Enter("eve")
			slow := v.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true})
			for range 4 {
				fixture.Elapse(time.Second) // after which a client that takes nothing is slow
				speaker.Send(strings.Repeat("x", 100))
			}
			requireSameTraffic(t, v.Runtime)
			slow.Vanish()
			requireSameTraffic(t, v.Runtime)
			n := totalsOf(t, v.Runtime, "owners")
			require.Positive(t, n.Dropped+n.Coalesced+n.Lost)
			require.Equal(t, policy == dog.DropOldest, n.Dropped > 0)
			require.Equal(t, policy == dog.CoalesceSlow, n.Coalesced > 0)
		})
	}
}

func TestTotals_CountWhatHistoriesInMemoryKeep(t *testing.T) {
	for name, c := range map[string]struct {
		kind, typ string
		durable   bool
	}{
		"of an object": {"an object", "owners", false}, "of a group": {"a replica", "groups", false},
		"that are stored": {"an object", "owners", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options := dog.Options{Store: dogtest.NewDisk(t), EvictAfter: time.Minute}
				v := fixture.NewOwners(t, c.kind, options, &fixture.OwnerHooks{
					History: dog.HistoryOptions{Count: 10, Age: time.Hour, Durable: c.durable}, Message: say,
				})
				kept := func() [2]int {
					synctest.Wait()
					n, all := totalsOf(t, v.Runtime, c.typ), v.Runtime.Stats().Histories[c.typ]
					require.Equal(t, [2]int{all.Messages, all.Bytes}, [2]int{n.KeptMessages, n.KeptBytes})
					return [2]int{n.KeptMessages, n.KeptBytes}
				}
				require.Zero(t, kept())
				ada := v.Enter("ada")
				for i := range 25 {
					require.NoError(t, v.Broadcast(t.Context(), strings.Repeat("x", i)))
					kept()
				}
				require.Equal(t, 10, kept()[0])
				ada.Send("first")
				ada.Send("second")
				require.Equal(t, 10, kept()[0], "the second has replaced the first")
				ada.Close(1000, "")
				time.Sleep(10 * time.Minute)
				require.Equal(t, c.durable, kept()[0] == 0, "what is stored need not be in memory")
				time.Sleep(2 * time.Hour)
				require.Zero(t, kept())
				v.Enter("ada")
				require.NoError(t, v.Broadcast(t.Context(), "again"))
				require.Positive(t, kept()[0])
			})
		})
	}
}

func TestTotals_CountRefusalsByReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, hangs := dogtest.NewDisk(t), make(chan struct{})
		refusing := map[string]error{
			"/401": &dog.StatusError{Status: http.StatusUnauthorized},
			"/403": &dog.StatusError{Status: http.StatusForbidden},
			"/404": &dog.StatusError{Status: http.StatusNotFound},
			"/503": dog.ErrGroupFull, "/gone": dog.ErrReplicaGone, "/500": context.Canceled,
			"/timeout": context.DeadlineExceeded, "/big": dog.ErrTooBig,
		}
		options := dog.Options{Store: disk, MaxWaiting: 1}
		v := fixture.NewOwners(t, "an object with Receive and OnError", options, &fixture.OwnerHooks{
			MaxSockets: 1,
			Receive: func(o fixture.Owner, w http.ResponseWriter, r *http.Request) error {
				switch r.URL.Path {
				case "/hang":
					<-hangs
				case "/panic":
					panic("on purpose")
				case "/connect":
					_, err := o.Connect(w, r, nil)
					return err
				case "/write":
					return dog.Put(o.Storage(), "n", 1)
				}
				return refusing[r.URL.Path]
			},
		})
		reasons := make(map[dog.RefusalReason]uint64)
		refused := func(reason dog.RefusalReason) {
			t.Helper()
			synctest.Wait()
			reasons[reason]++
			n := totalsOf(t, v.Runtime, "owners")
			require.Equal(t, reasons, n.RefusedFor)
			all := uint64(0)
			for _, n := range n.Refused {
				all += n
			}
			for _, n := range n.RefusedFor {
				all -= n
			}
			require.Zero(t, all, "each has a status and a reason")
		}
		for path, reason := range map[string]dog.RefusalReason{
			"/401": dog.RefusedUnauthorized, "/403": dog.RefusedUnauthorized, "/404": dog.RefusedProgram,
			"/503": dog.RefusedFull, "/gone": dog.RefusedGone, "/500": dog.RefusedCanceled,
			"/panic": dog.RefusedFailed, "/connect": dog.RefusedRequest,
			"/timeout": dog.RefusedFailed, "/big": dog.RefusedRequest,
		} {
			v.Server.Get(path)
			refused(reason)
		}
		_, _, err := v.Server.TryDial("/connect", dogtest.DialOptions{
			Header: http.Header{"Origin": {"https://elsewhere.example"}},
		})
		require.Error(t, err)
		refused(dog.RefusedOrigin)
		v.Server.Dial("/connect")
		_, _, err = v.Server.TryDial("/connect", dogtest.DialOptions{})
		require.Error(t, err)
		refused(dog.RefusedFull)
		cut := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("a"))
		cut.ContentLength = 2
		v.Serve.ServeHTTP(httptest.NewRecorder(), cut)
		refused(dog.RefusedRequest)
		v.Server.Get("/?o=" + strings.Repeat("x", 5000))
		refused(dog.RefusedName)
		for range 2 {
			go v.Server.Get("/hang")
		}
		synctest.Wait()
		v.Server.Get("/hang")
		refused(dog.RefusedOverloaded)
		close(hangs)
		disk.Fill()
		time.Sleep(2 * time.Second)
		v.Server.Get("/write")
		refused(dog.RefusedStore)
		require.NoError(t, v.Runtime.Shutdown(t.Context()))
		v.Server.Get("/")
		refused(dog.RefusedShutdown)
	})
}
