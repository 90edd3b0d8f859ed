package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/godurable/dog"
)

// An action is what an operator does on the page.
type action struct {
	Do      string // start or stop a rollout; list what waits for a device, or remove the device
	Device  string
	Rollout // to start
}

// A refusal is why an operator cannot do something.
type refusal string

func (r refusal) Error() string { return string(r) }

// OnMessage does what an operator does, or refuses it.
func (f *Fleet) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	var a action
	r, err := f.rollout()
	if err != nil {
		return err
	}
	switch bad := m.Decode(&a); {
	case bad != nil:
		err = refusal("the page has sent nonsense")
	case a.Do == "start" && r.State == "running":
		err = refusal("another rollout is running")
	case a.Do == "start":
		err = f.start(a.Rollout)
	case a.Do == "stop" && r.State == "running":
		err = f.end(r, "stopped")
	case a.Do == "list":
		err = f.list(ctx, s, a.Device)
	case a.Do == "remove":
		err = f.remove(ctx, a.Device)
	}
	if refused, ok := errors.AsType[refusal](err); ok {
		return s.Send(event{Refused: string(refused)})
	}
	return err
}

// list sends a page what waits for a device.
func (f *Fleet) list(ctx context.Context, s *dog.Socket, device string) error {
	waiting, err := dog.Call0(ctx, f.devices.Named(device), (*Device).Waiting)
	if err != nil {
		return err
	}
	return s.Send(event{Listed: device, Waiting: waiting})
}

// remove deletes what is stored of a device.
func (f *Fleet) remove(ctx context.Context, device string) error {
	if err := f.unused(device); err != nil {
		return err
	}
	if err := f.devices.Named(device).Delete(ctx); err != nil {
		return err
	}
	if err := f.unused(device); err != nil { // it has just come back
		return err
	}
	if _, err := f.seen().Delete(device); err != nil {
		return err
	}
	f.show(event{Removed: device})
	return nil
}

// unused refuses to remove a device that would come back at once.
func (f *Fleet) unused(device string) error {
	row, known, err := f.seen().Get(device)
	if err != nil {
		return err
	}
	r, err := f.rollout()
	switch {
	case err != nil:
		return err
	case !known:
		return refusal(fmt.Sprintf("there is no device %.80q", device))
	case f.shown(row).Online || r.waitsFor(row):
		return refusal(device + " is connected, or has an order")
	}
	return nil
}
