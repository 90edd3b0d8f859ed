package dog_test

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
)

// What a program sends in one go arrives, be it many times QueueBytes: it says
// nothing about the client, which has had no time to take any of it.
func TestABurstIsNotASlowClient(t *testing.T) {
	const messages, size = 6000, 1000
	for _, policy := range []dog.SlowPolicy{dog.DisconnectSlow, dog.DropOldest, dog.CoalesceSlow} {
		for _, where := range []string{"Receive", "OnOpen", "OnMessage"} {
			t.Run(fmt.Sprint(policy, " ", where), func(t *testing.T) {
				run := overOwners
				if where == "Receive" {
					run = overReceivers
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
					on := &owners{}
					on.connectWith(kind, dog.SocketOptions{Slow: policy})
					switch where {
					case "Receive":
						on.receive = func(o owner, w http.ResponseWriter, req *http.Request) error {
							s, err := o.Connect(w, req, &dog.SocketOptions{Slow: policy})
							require.NoError(t, err)
							require.NoError(t, replay(s))
							return nil
						}
					case "OnOpen":
						on.open = func(_ context.Context, _ owner, s *dog.Socket) error { return replay(s) }
					case "OnMessage":
						on.message = func(_ context.Context, _ owner, s *dog.Socket, _ dog.Message) error { return replay(s) }
					}
					v := newVenue(t, kind, dog.Options{}, on)
					c := v.srv.Dial("/?u=ada")
					c.Send("go")
					synctest.Wait()
					got := texts(c)
					require.Len(t, got, messages)
					for i, m := range got {
						require.True(t, strings.HasPrefix(m, fmt.Sprint(i, ".")), "message %d is %.10s", i, m)
					}
					stats := v.rt.Stats()
					require.Zero(t, stats.Slow+stats.Dropped+stats.Lost+stats.Coalesced)
				})
			})
		}
	}
}

// The largest values of sizes and times mean that there is no bound.
func TestTheLargestOptionsWork(t *testing.T) {
	const forever = time.Duration(math.MaxInt64)
	overOwners(t, func(t *testing.T, kind string) {
		v := newVenue(t, kind, dog.Options{
			ReserveFor: forever, LingerFor: forever, RetireAfter: forever, GossipTimeout: forever, ParkAfter: forever,
			MaxWaiting: math.MaxInt, EvictAfter: forever, MaxObjects: math.MaxInt, HibernateAfter: forever,
			Sockets: dog.SocketOptions{
				MaxMessage: math.MaxInt64, QueueBytes: math.MaxInt, WriteTimeout: forever, CloseTimeout: forever, Compression: true,
				PingInterval: forever,
			},
		}, &owners{
			message: func(_ context.Context, _ owner, s *dog.Socket, m dog.Message) error { return s.Send(m) },
			limit:   2,
		})
		began := time.Now()
		c := v.enter("ada")
		for range 100 {
			c.Send(strings.Repeat("x", 100_000))
		}
		synctest.Wait()
		require.Len(t, texts(c), 100)
		require.Zero(t, time.Since(began))
		require.Zero(t, v.rt.Stats().Slow)
		c.Close(1000, "")
		requireEmpty(t, v.rt)
	})
}
