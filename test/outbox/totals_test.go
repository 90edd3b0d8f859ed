package outbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
)

// status returns what the queue of the device "d" says that it holds.
func (s *site) status() (status outbox.Status) {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) (err error) {
		status, err = d.Commands.Status()
		return err
	})
	return status
}

// What a part of a handler has put is undone with that part.
func TestQueue_CountsNothingThatIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		d := s.dial()
		s.with(func(_ context.Context, d *Device) error {
			errNo := errors.New("no")
			require.ErrorIs(t, d.Storage().Transaction(func() error {
				o, err := d.Commands.Put("undone", outbox.TTL(time.Minute))
				require.NoError(t, err)
				require.EqualValues(t, 1, o.Number)
				return errNo
			}), errNo)
			status, err := d.Commands.Status()
			require.NoError(t, err)
			require.Zero(t, status)
			return nil
		})
		require.Zero(t, s.alarms())
		require.EqualValues(t, 1, s.put("kept").Number)
		require.Equal(t, outbox.Status{Last: 1, Waiting: 1, Bytes: 4}, s.status())
		require.Equal(t, 1, s.alarms())
		f := d.one()
		require.Equal(t, "kept", f.body)
		d.reply(f, "done", "")
		require.Equal(t, outbox.Status{Last: 1}, s.status())
	})
}

func TestQueue_CountsNothingThatIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("a", outbox.TTL(time.Minute))
		s.with(func(_ context.Context, d *Device) error {
			if err := d.Storage().DeleteAll(); err != nil {
				return err
			}
			status, err := d.Commands.Status()
			require.Zero(t, status)
			return err
		})
		require.EqualValues(t, 1, s.put("b").Number)
		time.Sleep(time.Hour)
		require.Equal(t, []string{"b"}, s.waiting())
	})
}

// A life that begins counts what the one before has counted, whatever that has
// done last.
func TestQueue_CountsTheSameInEachLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		begin := func() *site { return open(t, setup{store: disk, policy: outbox.Policy{Window: 2}}) }
		s := begin()
		last := uint64(0)
		check := func(waiting int) {
			t.Helper()
			before := s.status()
			require.Equal(t, waiting, before.Waiting)
			require.Len(t, s.waiting(), waiting)
			disk.Crash()
			s = begin()
			require.Equal(t, before, s.status())
			last++
			require.Equal(t, last, s.put("next").Number)
			require.Equal(t, waiting+1, s.status().Waiting)
		}
		put := func(n int, options ...outbox.Option) {
			for range n {
				last++
				require.Equal(t, last, s.put(strings.Repeat("x", int(last%7)), options...).Number)
			}
		}
		check(0)
		put(1)
		check(2)
		put(200)
		check(203)
		put(2, outbox.Replace("r"))
		check(205)
		put(1, outbox.Key("k"))
		d := s.dial()
		all := d.frames()
		require.Len(t, all, 2)
		d.reply(all[0], "done", "")
		check(206)
		put(1, outbox.Replace("r"), outbox.TTL(time.Minute))
		check(207)
		time.Sleep(time.Minute + time.Millisecond)
		check(207)
		d = s.dial()
		for frames := d.frames(); len(frames) > 0; frames = append(frames[1:], d.frames()...) {
			d.reply(frames[0], "done", "")
		}
		check(0)
		require.Equal(t, 64+1, s.status().KeptBytes)
	})
}

// The alarm is for the first command that expires, also if that one was put in
// an earlier life.
func TestQueue_CommandsOfAnEarlierLifeExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		s := open(t, setup{store: disk})
		s.put("hour", outbox.TTL(time.Hour))
		s.put("minute", outbox.TTL(time.Minute))
		disk.Crash()
		s = open(t, setup{store: disk})
		s.put("day", outbox.TTL(24*time.Hour))
		s.put("second", outbox.TTL(time.Second))
		time.Sleep(time.Second + time.Millisecond)
		require.Equal(t, []string{"hour", "minute", "day"}, s.waiting())
		time.Sleep(time.Minute)
		require.Equal(t, []string{"hour", "day"}, s.waiting())
		time.Sleep(time.Hour)
		require.Equal(t, []string{"day"}, s.waiting())
	})
}

// A device must not take a command for another one because it has replied to
// one that the queue does not know.
func TestEpoch_StaysWhenADeviceRepliesBeforeTheFirstCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		s := open(t, setup{store: disk})
		d := s.dial()
		d.reply(frame{number: 1, epoch: "aaaaaaaaaaaa"}, "done", "")
		s.put("a")
		before := d.one()
		disk.Crash()
		s = open(t, setup{store: disk})
		after := s.dial().one()
		after.left = before.left // opening the disk takes a moment
		require.Equal(t, before, after)
	})
}

// A device that comes back gets its command without a wait for the disk.
func TestAttach_SendsWithoutWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		s.put("a")
		before := s.rt.Stats().Store.Commits
		d := s.dial()
		f := d.one()
		require.Equal(t, before, s.rt.Stats().Store.Commits)
		d.reply(f, "done", "")
		require.Greater(t, s.rt.Stats().Store.Commits, before)
	})
}
