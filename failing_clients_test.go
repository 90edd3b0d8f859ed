package dog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// Clients that do not read, and what the log says of clients and handlers that
// fail.

// A client is judged when it has taken nothing for a second with a full queue, so
// the messages are spread over more than that.
func TestSendSaysThatTheClientIsTooSlow(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		var failures []error
		v := newVenue(t, kind, dog.Options{Sockets: dog.SocketOptions{QueueBytes: 1000}}, &owners{
			message: func(_ context.Context, _ owner, s *dog.Socket, _ dog.Message) error {
				for range 100 {
					if err := s.Send(strings.Repeat("x", 100)); err != nil {
						failures = append(failures, err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			},
		})
		v.srv.DialWith("/?u=slow", dogtest.DialOptions{OnDemand: true}).Send("go")
		elapse(10 * time.Second)
		require.NotEmpty(t, failures)
		require.ErrorIs(t, failures[0], dog.ErrSlowConsumer)
		for _, err := range failures[1:] {
			require.ErrorIs(t, err, dog.ErrSocketClosed)
		}
	})
}

func TestWhatAClientDidNotGetIsCountedAsLost(t *testing.T) {
	const sent = 20
	ways := map[string]func(c *dogtest.Client){
		"it vanishes":     func(c *dogtest.Client) { c.Vanish() },
		"it never reads":  func(*dogtest.Client) { time.Sleep(time.Minute) },
		"it was too slow": func(c *dogtest.Client) { c.Send("one more"); synctest.Wait(); time.Sleep(time.Minute) },
	}
	for name, lose := range ways {
		t.Run(name, func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				options := dog.Options{Sockets: dog.SocketOptions{QueueBytes: 3000}}
				v := newVenue(t, kind, options, &owners{
					message: func(_ context.Context, _ owner, s *dog.Socket, m dog.Message) error {
						if m.String() == "one more" {
							return s.Send(strings.Repeat("x", 3000))
						}
						for range sent {
							if err := s.Send(strings.Repeat("x", 100)); err != nil {
								return err
							}
						}
						return nil
					},
				})
				c := v.srv.DialWith("/?u=slow", dogtest.DialOptions{OnDemand: true})
				c.Send("go")
				synctest.Wait()
				require.Zero(t, v.rt.Stats().Lost)
				lose(c)
				requireEmpty(t, v.rt)
				stats := v.rt.Stats()
				require.Positive(t, stats.Lost)
				require.EqualValues(t, sent, stats.MessagesOut+stats.Lost, "%+v", stats.Traffic)
				require.Zero(t, stats.Dropped)
			})
		})
	}
}

func TestNothingIsLostWhenAClientIsClosedInGoodOrder(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		v := newVenue(t, kind, dog.Options{}, &owners{
			message: func(_ context.Context, _ owner, s *dog.Socket, m dog.Message) error {
				for range 20 {
					require.NoError(t, s.Send(m))
				}
				return s.Close(1000, "")
			},
		})
		ada := v.enter("ada")
		ada.Send("hello")
		require.Len(t, texts(ada), 20)
		stats := v.rt.Stats()
		require.EqualValues(t, 20, stats.MessagesOut)
		require.Zero(t, stats.Lost)
	})
}

func TestAClientThatReadsNothingIsCutOffAfterWriteTimeout(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		var ended time.Time
		var code int
		options := dog.Options{Sockets: dog.SocketOptions{PingInterval: -1, WriteTimeout: 3 * time.Second}}
		v := newVenue(t, kind, options, &owners{
			close: func(_ context.Context, _ owner, _ *dog.Socket, c int, _ string) error {
				ended, code = time.Now(), c
				return nil
			},
		})
		v.srv.DialWith("/?u=silent", dogtest.DialOptions{OnDemand: true})
		reader := v.enter("reader")
		elapse(time.Hour)
		require.True(t, ended.IsZero(), "nothing to write, nothing to wait for")
		start := time.Now()
		require.NoError(t, v.broadcast(t.Context(), "hello"))
		elapse(time.Minute)
		require.Equal(t, 3*time.Second, ended.Sub(start))
		require.Equal(t, 1006, code, "a close frame would wait as well")
		require.Equal(t, []string{"hello"}, texts(reader))
		require.Equal(t, []int{1}, v.loads())
		require.EqualValues(t, 1, v.rt.Stats().Slow)
	})
}

// newLogbook returns options that log everything, and the log.
func newLogbook() (dog.Options, *logbook) {
	log := &logbook{}
	return dog.Options{Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, log
}

func TestAHandlerThatMeetsAClientsEndIsLoggedForDebugging(t *testing.T) {
	for _, cause := range []error{dog.ErrSocketClosed, dog.ErrSlowConsumer} {
		t.Run(cause.Error(), func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				options, log := newLogbook()
				v := newVenue(t, kind, options, &owners{
					message: func(context.Context, owner, *dog.Socket, dog.Message) error {
						return fmt.Errorf("tell ada: %w", cause)
					},
				})
				v.enter("ada").Send("go")
				synctest.Wait()
				records := log.records(t)
				require.Len(t, records, 1)
				require.Equal(t, "DEBUG", records[0]["level"])
				require.Equal(t, "handler failed", records[0]["msg"])
				require.Equal(t, "OnMessage", records[0]["event"])
			})
		})
	}
}

func TestASocketThatFailsIsLoggedOnceAndOneThatIsClosedIsNot(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		options, log := newLogbook()
		v := newVenue(t, kind, options, &owners{
			message: func(_ context.Context, _ owner, s *dog.Socket, _ dog.Message) error { return s.Close(4000, "as asked") },
		})
		ada, bob, cyd := v.enter("ada"), v.enter("bob"), v.enter("cyd")
		ada.Close(1000, "bye")
		bob.Send("close me")
		bob.Closed()
		synctest.Wait()
		require.Empty(t, log.records(t))
		cyd.Vanish()
		synctest.Wait()
		v.enter("dan").Send(make([]byte, 1<<20)) // over the limit
		synctest.Wait()
		records := log.records(t)
		require.Len(t, records, 2)
		for i, want := range []struct {
			level string // clients get lost every day; one that breaks a rule is worth a line
			code  int
		}{{"DEBUG", 1006}, {"INFO", 1009}} {
			require.Equal(t, want.level, records[i]["level"])
			require.Equal(t, "socket failed", records[i]["msg"])
			require.EqualValues(t, want.code, records[i]["code"])
			require.NotEmpty(t, records[i]["socket"])
			require.NotEmpty(t, records[i]["error"])
		}
	})
}

func TestAHandlerThatReturnsTheResetOfAnotherObjectIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := newLogbook()
		var asker, failed string
		h := newHouseWith(t, options, dog.GroupOptions[lobby]{Limit: 1}, &hooks{
			message: func(ctx context.Context, r *room, _ *dog.Socket, _ dog.Message) error {
				replies, err := r.Gossip(ctx, "fail")
				require.NoError(t, err)
				asker, failed = r.ID().String(), replies[0].Replica.String()
				return replies[0].Err
			},
			gossip: func(context.Context, *room, dog.Message) (any, error) { panic("boom") },
		})
		ada := h.enter("ada")
		h.enter("bob")
		ada.Send("go")
		synctest.Wait()
		records := log.records(t)
		require.Len(t, records, 2)
		require.Equal(t, "object reset", records[0]["msg"])
		require.Equal(t, failed, records[0]["object"])
		require.Equal(t, "handler failed", records[1]["msg"])
		require.Equal(t, asker, records[1]["object"])
		require.Equal(t, "ERROR", records[1]["level"])
		require.Contains(t, records[1]["error"], "boom")
	})
}

func TestAHandlerThatEndsItsGoroutineIsSaidToHave(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		options, log := newLogbook()
		v := newVenue(t, kind, options, &owners{
			message: func(context.Context, owner, *dog.Socket, dog.Message) error { runtime.Goexit(); return nil },
		})
		v.enter("ada").Send("go")
		synctest.Wait()
		require.Contains(t, log.records(t)[0]["cause"], "runtime.Goexit")
	})
}

func TestAnAnswerToGossipThatEndsItsGoroutineIsSaidToHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 2, &hooks{gossip: func(context.Context, *room, dog.Message) (any, error) {
			runtime.Goexit()
			return nil, nil
		}})
		h.srv.Get("/")
		replies, err := h.group.Gossip(t.Context(), "x")
		require.NoError(t, err)
		require.ErrorIs(t, replies[0].Err, dog.ErrReset)
		var exit *dog.PanicError
		if errors.As(replies[0].Err, &exit) {
			require.Nil(t, exit.Value)
		}
	})
}
