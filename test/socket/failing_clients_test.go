package socket_test

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
	"github.com/godurable/dog/test/internal/fixture"
)

// Clients that do not read, and log lines about clients and handlers that fail.

// A client is judged when it has taken nothing for a second with a full queue,
// so the messages are spread over more than that.
func TestSocket_SendReportsASlowClient(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var failures []error
		v := fixture.NewOwners(t, kind, dog.Options{Sockets: dog.SocketOptions{QueueBytes: 1000}}, &fixture.OwnerHooks{
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
				for range 100 {
					if err := s.Send(strings.Repeat("x", 100)); err != nil {
						failures = append(failures, err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			},
		})
		v.Server.DialWith("/?u=slow", dogtest.DialOptions{OnDemand: true}).Send("go")
		fixture.Elapse(10 * time.Second)
		require.NotEmpty(t, failures)
		require.ErrorIs(t, failures[0], dog.ErrSlowConsumer)
		for _, err := range failures[1:] {
			require.ErrorIs(t, err, dog.ErrSocketClosed)
		}
	})
}

func TestSocket_UndeliveredMessagesAreCountedAsLost(t *testing.T) {
	const sent = 20
	ways := map[string]func(c *dogtest.Client){
		"it vanishes":     func(c *dogtest.Client) { c.Vanish() },
		"it never reads":  func(*dogtest.Client) { time.Sleep(time.Minute) },
		"it was too slow": func(c *dogtest.Client) { c.Send("one more"); synctest.Wait(); time.Sleep(time.Minute) },
	}
	for name, lose := range ways {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				options := dog.Options{Sockets: dog.SocketOptions{QueueBytes: 3000}}
				v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
					Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
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
				c := v.Server.DialWith("/?u=slow", dogtest.DialOptions{OnDemand: true})
				c.Send("go")
				synctest.Wait()
				require.Zero(t, v.Runtime.Stats().Lost)
				lose(c)
				fixture.RequireEmpty(t, v.Runtime)
				stats := v.Runtime.Stats()
				require.Positive(t, stats.Lost)
				require.EqualValues(t, sent, stats.MessagesOut+stats.Lost, "%+v", stats.Traffic)
				require.Zero(t, stats.Dropped)
			})
		})
	}
}

func TestSocket_OrderlyCloseLosesNothing(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
				for range 20 {
					require.NoError(t, s.Send(m))
				}
				return s.Close(1000, "")
			},
		})
		ada := v.Enter("ada")
		ada.Send("hello")
		require.Len(t, fixture.Texts(ada), 20)
		stats := v.Runtime.Stats()
		require.EqualValues(t, 20, stats.MessagesOut)
		require.Zero(t, stats.Lost)
	})
}

func TestSocket_ClientThatReadsNothingIsCutOffAfterWriteTimeout(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var ended time.Time
		var code int
		options := dog.Options{Sockets: dog.SocketOptions{PingInterval: -1, WriteTimeout: 3 * time.Second}}
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Close: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, c int, _ string) error {
				ended, code = time.Now(), c
				return nil
			},
		})
		v.Server.DialWith("/?u=silent", dogtest.DialOptions{OnDemand: true})
		reader := v.Enter("reader")
		fixture.Elapse(time.Hour)
		require.True(t, ended.IsZero(), "nothing to write, nothing to wait for")
		start := time.Now()
		require.NoError(t, v.Broadcast(t.Context(), "hello"))
		fixture.Elapse(time.Minute)
		require.Equal(t, 3*time.Second, ended.Sub(start))
		require.Equal(t, 1006, code, "a close frame would wait as well")
		require.Equal(t, []string{"hello"}, fixture.Texts(reader))
		require.Equal(t, []int{1}, v.Loads())
		require.EqualValues(t, 1, v.Runtime.Stats().Slow)
	})
}

// newLogbook returns options that log everything, and the log.
func newLogbook() (dog.Options, *fixture.LogRecords) {
	log := &fixture.LogRecords{}
	return dog.Options{Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, log
}

func TestSocket_HandlerErrorOfAGoneClientIsLoggedAtDebug(t *testing.T) {
	for _, cause := range []error{dog.ErrSocketClosed, dog.ErrSlowConsumer} {
		t.Run(cause.Error(), func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				options, log := newLogbook()
				v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
					Message: func(context.Context, fixture.Owner, *dog.Socket, dog.Message) error {
						return fmt.Errorf("send to ada: %w", cause)
					},
				})
				v.Enter("ada").Send("go")
				synctest.Wait()
				records := log.Records(t)
				require.Len(t, records, 1)
				require.Equal(t, "DEBUG", records[0]["level"])
				require.Equal(t, "handler failed", records[0]["msg"])
				require.Equal(t, "OnMessage", records[0]["event"])
			})
		})
	}
}

func TestSocket_FailureIsLoggedOnceAndCloseIsNot(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		options, log := newLogbook()
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ dog.Message) error {
				return s.Close(4000, "as asked")
			},
		})
		ada, bob, cyd := v.Enter("ada"), v.Enter("bob"), v.Enter("cyd")
		ada.Close(1000, "bye")
		bob.Send("close me")
		bob.Closed()
		synctest.Wait()
		require.Empty(t, log.Records(t))
		cyd.Vanish()
		synctest.Wait()
		v.Enter("dan").Send(make([]byte, 1<<20)) // over the limit
		synctest.Wait()
		records := log.Records(t)
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

func TestSocket_HandlerErrorWithAnothersResetIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := newLogbook()
		var asker, failed string
		h := fixture.NewRoomsWith(t, options, dog.GroupOptions[fixture.Lobby]{Limit: 1}, &fixture.Hooks{
			Message: func(ctx context.Context, r *fixture.Room, _ *dog.Socket, _ dog.Message) error {
				replies, err := r.Gossip(ctx, "fail")
				require.NoError(t, err)
				asker, failed = r.ID().String(), replies[0].Replica.String()
				return replies[0].Err
			},
			Gossip: func(context.Context, *fixture.Room, dog.Message) (any, error) { panic("boom") },
		})
		ada := h.Enter("ada")
		h.Enter("bob")
		ada.Send("go")
		synctest.Wait()
		records := log.Records(t)
		require.Len(t, records, 2)
		require.Equal(t, "object reset", records[0]["msg"])
		require.Equal(t, failed, records[0]["object"])
		require.Equal(t, "handler failed", records[1]["msg"])
		require.Equal(t, asker, records[1]["object"])
		require.Equal(t, "ERROR", records[1]["level"])
		require.Contains(t, records[1]["error"], "boom")
	})
}

func TestSocket_HandlerErrorWithACalleesResetIsLogged(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		options, log := newLogbook()
		var called dog.Stub[fixture.Object]
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Message: func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, _ dog.Message) error {
				return dog.CallErr(ctx, called, (*fixture.Object).Do, func(context.Context) error { panic("boom") })
			},
		})
		objects, err := dog.RegisterObject[fixture.Object](v.Runtime, "called", nil)
		require.NoError(t, err)
		called = objects.Named("a")
		v.Enter("ada").Send("go")
		synctest.Wait()
		records := log.Records(t)
		require.Len(t, records, 2)
		require.Equal(t, "object reset", records[0]["msg"])
		require.Equal(t, "called", records[0]["namespace"])
		require.Equal(t, "handler failed", records[1]["msg"])
		require.Equal(t, "owners", records[1]["namespace"])
		require.Equal(t, "ERROR", records[1]["level"])
		require.Contains(t, records[1]["error"], "boom")
		require.Equal(t, []int{1}, v.Loads(), "the owner goes on")
	})
}

func TestSocket_GoexitOfAHandlerIsReported(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		options, log := newLogbook()
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
			Message: func(context.Context, fixture.Owner, *dog.Socket, dog.Message) error {
				runtime.Goexit()
				return nil
			},
		})
		v.Enter("ada").Send("go")
		synctest.Wait()
		require.Contains(t, log.Records(t)[0]["cause"], "runtime.Goexit")
	})
}

func TestSocket_GoexitOfOnGossipIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Gossip: func(context.Context, *fixture.Room, dog.Message) (any, error) {
				runtime.Goexit()
				return nil, nil
			}},
		)
		h.Server.Get("/")
		replies, err := h.Group.Gossip(t.Context(), "x")
		require.NoError(t, err)
		require.ErrorIs(t, replies[0].Err, dog.ErrReset)
		var exit *dog.PanicError
		if errors.As(replies[0].Err, &exit) {
			require.Nil(t, exit.Value)
		}
	})
}
