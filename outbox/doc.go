// Package outbox is a durable queue of commands for a device, in the object of
// that device. A command stays in the object's storage until the device has
// acknowledged it, even while the device is away or the server is down.
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
// the device and returns it with a type, like a call.
//
// # The device
//
// A device speaks the subprotocol dog.v1. Package client and dog-commands.js
// have OnCommand, and docs/dog.v1.md describes the frames for other devices. An
// object has one device: [Queue.Attach] closes the device's older connections
// with 4001 ("replaced"). Other clients, such as a page that shows the device,
// connect to the same object without being attached.
//
// # Order
//
// Commands are numbered 1, 2, 3 and so on. A device carries them out one at a
// time, in this order. Up to [Policy].Window commands can be sent and not yet
// acknowledged. When the device cannot carry one out and asks for it again,
// those after it wait.
//
// # At least once, and exactly once
//
// A command is sent again when the device has not responded to it for
// [Policy].AckWait, and at once when the device connects again. So a device may
// get a command twice, if its reply was lost. To have each effect exactly once,
// a device stores the epoch and the number of a command together with the
// command's effect, and skips commands of that epoch up to that number. A
// command of another epoch comes from a queue with other numbers, such as one
// restored from a backup, so the device forgets its number.
//
// # The end of a command
//
// Each command has one [Outcome]:
//   - the device has done it, or has failed,
//   - its time has passed (TTL),
//   - it was delivered Policy.Deliver times without a final reply, and is a
//     dead letter,
//   - a newer command with the same [Replace] has replaced it,
//   - [Queue.Cancel] has ended it.
//
// Ask returns the outcome, and so does [Queue.Outcome] if the command has a
// [Key]. Commands that expire or become dead letters are also logged. A dead
// letter is kept for a while: [Queue.Requeue] queues it again, and
// [Queue.Discard] deletes it.
//
// # Storage
//
// A queue keeps everything in the object's storage, under keys that begin with
// "outbox/", one for each command. While it holds commands, outcomes or dead
// letters, it has an alarm named "outbox". So it survives restarts, crashes,
// eviction and hibernation, and is part of an export of the object: after an
// import, also on another server, commands wait as before and each [Key] has
// its outcome. An object has one queue, since two would have the same keys.
// Programs should not change these keys. [dog.Storage.DeleteAll] deletes the
// queue. A command with a damaged record blocks itself and all later ones: they
// are not sent and do not expire. The logged error names the key. Delete the
// key to continue.
package outbox
