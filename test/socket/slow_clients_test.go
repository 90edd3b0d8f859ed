package socket_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A burst arrives even if it is many times QueueBytes: the client, which has
// had no time to read, is not slow.
func TestSocket_BurstIsNotASlowClient(t *testing.T) {
	const messages, size = 6000, 1000
	for _, policy := range []dog.SlowPolicy{dog.DisconnectSlow, dog.DropOldest, dog.CoalesceSlow} {
		for _, where := range []string{"Receive", "OnOpen", "OnMessage"} {
			t.Run(fmt.Sprint(policy, " ", where), func(t *testing.T) {
				run := fixture.ForEachOwner
				if where == "Receive" {
					run = fixture.ForEachReceiver
				}
				run(t, func(t *testing.T, kind string) {
					replay := func(s *dog.Socket) error {
						for i := range messages {
							if err := s.Send(fmt.Sprint(i, strings.Repeat(".", size))); err != nil {
								return err
							}
						}
						return nil
					}
					on := &fixture.OwnerHooks{}
					on.ConnectWith(kind, dog.SocketOptions{Slow: policy})
					switch where {
					case "Receive":
						on.Receive = func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
							s, err := o.Connect(w, req, &dog.SocketOptions{Slow: policy})
							require.NoError(t, err)
							require.NoError(t, replay(s))
							return nil
						}
					case "OnOpen":
						on.Open = func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { return replay(s) }
					case "OnMessage":
						on.Message = func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
							return replay(s)
						}
					}
					v := fixture.NewOwners(t, kind, dog.Options{}, on)
					c := v.Server.Dial("/?u=ada")
					c.Send("go")
					synctest.Wait()
					got := fixture.Texts(c)
					require.Len(t, got, messages)
					for i, m := range got {
						require.True(t, strings.HasPrefix(m, fmt.Sprint(i, ".")), "message %d is %.10s", i, m)
					}
					stats := v.Runtime.Stats()
					require.Zero(t, stats.Slow+stats.Dropped+stats.Lost+stats.Coalesced)
				})
			})
		}
	}
}

// The largest values of sizes and times mean that there is no bound.
func TestSocket_LargestOptionsWork(t *testing.T) {
	const forever = time.Duration(math.MaxInt64)
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{
			Store:      dogtest.NewDisk(t),
			ReserveFor: forever, LingerFor: forever, RetireAfter: forever, GossipTimeout: forever, ParkAfter: forever,
			MaxWaiting: math.MaxInt, EvictAfter: forever, MaxObjects: math.MaxInt, HibernateAfter: forever,
			Sockets: dog.SocketOptions{
				MaxMessage: math.MaxInt64, QueueBytes: math.MaxInt, WriteTimeout: forever, CloseTimeout: forever,
				Compression:  dog.CompressionOn,
				PingInterval: forever,
			},
		}, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if err := o.Storage().Put("last", nil); err != nil {
					return err
				}
				return s.Send(m) // held until the write is durable
			},
			MaxSockets: 2,
		})
		began := time.Now()
		c := v.Enter("ada")
		for range 100 {
			c.Send(strings.Repeat("x", 100_000))
		}
		synctest.Wait()
		require.Len(t, fixture.Texts(c), 100)
		require.Zero(t, time.Since(began))
		require.Zero(t, v.Runtime.Stats().Slow)
		c.Close(1000, "")
		fixture.RequireEmpty(t, v.Runtime)
	})
}
