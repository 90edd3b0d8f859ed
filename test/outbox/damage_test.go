package outbox_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

// An import may bring anything.
func TestQueue_TellsDamagedRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("body", outbox.Key("key"), outbox.Replace("name"))
		s.with(func(_ context.Context, d *Device) error {
			const key = "outbox/c/00000000000001"
			whole, found, err := d.Storage().Get(key)
			require.NoError(t, err)
			require.True(t, found)
			damage := [][]byte{
				nil, {2, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 'k'},
				{0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'k'},
				{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
			}
			for i := range len(whole) - len("body") {
				damage = append(damage, whole[:i])
			}
			for _, data := range damage {
				require.NoError(t, d.Storage().Put(key, data))
				for _, err := range d.Commands.Waiting() {
					require.ErrorContains(t, err, "not a command", "%q", data)
				}
			}
			return d.Storage().Put(key, whole)
		})
		require.Equal(t, []string{"body"}, s.waiting())
	})
}

// A damaged command stops the device, and nobody else. Its key is told once.
func TestQueue_GoesOnAroundADamagedCommand(t *testing.T) {
	for _, at := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			options, log := fixture.LogToBuffer()
			disk := dogtest.NewDisk(t)
			s := open(t, setup{store: disk})
			s.put("a")
			s.put("b")
			key := "outbox/c/0000000000000" + string(rune('0'+at))
			s.with(func(_ context.Context, d *Device) error { return d.Storage().Put(key, []byte{9}) })
			disk.Crash()
			s = open(t, setup{store: disk, options: options, policy: outbox.Policy{Window: 2}})
			require.EqualValues(t, 3, s.put("c").Number)
			require.Equal(t, 3, s.status().Waiting)
			l := s.dial()
			if at == 2 {
				l.reply(l.one(), "done", "")
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, 1, strings.Count(log.String(), "commands wait"), log)
			require.Contains(t, log.String(), key)
			s.with(func(_ context.Context, d *Device) error {
				_, err := d.Storage().Delete(key)
				return err
			})
			time.Sleep(time.Second)
			for _, f := range l.frames() {
				l.reply(f, "done", "")
			}
			require.Equal(t, outbox.Status{Last: 3}, s.status())
			time.Sleep(24 * time.Hour)
			require.Zero(t, s.alarms())
		})
	}
}

// clearKeys deletes all keys of the device "d", which DeleteAll should do.
func (s *site) clearKeys() {
	s.t.Helper()
	s.with(func(_ context.Context, d *Device) error {
		for e, err := range d.Storage().List(dog.ListOptions{}) {
			if err != nil {
				return err
			}
			if _, err := d.Storage().Delete(e.Key); err != nil {
				return err
			}
		}
		return nil
	})
}

// A program may delete the keys that it finds.
func TestQueue_SendsWhatIsPutAfterItsKeysAreDeleted(t *testing.T) {
	for _, crash := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := dogtest.NewDisk(t)
			s := open(t, setup{store: disk})
			s.put("a")
			s.clearKeys()
			s.put("b")
			if crash {
				disk.Crash()
				s = open(t, setup{store: disk})
				require.Equal(t, outbox.Status{Last: 2, Waiting: 1, Bytes: 1}, s.status())
			}
			l := s.dial()
			l.reply(l.one(), "done", "")
			require.Equal(t, outbox.Status{Last: 2}, s.status())
			require.EqualValues(t, 3, s.put("c").Number)
			require.Equal(t, "c", l.one().body)
		})
	}
}

// The sweep counts what is there, so a queue whose keys were deleted has room.
func TestQueue_HasRoomAgainAfterItsKeysAreDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Waiting: 2, KeepBytes: 100, TTL: time.Hour}})
		l := s.dial()
		for _, key := range []string{"a", "b"} {
			s.put("x", outbox.Key(key))
			l.reply(l.one(), "done", "reply")
		}
		l.Vanish()
		s.connect("page") // which keeps the object in memory
		time.Sleep(25 * time.Hour)
		s.put("x")
		s.put("x", outbox.TTL(2*time.Hour))
		synctest.Wait() // until it has found that the device has gone, and looks no more at what waits
		s.clearKeys()
		_, err := s.tryPut("more")
		require.ErrorIs(t, err, outbox.ErrFull)
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		require.Equal(t, outbox.Status{Last: 4}, s.status())
		s.put("more")
	})
}

// What is not counted is found by the next life, whatever has made it so.
func TestQueue_FindsCommandsThatAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		s.put("a")
		s.put("b")
		s.with(func(_ context.Context, d *Device) error {
			return d.Storage().Put("outbox/queue", []byte(`{"last":2}`))
		})
		file := filepath.Join(t.TempDir(), "device")
		stub := s.devices.Named("d")
		require.NoError(t, stub.Export(t.Context(), file))
		require.NoError(t, stub.Delete(t.Context()))
		require.NoError(t, stub.Import(t.Context(), file))
		l := s.dial()
		for _, body := range []string{"a", "b"} {
			f := l.one()
			require.Equal(t, body, f.body)
			l.reply(f, "done", "")
		}
		require.Equal(t, outbox.Status{Last: 2}, s.status())
	})
}

// A life counts commands that no totals count yet, also from an import.
func TestQueue_CountsWhatIsImported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		for range 70 {
			s.put("a", outbox.TTL(time.Hour))
		}
		before := s.status()
		file := filepath.Join(t.TempDir(), "device")
		stub := s.devices.Named("d")
		require.NoError(t, stub.Export(t.Context(), file))
		require.NoError(t, stub.Delete(t.Context()))
		require.Zero(t, s.status())
		require.NoError(t, stub.Import(t.Context(), file))
		require.Equal(t, before, s.status())
		require.EqualValues(t, 71, s.put("b").Number)
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		require.Equal(t, []string{"b"}, s.waiting())
	})
}
