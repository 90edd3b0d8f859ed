// Package outbox is a durable queue of commands for a device, in the object of
// that device. A command waits in the object's storage, for a device that is
// away or for a server that is down, until the device itself has acknowledged
// it.
//
//	type Device struct {
//		dog.Object
//		Commands outbox.Queue
//	}
//
//	func (d *Device) OnStart(context.Context) error {
//		return d.Commands.Bind(&d.Object, outbox.Policy{})
//	}
//
//	func (d *Device) OnOpen(_ context.Context, s *dog.Socket) error {
//		return d.Commands.Attach(s)
//	}
//
//	func (d *Device) OnAlarm(ctx context.Context, a dog.Alarm) error {
//		return d.Commands.OnAlarm(ctx, a)
//	}
//
//	// Open opens a door of the device, and returns what the device replies.
//	func (d *Device) Open(ctx context.Context, door int) (string, error) {
//		command := map[string]int{"open": door}
//		return outbox.Ask[string](ctx, &d.Commands, command)
//	}
//
// [Queue.Put] queues a command and returns. [Ask] also waits for the reply of
// the device, as a call with a typed result.
//
// # The device
//
// A device speaks the subprotocol dog.v1. Package client and dog-commands.js
// have OnCommand, and docs/dog.v1.md describes the frames for other devices.
// An object has one device: [Queue.Attach] closes an older connection of it
// with 4001 ("replaced"). Other clients, such as a page that watches the
// device, connect to the same object without being attached.
//
// # Order
//
// Commands have the numbers 1, 2, 3 and so on. A device carries them out one
// at a time, in this order. Up to [Policy].Window commands that are not
// acknowledged are on their way to it at a time. When the device fails to carry
// one out and asks for it again, those after it wait.
//
// # At least once, and exactly once
//
// A command is sent again when the device has been silent about it for
// [Policy].AckWait, and at once when the device connects again. So a device
// that has carried out a command may get it again, if its reply was lost. It
// sees a double, unless it remembers the last command that it has done. One
// that stores the epoch and the number of a command together with the
// command's effect, and skips commands of that epoch up to that number, has
// each effect exactly once. A command of another epoch comes from a queue that
// does not know the device's numbers, such as one from a backup, and the device
// forgets its number.
//
// # The end of a command
//
// Each command has one [Outcome]. The device has done it or has failed; or its
// time has passed before (TTL); or it was delivered Policy.Deliver times
// without a final reply, and is a dead letter; or a newer command with the same
// [Replace] has taken its place. An outcome is returned by Ask, and by
// [Queue.Outcome] if the command has a [Key]. Commands that expire or become
// dead letters are also logged.
//
// # Storage
//
// A queue keeps everything in the object's storage, under keys that begin with
// "outbox/", one for each command, and has an alarm named "outbox" while
// something waits or is kept. So it survives restarts, crashes, eviction and
// hibernation, and is in an export of the object. An object has one queue,
// since two would have the same keys. Programs should not change these keys.
// [dog.Storage.DeleteAll] deletes the queue. A command whose record is damaged
// keeps itself and those after it from the device and from expiring: the error
// that is logged names the key, and deleting it lets the others go on.
package outbox
