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

// Cancel cancels the command with a key, and reports whether it waited.
func (d *Device) Cancel(_ context.Context, key string) (found bool, err error) {
	o, found, err := d.Commands.Outcome(key)
	if err != nil || !found {
		return false, err
	}
	return d.Commands.Cancel(o.Number)
}

// cancel cancels a command, and reports whether it waited.
func (s *site) cancel(number uint64) (found bool) {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) (err error) {
		found, err = d.Commands.Cancel(number)
		return err
	})
	synctest.Wait()
	return found
}

// requeue queues a dead letter again.
func (s *site) requeue(number uint64) (o outbox.Outcome, found bool, err error) {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) error {
		o, found, err = d.Commands.Requeue(number)
		return nil
	})
	synctest.Wait()
	return o, found, err
}

// discard deletes a dead letter, and reports whether there was one.
func (s *site) discard(number uint64) (found bool) {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) (err error) {
		found, err = d.Commands.Discard(number)
		return err
	})
	return found
}

// die puts a command and lets a device leave it until it is a dead letter.
func (s *site) die(body any, options ...outbox.Option) (number uint64) {
	s.t.Helper()
	number = s.put(body, options...).Number
	d := s.dial()
	time.Sleep(30 * time.Second)
	synctest.Wait()
	d.Vanish()
	require.Contains(s.t, s.dead(), body)
	return number
}

func TestCancel_EndsACommandThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		asked := s.ask(0, "open", outbox.Key("k"))
		s.put("next")
		require.True(t, s.cancel(1))
		require.Equal(t, answer{err: outbox.ErrCanceled}, <-asked)
		require.Equal(t, outbox.Outcome{Number: 1, State: outbox.Canceled}, s.outcome("k"))
		require.ErrorIs(t, (<-s.ask(0, "open", outbox.Key("k"))).err, outbox.ErrCanceled)
		d := s.dial()
		f := d.one()
		require.Equal(t, "next", f.body)
		d.reply(f, "done", "")
		for _, number := range []uint64{0, 1, 2, 3} {
			require.False(t, s.cancel(number))
		}
		require.Equal(t, 1, s.alarms(), "the outcome is kept")
	})
}

// The device may do the command nevertheless, as a replaced one.
func TestCancel_InFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		d := s.dial()
		s.put("open", outbox.Key("k"))
		s.put("next")
		canceled := d.one()
		require.True(t, s.cancel(1))
		next := d.one()
		require.Equal(t, "next", next.body)
		require.Zero(t, next.before)
		d.reply(canceled, "done", "late")
		require.Equal(t, outbox.Canceled, s.outcome("k").State)
		d.reply(next, "done", "")
		require.Empty(t, s.waiting())
	})
}

func TestCancel_IsPartOfTheTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		asked := s.ask(0, "open")
		d := s.dial()
		f := d.one()
		s.with(func(_ context.Context, d *Device) error {
			errNo := errors.New("no")
			require.ErrorIs(t, d.Storage().Transaction(func() error {
				found, err := d.Commands.Cancel(1)
				require.NoError(t, err)
				require.True(t, found)
				return errNo
			}), errNo)
			return nil
		})
		synctest.Wait()
		require.Empty(t, asked)
		require.Equal(t, []string{"open"}, s.waiting())
		d.reply(f, "done", "opened")
		require.Equal(t, answer{"opened", nil}, <-asked)
	})
}

func TestRequeue_DeviceGetsTheCommandAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		s := open(t, setup{store: disk, policy: outbox.Policy{Deliver: 1}})
		number := s.die("open", outbox.Key("k"), outbox.TTL(time.Minute))
		require.Equal(t, outbox.Dead, s.outcome("k").State)
		disk.Crash()
		s = open(t, setup{store: disk, policy: outbox.Policy{Deliver: 1}})
		require.Equal(t, 1, s.status().Dead)
		time.Sleep(time.Hour)
		s.put("other")
		d := s.dial()
		d.reply(d.one(), "done", "")
		o, found, err := s.requeue(number)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, outbox.Outcome{Number: 3, State: outbox.Waiting}, o)
		require.Equal(t, o, s.outcome("k"))
		require.Equal(t, outbox.Status{Last: 3, Waiting: 1, Bytes: 5}, s.status())
		asked := s.ask(0, "open", outbox.Key("k"))
		f := d.one()
		require.Equal(t, frame{3, f.epoch, 24 * time.Hour, 0, "open", dog.Text}, f)
		d.reply(f, "done", "opened")
		require.Equal(t, answer{"opened", nil}, <-asked)
		require.Empty(t, s.dead())
		for number := range uint64(5) {
			_, found, err = s.requeue(number)
			require.NoError(t, err)
			require.False(t, found)
		}
	})
}

func TestRequeue_LeavesADeadLetterThatHasNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Deliver: 1, Waiting: 1}})
		number := s.die("dim", outbox.Replace("light"))
		before := s.status()
		s.put("bright", outbox.Replace("light"))
		_, found, err := s.requeue(number)
		require.ErrorIs(t, err, outbox.ErrReplaced)
		require.False(t, found)
		require.True(t, s.cancel(2))
		s.put("beep")
		_, found, err = s.requeue(number)
		require.ErrorIs(t, err, outbox.ErrFull)
		require.False(t, found)
		require.Equal(t, []string{"dim"}, s.dead())
		require.True(t, s.cancel(3))
		before.Last = 3
		require.Equal(t, before, s.status())
		_, found, err = s.requeue(number)
		require.NoError(t, err)
		require.True(t, found)
		s.put("bright", outbox.Replace("light"))
		require.Equal(t, []string{"bright"}, s.waiting(), "it can be replaced")
	})
}

// What is kept is not swept at once, so a key may have been used again.
func TestRequeue_LeavesAKeyToANewerCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Deliver: 1}})
		number := s.die("b", outbox.Key("k"))
		time.Sleep(24*time.Hour + time.Minute)
		newer := s.put("newer", outbox.Key("k"))
		require.Equal(t, []string{"b"}, s.dead())
		_, found, err := s.requeue(number)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, newer, s.outcome("k"))
		require.Equal(t, []string{"newer", "b"}, s.waiting())
	})
}

func TestDiscard_DeletesADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Deliver: 1}})
		keyed, plain := s.die("a", outbox.Key("k")), s.die("b")
		require.Equal(t, outbox.Status{Last: 2, Dead: 2, KeptBytes: 64 + 1 + 64 + 2 + 64 + 1}, s.status())
		require.True(t, s.discard(plain))
		require.True(t, s.discard(keyed))
		require.False(t, s.discard(keyed))
		require.Equal(t, outbox.Status{Last: 2, KeptBytes: 64 + 1}, s.status())
		require.Equal(t, outbox.Dead, s.outcome("k").State)
		require.Empty(t, s.dead())
		time.Sleep(25 * time.Hour)
		require.True(t, s.discard(s.die("c")))
		require.Equal(t, outbox.Status{Last: 3}, s.status())
		require.Zero(t, s.alarms())
		s.put("waits")
		require.False(t, s.discard(4))
	})
}

// Dead letters are deleted after Policy.Keep, and not counted any more.
func TestQueue_CountsDeadLettersWhileTheyAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Deliver: 1}})
		s.die("a")
		time.Sleep(12 * time.Hour)
		s.die("b")
		require.Equal(t, 2, s.status().Dead)
		time.Sleep(13 * time.Hour)
		require.Equal(t, 1, s.status().Dead)
		time.Sleep(13 * time.Hour)
		require.Equal(t, outbox.Status{Last: 2}, s.status())
	})
}
