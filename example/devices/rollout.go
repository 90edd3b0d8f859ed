package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/godurable/dog"
)

// step gives the next devices of the rollout their order.
func (f *Fleet) step(ctx context.Context) error {
	r, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	if err != nil || r.State != "running" {
		f.steps.Stop()
		return err
	}
	given := 0
	for target, err := range f.targets().List(dog.ListOptions{}) {
		if err != nil {
			return err
		}
		if f.begun[target.Key] {
			continue
		}
		f.begun[target.Key] = true
		if err := dog.Go(ctx, func(ctx context.Context) error { return f.order(ctx, target.Key, r) }); err != nil {
			return err
		}
		if given++; given == r.Rate {
			break
		}
	}
	return nil
}

// order has a device carry out the command of a rollout, and counts how that
// ends. After a crash it is given again, and its ID makes it the same order.
func (f *Fleet) order(ctx context.Context, device string, r Rollout) error {
	answer, failed := dog.Call(ctx, f.devices.Named(device), (*Device).Do, Order{r.ID, r.Command})
	if errors.Is(failed, dog.ErrShutdown) || ctx.Err() != nil {
		return nil // it will be given again
	}
	now, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	if err != nil || now.ID != r.ID || now.State != "running" {
		return err
	}
	if _, err := f.targets().Delete(device); err != nil {
		return err
	}
	text := fmt.Sprintf("%s: %s", device, answer)
	now.Left--
	if failed != nil {
		now.Failed++
		text = fmt.Sprintf("%s has failed: %v", device, failed)
	} else {
		now.Done++
	}
	if answered := now.Done + now.Failed; answered >= 10 && 100*now.Failed >= now.Abort*answered {
		now.State = "aborted"
		if err := f.forget(); err != nil {
			return err
		}
	}
	if err := f.Broadcast(event{Answer: text}); err != nil {
		return err
	}
	return f.save(now)
}

// forget deletes what is left of a rollout that is aborted.
func (f *Fleet) forget() error {
	var left []string
	for target, err := range f.targets().List(dog.ListOptions{}) {
		if err != nil {
			return err
		}
		left = append(left, target.Key)
	}
	_, err := f.targets().Delete(left...)
	return err
}
