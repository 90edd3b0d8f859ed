package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestAttach_NewerConnectionReplacesTheOlder(t *testing.T) {
	for _, uid := range []string{"dev", ""} {
		t.Run("uid "+uid, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, setup{})
				s.put("a")
				old := s.connect(uid)
				old.Send("y")
				require.Equal(t, []string{"a"}, old.bodies())
				page := s.connect("page")
				young := s.connect(uid)
				code, reason := old.Closed()
				require.Equal(t, 4001, code)
				require.Equal(t, "replaced", reason)
				require.Empty(t, young.frames(), "it does not take commands yet")
				young.Send("y")
				require.Equal(t, []string{"a"}, young.bodies())
				young.Send("y")
				require.Empty(t, young.frames(), "it has said that already")
				page.Send("p")
				synctest.Wait()
				require.Len(t, page.Received(), 1, "it is still connected")
			})
		})
	}
}

func TestAttach_DeviceOfAnotherUIDReplacesTheOlderToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		old, young := s.connect("dev"), s.connect("spare")
		code, _ := old.Closed()
		require.Equal(t, 4001, code)
		young.Send("y")
		s.put("a")
		require.Equal(t, []string{"a"}, young.bodies())
	})
}

func TestAttach_CommandsWaitUntilTheDeviceTakesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		d := s.connect("dev")
		s.put("a")
		time.Sleep(time.Hour)
		require.Empty(t, d.frames())
		s.with(func(_ context.Context, d *Device) error {
			require.False(t, d.Commands.Connected())
			return nil
		})
		d.Send("y")
		require.Equal(t, []string{"a"}, d.bodies())
		s.with(func(_ context.Context, d *Device) error {
			require.True(t, d.Commands.Connected())
			return nil
		})
		d.Vanish()
		synctest.Wait()
		s.with(func(_ context.Context, d *Device) error {
			require.False(t, d.Commands.Connected())
			return nil
		})
	})
}

// A socket may be attached after its client has said that it takes commands.
func TestAttach_ReadyBeforeItIsAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("a")
		d := s.connect("page-or-device")
		d.Send("y")
		require.Empty(t, d.frames())
		s.with(func(_ context.Context, d *Device) error {
			for socket := range d.Sockets() {
				require.NoError(t, d.Commands.Attach(socket))
				require.NoError(t, d.Commands.Attach(socket))
			}
			return nil
		})
		require.Equal(t, []string{"a"}, d.bodies())
	})
}

// A client says that it takes commands once, so a device that is not replaced
// after all remains the device.
func TestAttach_UndoneLeavesTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t), object: dog.ObjectOptions[Device]{RollbackOnError: true}})
		d := s.dial()
		bad := s.server.DialWith("/?d=d&u=bad", dogtest.DialOptions{Subprotocols: []string{"dog.v1"}})
		code, _ := bad.Closed()
		require.Equal(t, 1011, code)
		synctest.Wait()
		s.put("a")
		require.Equal(t, []string{"a"}, d.bodies())
	})
}

// The device gets only what is stored, also if it is attached by a handler that
// is undone.
func TestAttach_SendsAfterTheHandler(t *testing.T) {
	attach := func(t *testing.T, d *Device) {
		for socket := range d.Sockets() {
			require.NoError(t, d.Commands.Attach(socket))
		}
	}
	errNo := errors.New("no")
	t.Run("part undone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, setup{})
			l := s.connect("page")
			l.Send("y")
			synctest.Wait()
			s.with(func(_ context.Context, d *Device) error {
				require.ErrorIs(t, d.Storage().Transaction(func() error {
					if _, err := d.Commands.Put("undone"); err != nil {
						return err
					}
					attach(t, d)
					return errNo
				}), errNo)
				_, err := d.Commands.Put("stored")
				return err
			})
			require.Equal(t, []string{"stored"}, l.bodies())
		})
	})
	t.Run("undone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, setup{store: dogtest.NewDisk(t), object: dog.ObjectOptions[Device]{RollbackOnError: true}})
			s.put("stored")
			l := s.connect("page")
			l.Send("y")
			synctest.Wait()
			undone := func(_ context.Context, d *Device) error {
				require.NoError(t, d.Storage().Put("x", nil))
				attach(t, d)
				return errNo
			}
			require.ErrorIs(t, dog.CallErr(t.Context(), s.devices.Named("d"), (*Device).With, undone), errNo)
			require.Equal(t, []string{"stored"}, l.bodies())
		})
	})
}

// What a replaced connection has said before may be handled afterwards.
func TestAttach_ReplacedConnectionIsNotTheDeviceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t)})
		old, young := s.connect("page-old"), s.connect("page-young")
		young.Send("y")
		s.with(func(_ context.Context, d *Device) error {
			for socket := range d.SocketsOf("page-old") {
				require.NoError(t, d.Commands.Attach(socket))
			}
			old.Send("y")
			synctest.Wait()
			if _, err := d.Commands.Put("a"); err != nil { // the close waits for it
				return err
			}
			for socket := range d.SocketsOf("page-young") {
				require.NoError(t, d.Commands.Attach(socket))
			}
			return nil
		})
		f := young.one()
		require.Equal(t, "a", f.body)
		young.reply(f, "done", "")
		s.put("b")
		require.Equal(t, []string{"b"}, young.bodies())
	})
}

func TestAttach_ClientMustSpeakDogV1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		c := s.server.Dial("/?d=d&u=dev")
		code, _ := c.Closed()
		require.Equal(t, 1011, code)
		s.server.Dial("/?d=d&u=page")
		s.with(func(_ context.Context, d *Device) error {
			for socket := range d.Sockets() {
				fixture.RequireUsage(t, d.Commands.Attach(socket), "does not speak dog.v1")
			}
			fixture.RequireUsage(t, d.Commands.Attach(nil), "nil")
			return nil
		})
	})
}

func TestQueue_HibernatesWithItsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		s := open(t, setup{
			store: dogtest.NewDisk(t), object: dog.ObjectOptions[Device]{Hibernate: true},
			options: dog.Options{Trace: &dog.Trace{ObjectStarted: func(dog.ObjectInfo) { starts++ }}},
		})
		d := s.dial()
		s.put("a")
		d.reply(d.one(), "done", "")
		time.Sleep(time.Hour)
		before := starts
		s.put("b")
		synctest.Wait() // until the trace is told
		require.Equal(t, before+1, starts, "it has slept")
		f := d.one()
		require.Equal(t, "b", f.body)
		d.reply(f, "done", "")
		require.Empty(t, s.waiting())
		time.Sleep(time.Hour)
		d.Send("y")
		s.put("c")
		require.Equal(t, []string{"c"}, d.bodies())
	})
}

// A device for which nothing waits has no alarm, and its object leaves memory.
func TestQueue_IdleDevicesHaveNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{store: dogtest.NewDisk(t), policy: outbox.Policy{Keep: time.Hour}})
		d := s.dial()
		require.Zero(t, s.alarms())
		s.put("a")
		require.Equal(t, 1, s.alarms())
		d.reply(d.one(), "done", "")
		require.Zero(t, s.alarms())

		s.put("b", outbox.Key("k"))
		d.reply(d.one(), "done", "")
		require.Equal(t, 1, s.alarms(), "the outcome is kept")
		time.Sleep(2 * time.Hour)
		require.Zero(t, s.alarms())
		s.with(func(_ context.Context, d *Device) error {
			_, found, err := d.Commands.Outcome("k")
			require.False(t, found)
			status, _ := d.Commands.Status()
			require.Equal(t, outbox.Status{Last: 2}, status)
			return err
		})
		d.Close(1000, "")
		time.Sleep(time.Hour)
		require.Empty(t, slices.Collect(s.devices.Objects()))
	})
}

// A fleet whose commands are done has no alarms, but one for each outcome that
// is kept.
func TestQueue_IdleFleetHasNoAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = 1000
		s := open(t, setup{})
		ends := make([]*dogtest.Client, devices)
		for i := range ends {
			device := strconv.Itoa(i)
			options := []outbox.Option{outbox.Key("k")}[:i%2] // of each second device
			_, err := dog.Call(t.Context(), s.devices.Named(device), (*Device).Put, command{"a", options})
			require.NoError(t, err)
			ends[i] = s.server.DialWith("/?u=dev&d="+device, dogtest.DialOptions{Subprotocols: []string{"dog.v1"}})
			ends[i].Send("y")
		}
		due := func() (n int) {
			for i := range devices {
				n += s.alarmsOf(strconv.Itoa(i))
			}
			return n
		}
		synctest.Wait()
		require.Equal(t, devices, due())
		for _, end := range ends {
			for _, f := range framesOf(t, end.Received()) {
				end.Send(fmt.Sprintf("r%d %s done\n", f.number, f.epoch))
			}
		}
		synctest.Wait()
		require.Equal(t, devices/2, due())
		for _, end := range ends { // whose pings would take most of the test's time
			end.Vanish()
		}
		time.Sleep(26 * time.Hour)
		require.Zero(t, due())
		before := s.rt.Stats().Alarms.Runs
		time.Sleep(26 * time.Hour)
		require.Equal(t, before, s.rt.Stats().Alarms.Runs)
	})
}
