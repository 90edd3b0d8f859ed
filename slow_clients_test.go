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
				bubble(t, func(t *testing.T) {
					replay := func(s *dog.Socket) error {
						for i := range messages {
							if err := s.Send(fmt.Sprint(i, strings.Repeat(".", size))); err != nil {
								return err
							}
						}
						return nil
					}
					on := &hooks{receive: func(r *room, w http.ResponseWriter, req *http.Request) {
						s, err := r.Connect(w, req, &dog.SocketOptions{Slow: policy})
						require.NoError(t, err)
						if where == "Receive" {
							require.NoError(t, replay(s))
						}
					}}
					if where == "OnOpen" {
						on.open = func(_ context.Context, _ *room, s *dog.Socket) error { return replay(s) }
					}
					if where == "OnMessage" {
						on.message = func(_ context.Context, _ *room, s *dog.Socket, _ dog.Message) error { return replay(s) }
					}
					h := newHouse(t, 2, on)
					c := h.join("ada")
					c.Send("go")
					synctest.Wait()
					got := texts(c)
					require.Len(t, got, messages)
					for i, m := range got {
						require.True(t, strings.HasPrefix(m, fmt.Sprint(i, ".")), "message %d is %.10s", i, m)
					}
					stats := h.rt.Stats()
					require.Zero(t, stats.Slow+stats.Dropped+stats.Lost+stats.Coalesced)
				})
			})
		}
	}
}

// The largest values of sizes and times mean that there is no bound.
func TestTheLargestOptionsWork(t *testing.T) {
	const forever = time.Duration(math.MaxInt64)
	bubble(t, func(t *testing.T) {
		h := newHouseWith(t, dog.Options{
			ReserveFor: forever, LingerFor: forever, RetireAfter: forever, GossipTimeout: forever, ParkAfter: forever,
			MaxWaiting: math.MaxInt, EvictAfter: forever, MaxObjects: math.MaxInt, HibernateAfter: forever,
			Sockets: dog.SocketOptions{
				MaxMessage: math.MaxInt64, QueueBytes: math.MaxInt, WriteTimeout: forever, CloseTimeout: forever, Compression: true,
				PingInterval: forever,
			},
		}, dog.GroupOptions[lobby]{Limit: 2}, &hooks{message: echo})
		began := time.Now()
		c := h.enter("ada")
		for range 100 {
			c.Send(strings.Repeat("x", 100_000))
		}
		synctest.Wait()
		require.Len(t, texts(c), 100)
		require.Zero(t, time.Since(began))
		require.Zero(t, h.rt.Stats().Slow)
		c.Close(1000, "")
		requireEmpty(t, h.rt)
	})
}
