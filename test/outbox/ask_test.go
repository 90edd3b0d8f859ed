package outbox_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
)

func TestAsk_ReturnsWhatTheDeviceReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		d := s.dial()
		got := s.ask(0, "temperature?")
		f := d.one()
		require.Equal(t, "temperature?", f.body)
		d.Vanish()
		time.Sleep(time.Hour)
		d = s.dial()
		d.reply(d.one(), "done", "21.5")
		require.Equal(t, answer{"21.5", nil}, <-got)

		got = s.ask(0, "open")
		d.reply(d.one(), "fail", "jammed")
		var failed *outbox.FailedError
		require.ErrorAs(t, (<-got).err, &failed)
		require.Equal(t, "jammed", failed.Reason)
	})
}

func TestAsk_DecodesTheReply(t *testing.T) {
	type reading struct{ Celsius float64 }
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		d := s.dial()
		for _, c := range []struct {
			reply string
			ask   func(ctx context.Context, q *outbox.Queue) (any, error)
			want  any
		}{
			{`{"Celsius":21.5}`, asking[reading], reading{21.5}},
			{`{"Celsius":21.5}`, asking[dog.Message], dog.Message{Type: dog.Text, Data: []byte(`{"Celsius":21.5}`)}},
			{`open`, asking[string], "open"},
			{`open`, asking[[]byte], []byte("open")},
			{``, asking[reading], reading{}},
			{`broken`, asking[reading], nil},
		} {
			var got any
			ended := make(chan error)
			go func() {
				ended <- dog.CallErr(t.Context(), s.devices.Named("d"), (*Device).With,
					func(ctx context.Context, d *Device) (err error) {
						got, err = c.ask(ctx, &d.Commands)
						return err
					})
			}()
			d.reply(d.one(), "done", c.reply)
			if err := <-ended; c.want == nil {
				require.ErrorContains(t, err, "broken")
			} else {
				require.NoError(t, err)
				require.Equal(t, c.want, got)
			}
		}
	})
}

func asking[R any](ctx context.Context, q *outbox.Queue) (any, error) {
	return outbox.Ask[R](ctx, q, "?")
}

// When the asker has gone, the device does not get the command any more.
func TestAsk_CommandGoesWithItsAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t), object: dog.ObjectOptions[Device]{RollbackOnError: true}})
		got := s.ask(time.Minute, "open")
		require.Equal(t, []string{"open"}, s.waiting())
		time.Sleep(time.Minute)
		synctest.Wait()
		err := (<-got).err
		require.True(t, context.DeadlineExceeded == err || outbox.ErrExpired == err, "%v", err)
		require.Empty(t, s.waiting())

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := dog.Call(ctx, s.devices.Named("d"), (*Device).Ask, command{body: "close"})
			ended <- err
		}()
		synctest.Wait()
		d := s.dial()
		f := d.one()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		synctest.Wait()
		require.Empty(t, s.waiting())
		s.put("next")
		require.Equal(t, []string{"next"}, d.bodies())
		d.reply(f, "done", "late")
		require.Equal(t, []string{"next"}, s.waiting())

		_, err = dog.Call(ctx, s.devices.Named("d"), (*Device).Ask, command{body: "x"})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestAsk_WithAKeyFindsTheOutcomeAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		s := open(t, setup{store: disk})
		got := s.ask(0, "open", outbox.Key("k"))
		require.Equal(t, []string{"open"}, s.waiting())
		disk.Crash()
		require.Error(t, (<-got).err)

		s = open(t, setup{store: disk})
		first, second := s.ask(0, "open", outbox.Key("k")), s.ask(time.Second, "open", outbox.Key("k"))
		time.Sleep(time.Second)
		require.ErrorIs(t, (<-second).err, context.DeadlineExceeded)
		require.Equal(t, []string{"open"}, s.waiting(), "another asks as well")
		d := s.dial()
		d.reply(d.one(), "done", "opened")
		require.Equal(t, answer{"opened", nil}, <-first)
		disk.Crash()
		s = open(t, setup{store: disk})
		require.Equal(t, answer{"opened", nil}, <-s.ask(0, "open", outbox.Key("k")))
	})
}

// Somebody who may ask again with the key still wants the command done.
func TestAsk_CommandWithAKeyOutlivesItsAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		for range 2 {
			got := s.ask(10*time.Second, "open", outbox.Key("k"))
			time.Sleep(11 * time.Second)
			require.ErrorIs(t, (<-got).err, context.DeadlineExceeded)
			require.Equal(t, []string{"open"}, s.waiting())
		}
		d := s.dial()
		d.reply(d.one(), "done", "opened")
		require.Equal(t, answer{"opened", nil}, <-s.ask(10*time.Second, "open", outbox.Key("k")))

		got := s.ask(time.Hour, "x", outbox.Key("short"), outbox.TTL(time.Second))
		time.Sleep(time.Second + time.Millisecond)
		require.ErrorIs(t, (<-got).err, outbox.ErrExpired)
	})
}

func TestAsk_EndsWithItsCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Deliver: 1, Waiting: 1}})
		replaced := s.ask(0, "dim", outbox.Replace("light"))
		dead := s.ask(0, "bright", outbox.Replace("light"))
		require.ErrorIs(t, (<-replaced).err, outbox.ErrReplaced)
		require.ErrorIs(t, (<-s.ask(0, "more")).err, outbox.ErrFull)
		d := s.dial()
		d.one()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, (<-dead).err, outbox.ErrDead)
		expired := s.ask(time.Hour, "x", outbox.TTL(time.Second))
		time.Sleep(time.Second + time.Millisecond)
		require.ErrorIs(t, (<-expired).err, outbox.ErrExpired)
	})
}

func TestAsk_IsToldAlthoughTheTotalsCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		got := s.ask(0, "dim", outbox.Replace("light"))
		s.with(func(_ context.Context, d *Device) error {
			if _, err := d.Commands.Put("bright", outbox.Replace("light")); err != nil {
				return err
			}
			return d.Storage().Put("outbox/queue", []byte("broken"))
		})
		require.ErrorIs(t, (<-got).err, outbox.ErrReplaced)
	})
}

// An end that was undone must not be told when another one follows.
func TestAsk_LastEndOfACommandCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		l := s.dial()
		got := s.ask(0, "dim", outbox.Replace("light"))
		f := l.one()
		s.with(func(_ context.Context, d *Device) error {
			l.reply(f, "done", "dimmed") // is handled next
			errNo := errors.New("no")
			require.ErrorIs(t, d.Storage().Transaction(func() error {
				_, err := d.Commands.Put("bright", outbox.Replace("light"))
				require.NoError(t, err)
				return errNo
			}), errNo)
			return nil
		})
		require.Equal(t, answer{"dimmed", nil}, <-got)
	})
}

// An asker is told only what is known to be stored.
func TestAsk_WaitsWhileTheOutcomeCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		got := s.ask(0, "dim", outbox.Replace("light"))
		const key = "outbox/c/00000000000001"
		s.with(func(_ context.Context, d *Device) error {
			if _, err := d.Commands.Put("bright", outbox.Replace("light")); err != nil {
				return err
			}
			return d.Storage().Put(key, []byte("broken"))
		})
		synctest.Wait()
		require.Empty(t, got)
		s.with(func(_ context.Context, d *Device) error {
			_, err := d.Storage().Delete(key)
			return err
		})
		time.Sleep(time.Second)
		require.ErrorIs(t, (<-got).err, outbox.ErrReplaced)
	})
}

func TestAsk_EndsWithItsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		one, two := s.ask(time.Hour, "a"), s.ask(time.Hour, "b")
		require.NoError(t, s.devices.Named("d").Abort(context.Canceled))
		require.ErrorIs(t, (<-one).err, dog.ErrReset)
		require.ErrorIs(t, (<-two).err, dog.ErrReset)
		require.Equal(t, []string{"a", "b"}, s.waiting())
		time.Sleep(time.Hour + time.Millisecond)
		require.Empty(t, s.waiting())
	})
}

// Once Shutdown has begun, no reply can come.
func TestAsk_EndsWhenShutdownBegins(t *testing.T) {
	for name, ask := range map[string]func(s *site) <-chan answer{
		"a call": func(s *site) <-chan answer { return s.ask(0, "open") },
		"an event that nobody waits for": func(s *site) <-chan answer {
			got := make(chan answer, 1)
			s.with(func(ctx context.Context, d *Device) error {
				return dog.Go(ctx, func(ctx context.Context) error {
					reply, err := outbox.Ask[string](ctx, &d.Commands, "open")
					got <- answer{reply, err}
					return nil
				})
			})
			return got
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := dogtest.NewDisk(t)
				s := open(t, setup{store: disk})
				got := ask(s)
				synctest.Wait()
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				require.NoError(t, s.rt.Shutdown(ctx))
				require.Zero(t, time.Since(began))
				require.ErrorIs(t, (<-got).err, dog.ErrShutdown)
				s = open(t, setup{store: disk})
				require.Equal(t, []string{"open"}, s.waiting(), "the device gets it later")
			})
		})
	}
}

// A handler that goes on after Shutdown has begun queues nothing that its
// caller would send again.
func TestAsk_QueuesNothingAfterShutdownHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		s := open(t, setup{store: disk})
		goOn, got := make(chan struct{}), make(chan answer, 2)
		s.with(func(ctx context.Context, d *Device) error {
			return dog.Go(ctx, func(ctx context.Context) error {
				if err := dog.Await(ctx, func() error { <-goOn; return nil }); err != nil {
					return err
				}
				_, err := outbox.Ask[string](ctx, &d.Commands, "open")
				_, keyed := outbox.Ask[string](ctx, &d.Commands, "close", outbox.Key("k"))
				got <- answer{err: err}
				got <- answer{err: keyed}
				return nil
			})
		})
		ended := make(chan error, 1)
		go func() { ended <- s.rt.Shutdown(t.Context()) }()
		synctest.Wait()
		close(goOn)
		require.NoError(t, <-ended)
		require.ErrorIs(t, (<-got).err, dog.ErrShutdown)
		require.ErrorIs(t, (<-got).err, dog.ErrShutdown)
		s = open(t, setup{store: disk})
		require.Equal(t, []string{"close"}, s.waiting(), "who asks again with the key gets its outcome")
	})
}

// The number of what is undone is that of another command, which stays.
func TestAsk_CannotWaitInATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("first")
		s.with(func(ctx context.Context, d *Device) error {
			for _, options := range [][]outbox.Option{nil, {outbox.Key("k")}} {
				require.ErrorIs(t, d.Storage().Transaction(func() error {
					_, err := outbox.Ask[string](ctx, &d.Commands, "asked", options...)
					return err
				}), dog.ErrInTransaction)
				require.NoError(t, d.Storage().Transaction(func() error {
					_, err := outbox.Ask[string](ctx, &d.Commands, "asked", options...)
					require.ErrorIs(t, err, dog.ErrInTransaction)
					return nil
				}))
			}
			_, err := d.Commands.Put("second")
			return err
		})
		synctest.Wait()
		require.Equal(t, []string{"first", "second"}, s.waiting())
	})
}

// With another context the handler would keep the turn, and wait for itself.
func TestAsk_NeedsTheContextOfItsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		var returned, other context.Context
		s.with(func(ctx context.Context, _ *Device) error { returned = ctx; return nil })
		leave := make(chan struct{})
		otherEnds := make(chan error)
		go func() {
			otherEnds <- dog.CallErr(t.Context(), s.devices.Named("other"), (*Device).With,
				func(ctx context.Context, _ *Device) error {
					other = ctx
					return dog.Await(ctx, func() error { <-leave; return nil })
				})
		}()
		synctest.Wait()
		for name, foreign := range map[string]context.Context{
			"no handler's": context.Background(), "of a handler that has returned": returned,
			"of another object": other,
		} {
			s.with(func(_ context.Context, d *Device) error {
				within, cancel := context.WithTimeout(foreign, time.Minute)
				defer cancel()
				_, err := outbox.Ask[string](within, &d.Commands, "x")
				require.ErrorIs(t, err, dog.ErrOutsideTurn, name)
				return nil
			})
		}
		require.Empty(t, s.waiting())
		close(leave)
		require.NoError(t, <-otherEnds)
	})
}
