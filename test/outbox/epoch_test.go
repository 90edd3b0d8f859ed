package outbox_test

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
)

// Numbers begin again, so a device must not skip them.
func TestEpoch_ChangesWhenTheProgramDeletesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		d := s.dial()
		s.put("a")
		before := d.one()
		s.with(func(_ context.Context, d *Device) error {
			if err := d.Storage().DeleteAll(); err != nil {
				return err
			}
			_, err := d.Commands.Put("b")
			return err
		})
		after := d.one()
		require.Equal(t, before.number, after.number)
		require.NotEqual(t, before.epoch, after.epoch)
		d.reply(before, "done", "")
		require.Equal(t, []string{"b"}, s.waiting(), "the reply was to the other one")
		d.reply(after, "done", "")
		require.Empty(t, s.waiting())
	})
}

// The numbers of askers are those of other commands in another epoch.
func TestEpoch_AskersOfBeforeAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		askNew := func() (old, young <-chan answer) {
			old = s.ask(time.Hour, "old")
			s.with(func(_ context.Context, d *Device) error { return d.Storage().DeleteAll() })
			return old, s.ask(0, "young")
		}
		old, young := askNew() // the device is away
		require.Equal(t, outbox.ErrDeleted, (<-old).err)
		d := s.dial()
		d.reply(d.one(), "done", "of young")
		require.Equal(t, answer{"of young", nil}, <-young)

		old, young = askNew()
		require.Equal(t, outbox.ErrDeleted, (<-old).err)
		f := d.frames()[1]
		require.Equal(t, 1, f.number)
		d.reply(f, "done", "of young")
		require.Equal(t, answer{"of young", nil}, <-young)

		d.Vanish()
		old = s.ask(time.Hour, "old")
		s.with(func(_ context.Context, d *Device) error { return d.Storage().DeleteAll() })
		s.dial()
		require.Equal(t, outbox.ErrDeleted, (<-old).err)
	})
}

// The number of a command whose asker goes may be that of another one.
func TestEpoch_AskerOfBeforeTakesNothingWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := dog.Call(ctx, s.devices.Named("d"), (*Device).Ask, command{body: "old"})
			ended <- err
		}()
		synctest.Wait()
		s.with(func(_ context.Context, d *Device) error {
			cancel()
			if err := d.Storage().DeleteAll(); err != nil {
				return err
			}
			_, err := d.Commands.Put("young")
			return err
		})
		require.Error(t, <-ended)
		synctest.Wait()
		require.Equal(t, []string{"young"}, s.waiting())
	})
}

func TestEpoch_ChangesWithAnImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		d := s.dial()
		s.put("a")
		before := d.one()
		file := filepath.Join(t.TempDir(), "device")
		stub := s.devices.Named("d")
		require.NoError(t, stub.Export(t.Context(), file))
		d.reply(before, "done", "")
		s.put("b")
		require.Equal(t, 2, d.one().number)
		require.NoError(t, stub.Delete(t.Context()))
		require.NoError(t, stub.Import(t.Context(), file))
		d = s.dial()
		f := d.one()
		require.Equal(t, "a", f.body)
		require.NotEqual(t, before.epoch, f.epoch)
		d.reply(f, "done", "")
		s.put("c")
		f = d.one()
		require.Equal(t, 2, f.number)
		require.Equal(t, "c", f.body)
	})
}

// A key finds its command in the imported object, whether it waits or is over.
func TestAsk_ContinuesAfterAnImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		move := func() {
			file := filepath.Join(t.TempDir(), "device")
			stub := s.devices.Named("d")
			require.NoError(t, stub.Export(t.Context(), file))
			require.NoError(t, stub.Delete(t.Context()))
			require.NoError(t, stub.Import(t.Context(), file))
		}
		ask := func() <-chan answer { return s.ask(time.Hour, "open", outbox.Key("k")) }
		first := ask()
		move()
		require.ErrorIs(t, (<-first).err, dog.ErrReset)
		again := ask()
		require.Equal(t, []string{"open"}, s.waiting())
		d := s.dial()
		d.reply(d.one(), "done", "opened")
		require.Equal(t, answer{"opened", nil}, <-again)
		move()
		require.Equal(t, answer{"opened", nil}, <-ask())
		require.Empty(t, s.dial().frames())
	})
}

func TestEpoch_ChangesWithABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		d := s.dial()
		s.put("a")
		before := d.one()
		dir := filepath.Join(t.TempDir(), "backup")
		require.NoError(t, s.rt.Backup(t.Context(), dir))
		copied := open(t, setup{store: disk.At(dir)})
		d = copied.dial()
		after := d.one()
		require.Equal(t, "a", after.body)
		require.NotEqual(t, before.epoch, after.epoch)
	})
}
