package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/outbox"
)

// Device is the object of a device. It exists whether the device is connected
// or not, and keeps the commands that wait for it.
type Device struct {
	dog.Object
	Commands outbox.Queue
	fleet    dog.Stub[Fleet] // hears of everything that changes
}

// OnStart binds the queue to the object.
func (d *Device) OnStart(context.Context) error {
	return d.Commands.Bind(&d.Object, outbox.Policy{TTL: time.Hour})
}

// OnOpen sends the device what waits for it.
func (d *Device) OnOpen(ctx context.Context, s *dog.Socket) error {
	err := d.Commands.Attach(s)
	d.report(ctx)
	return err
}

// OnClose reports that the device is gone, unless it has connected again.
func (d *Device) OnClose(ctx context.Context, _ *dog.Socket, _ int, _ string) error {
	d.report(ctx)
	return nil
}

// OnAlarm lets commands expire.
func (d *Device) OnAlarm(ctx context.Context, a dog.Alarm) error {
	err := d.Commands.OnAlarm(ctx, a)
	d.report(ctx)
	return err
}

// report sends the state of the device to the fleet. The device works without
// it: an error is only logged, and the next report mends what the page shows.
func (d *Device) report(ctx context.Context) {
	online := len(slices.Collect(d.Sockets())) > 0
	commands, err := d.Commands.Status()
	if err == nil {
		err = dog.CallErr(ctx, d.fleet, (*Fleet).Report, Report{d.Name(), online, commands.Waiting})
	}
	if err != nil && !errors.Is(err, dog.ErrShutdown) {
		d.Log().Error("the fleet has missed a report", "error", err)
	}
}

// An Order is a command for a device. Its ID makes it one that is carried out
// once, however often it is given.
type Order struct{ ID, Command string }

// Do has the device carry out an order, and returns what the device says. The
// order waits for a minute if the device is away.
func (d *Device) Do(ctx context.Context, o Order) (string, error) {
	options := []outbox.Option{outbox.Key(o.ID), outbox.TTL(time.Minute)}
	if _, err := d.Commands.Put(o.Command, options...); err != nil {
		return "", err
	}
	d.report(ctx)
	answer, err := outbox.Ask[string](ctx, &d.Commands, o.Command, options...)
	d.report(ctx)
	return answer, err
}
