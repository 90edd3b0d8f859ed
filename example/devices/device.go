package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
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
	reports  *atomic.Int64   // of all devices of the process
}

// OnStart binds the queue to the object.
func (d *Device) OnStart(context.Context) error {
	return d.Commands.Bind(&d.Object, outbox.Policy{TTL: time.Hour})
}

// Receive connects the device, with the tags that it names: ?tag=canary.
func (d *Device) Receive(w http.ResponseWriter, r *http.Request) error {
	tags := r.URL.Query()["tag"]
	if len(tags) > 10 || len(strings.Join(tags, "")) > 100 {
		return &dog.StatusError{Status: http.StatusBadRequest, Text: "more than 10 tags, or than 100 bytes of them"}
	}
	_, err := d.Connect(w, r, &dog.SocketOptions{Tags: tags})
	return err
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
	commands, err := d.Commands.Status()
	r := Report{Number: d.reports.Add(1), Device: d.Name(), Waiting: commands.Waiting}
	for s := range d.Sockets() {
		r.Online, r.Tags = true, s.Tags()
	}
	if err == nil {
		err = dog.CallErr(ctx, d.fleet, (*Fleet).Report, r)
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

// Waiting returns the first commands that wait.
func (d *Device) Waiting(context.Context) (first []string, err error) {
	for c, err := range d.Commands.Waiting() {
		if err != nil || len(first) == 20 {
			return first, err
		}
		first = append(first, fmt.Sprintf("%.100s", c.Body))
	}
	return first, nil
}
