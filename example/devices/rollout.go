package main

import (
	"context"
	"errors"

	"github.com/godurable/dog"
)

// step gives the next devices of the rollout their order.
func (f *Fleet) step(ctx context.Context) error {
	r, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	if err != nil {
		return err
	}
	if r.State != "running" {
		f.steps.Stop()
		return nil
	}
	given := 0
	for target, err := range f.targets().List(dog.ListOptions{}) {
		if err == nil && (target.Value != r.ID || f.begun[target.Key]) {
			continue
		}
		if err == nil {
			err = dog.Go(ctx, func(ctx context.Context) error { return f.order(ctx, target.Key, r) })
		}
		if err != nil { // to return it would undo the orders that are given
			f.Log().Warn("orders wait for the next step", "error", err)
			return nil
		}
		f.begun[target.Key] = true
		if given++; given == r.Rate {
			break
		}
	}
	return nil
}

// order has a device carry out the command of a rollout, and counts how that
// ends. After a crash or an error it is given again, and its ID makes it the
// same order. When the rollout is aborted, devices that have an order still
// carry it out, within a minute: a command cannot be withdrawn.
func (f *Fleet) order(ctx context.Context, device string, r Rollout) error {
	answer, failed := dog.Call(ctx, f.devices.Named(device), (*Device).Do, Order{r.ID, r.Command})
	if errors.Is(failed, dog.ErrShutdown) || ctx.Err() != nil {
		return nil // it will be given again
	}
	now, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	if err != nil || now.ID == r.ID {
		delete(f.begun, device) // an error from here on has it given again
	}
	if err != nil || now.ID != r.ID || now.State != "running" {
		return err
	}
	if deleted, err := f.targets().Delete(device); err != nil || deleted == 0 {
		return err
	}
	now.Left--
	if failed != nil {
		now.Failed++
		answer = "failed: " + failed.Error()
	} else {
		now.Done++
	}
	if answered := now.Done + now.Failed; answered >= 10 && 100*now.Failed >= now.Abort*answered {
		now.State = "aborted"
	}
	f.show(event{Answer: device + ": " + answer})
	return f.save(now)
}
