package outbox_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestQueue_CommandsExpireWhileTheDeviceIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		s.put("a", outbox.Key("a"), outbox.TTL(time.Minute))
		s.put("b")
		time.Sleep(59 * time.Second)
		require.Equal(t, []string{"a", "b"}, s.waiting())
		time.Sleep(time.Second + time.Millisecond)
		require.Equal(t, []string{"b"}, s.waiting())
		require.Equal(t, outbox.Expired, s.outcome("a").State)
		require.ErrorIs(t, s.outcome("a").Err(), outbox.ErrExpired)
		time.Sleep(24*time.Hour - time.Minute)
		require.Empty(t, s.waiting(), "the default")
		require.Equal(t, outbox.Expired, s.outcome("a").State)
	})
}

func TestQueue_CommandExpiresInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("a", outbox.Key("a"), outbox.TTL(10*time.Second))
		s.put("b", outbox.TTL(time.Hour))
		time.Sleep(time.Second)
		d := s.dial()
		f := d.one()
		require.Equal(t, 9*time.Second, f.left)
		time.Sleep(9*time.Second + time.Millisecond)
		next := d.one()
		require.Equal(t, "b", next.body)
		require.Zero(t, next.before)
		d.reply(f, "done", "too late")
		require.Equal(t, outbox.Expired, s.outcome("a").State)
		d.reply(next, "done", "")
		require.Empty(t, s.waiting())
	})
}

// The queue tries again each second.
func TestQueue_LogsNoEndThatIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options, log := fixture.LogToBuffer()
		disk := dogtest.NewDisk(t)
		s := open(t, setup{store: disk, policy: outbox.Policy{Deliver: 1}, options: options})
		s.put("a")
		s.put("b", outbox.TTL(time.Minute))
		disk.Fail(1, errors.New("broken"))
		_, err := s.tryPut("c")
		require.ErrorIs(t, err, dog.ErrStoreFailed)
		synctest.Wait() // until the object has been reset
		s.dial()
		time.Sleep(5*time.Minute + time.Second/2)
		require.Equal(t, []string{"a", "b"}, s.waiting())
		require.NotContains(t, log.String(), "dead letter")
		require.NotContains(t, log.String(), "expired")
		require.Equal(t, 1, strings.Count(log.String(), "commands wait"))
	})
}

func TestQueue_FullIsToldToTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Waiting: 3, Bytes: 100, KeepBytes: 200}})
		for range 3 {
			s.put("1234567890")
		}
		_, err := s.tryPut("x")
		require.ErrorIs(t, err, outbox.ErrFull)
		require.Len(t, s.waiting(), 3)
		d := s.dial()
		d.reply(d.one(), "done", "")
		_, err = s.tryPut(strings.Repeat("x", 81))
		require.ErrorIs(t, err, outbox.ErrFull)
		s.put(strings.Repeat("x", 80))
		_, err = s.tryPut(strings.Repeat("x", 101))
		require.ErrorIs(t, err, dog.ErrTooBig)
		for range 3 {
			d.reply(d.one(), "done", "")
		}

		for _, key := range []string{"a", "b"} {
			s.put("x", outbox.Key(key))
			d.reply(d.one(), "done", strings.Repeat("y", 40))
		}
		_, err = s.tryPut("x")
		require.ErrorIs(t, err, outbox.ErrFull, "outcomes of more than 200 bytes are kept")
		require.Equal(t, outbox.Done, s.put("x", outbox.Key("a")).State)
		time.Sleep(25 * time.Hour)
		s.put("x")
	})
}

func TestKey_FirstOutcomeIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		s := open(t, setup{store: disk})
		first := s.put("a", outbox.Key("k"))
		require.Equal(t, outbox.Outcome{Number: 1, State: outbox.Waiting}, first)
		require.Equal(t, first, s.put("another", outbox.Key("k")))
		d := s.dial()
		d.reply(d.one(), "fail", "jammed")
		require.Equal(t, outbox.Failed, s.outcome("k").State)
		disk.Crash()
		s = open(t, setup{store: disk})
		o := s.put("another", outbox.Key("k"))
		require.Equal(t, outbox.Failed, o.State)
		failed, ok := errors.AsType[*outbox.FailedError](o.Err())
		require.True(t, ok)
		require.Equal(t, "jammed", failed.Reason)
		require.Empty(t, s.waiting())
		time.Sleep(24*time.Hour + time.Second)
		require.Equal(t, outbox.Outcome{Number: 2, State: outbox.Waiting}, s.put("a", outbox.Key("k")))
	})
}

// What is kept is not swept at once, so a key may be used again before.
func TestKey_UsedAgainBeforeTheSweepCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		d := s.dial()
		do := func(key string) {
			s.put("x", outbox.Key(key))
			d.reply(d.one(), "done", "y")
		}
		do("a")
		time.Sleep(time.Minute)
		do("b")
		time.Sleep(24*time.Hour + time.Minute)
		do("b")
		require.Equal(t, 64+2, s.kept())
		time.Sleep(26 * time.Hour)
		require.Zero(t, s.kept())
	})
}

// A device must not do a command again because of what it has replied.
func TestKey_ReplyOverTheLimitOfStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{object: dog.ObjectOptions[Device]{Sockets: dog.SocketOptions{MaxMessage: 4 << 20}}})
		d := s.dial()
		got := s.ask(0, "read", outbox.Key("k"))
		big := strings.Repeat("x", 3<<20)
		d.reply(d.one(), "done", big)
		require.Len(t, got, 1)
		require.Equal(t, answer{big, nil}, <-got)
		require.Empty(t, s.waiting())
		require.Equal(t, outbox.Outcome{Number: 1, State: outbox.Done, ReplyLost: true}, s.outcome("k"))
		require.Equal(t, 64+1, s.kept())
		require.ErrorIs(t, (<-s.ask(0, "read", outbox.Key("k"))).err, dog.ErrTooBig)

		s.put("fail", outbox.Key("f"))
		d.reply(d.one(), "fail", big)
		var failed *outbox.FailedError
		require.ErrorAs(t, s.outcome("f").Err(), &failed)
	})
}

// A record grows when its command becomes a dead letter, which must fit too.
func TestQueue_BiggestCommandCanEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{
			policy: outbox.Policy{Bytes: 4 << 20, KeepBytes: 32 << 20, Deliver: 1},
			object: dog.ObjectOptions[Device]{Sockets: dog.SocketOptions{QueueBytes: 4 << 20}},
		})
		l := s.dial()
		put := 0
		for _, less := range []int{0, 34, 36, 38, 127, 128} {
			if _, err := s.tryPut(make([]byte, 2<<20-less)); err != nil {
				require.ErrorIs(t, err, dog.ErrTooBig)
				continue
			}
			put++
			l.one()
			time.Sleep(31 * time.Second)
			require.Len(t, s.dead(), put)
		}
		require.Equal(t, 1, put)
	})
}

func TestReplace_NewestStateTakesThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Waiting: 2}})
		s.put("dim", outbox.Replace("light"), outbox.Key("dim"))
		s.put("beep")
		s.put("bright", outbox.Replace("light"))
		require.Equal(t, []string{"beep", "bright"}, s.waiting(), "also where the queue is full")
		require.Equal(t, outbox.Replaced, s.outcome("dim").State)
		require.ErrorIs(t, s.outcome("dim").Err(), outbox.ErrReplaced)
		d := s.dial()
		d.reply(d.one(), "done", "")
		d.reply(d.one(), "done", "")
		s.put("off", outbox.Replace("light"))
		require.Equal(t, []string{"off"}, s.waiting())
	})
}

func TestReplace_InFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		d := s.dial()
		s.put("dim", outbox.Replace("light"))
		old := d.one()
		s.put("bright", outbox.Replace("light"), outbox.Key("bright"))
		young := d.one()
		require.Equal(t, "bright", young.body)
		require.Zero(t, young.before)
		d.reply(old, "done", "late")
		require.Equal(t, []string{"bright"}, s.waiting())
		d.reply(young, "done", "")
		require.Equal(t, outbox.Done, s.outcome("bright").State)
	})
}

// What a handler has put is undone with the handler, and its number is given
// again.
func TestPut_IsPartOfTheTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{object: dog.ObjectOptions[Device]{RollbackOnError: true}})
		d := s.dial()
		s.put("state", outbox.Replace("r"))
		d.one()
		waits := s.ask(0, "asked", outbox.Replace("other"))
		errNo := errors.New("no")
		err := dog.CallErr(t.Context(), s.devices.Named("d"), (*Device).With, func(_ context.Context, d *Device) error {
			for _, name := range []string{"r", "other"} {
				if _, err := d.Commands.Put("undone", outbox.Replace(name)); err != nil {
					return err
				}
			}
			return errNo
		})
		require.ErrorIs(t, err, errNo)
		require.Empty(t, d.frames())
		require.Equal(t, []string{"state", "asked"}, s.waiting())
		require.EqualValues(t, 3, s.put("next").Number)
		time.Sleep(30 * time.Second)
		for _, body := range []string{"state", "asked", "next"} {
			f := d.one()
			require.Equal(t, body, f.body)
			d.reply(f, "done", "yes")
		}
		require.Equal(t, answer{"yes", nil}, <-waits)
	})
}

func TestQueue_ClockMayGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skew atomic.Int64
		s := open(t, setup{
			store: dogtest.NewDisk(t),
			clock: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) },
		})
		s.put("a", outbox.TTL(time.Hour))
		d := s.dial()
		require.Equal(t, time.Hour, d.one().left)
		synctest.Wait()
		skew.Store(int64(-2 * time.Hour))
		time.Sleep(30 * time.Second)
		f := d.one() // pauses do not depend on the time of day
		require.Greater(t, f.left, 2*time.Hour)
		d.reply(f, "retry", "")
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{"a"}, d.bodies())
		time.Sleep(30 * time.Minute)
		require.NotEmpty(t, d.bodies())
		skew.Store(int64(2 * time.Hour))
		time.Sleep(time.Hour)
		require.Empty(t, s.waiting(), "it expires when the clock says so")
	})
}
