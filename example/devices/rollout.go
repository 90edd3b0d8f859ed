package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/godurable/dog"
)

// Rollout is a command for devices.
type Rollout struct {
	ID, Command        string
	To                 string // a name, north-* for names that begin so, or #canary for a tag
	Rate               int    // devices a second, 1 to 1000
	Abort              int    // percent of failures at which it ends
	Left, Done, Failed int    // devices
	Spared             int    // devices that had no order when it was ended
	State              string // running, done, aborted or stopped; "": there was none
}

// A target is a device that is to get its order.
type target struct {
	device  string
	ordered bool // it may have it already, and gets it again
}

// rollout returns the latest rollout.
func (f *Fleet) rollout() (Rollout, error) {
	r, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	return r, err
}

// includes reports whether a rollout is for a device.
func (r Rollout) includes(row Row) bool {
	if tag, ok := strings.CutPrefix(r.To, "#"); ok {
		return slices.Contains(row.Tags, tag)
	}
	if prefix, ok := strings.CutSuffix(r.To, "*"); ok {
		return strings.HasPrefix(row.Device, prefix)
	}
	return row.Device == r.To
}

// waitsFor reports whether a rollout has an order for a device, which has not
// answered yet.
func (r Rollout) waitsFor(row Row) bool {
	return row.Order == r.ID && (row.State == "ordered" || row.State == "" && r.State == "running")
}

// start begins a rollout.
func (f *Fleet) start(r Rollout) error {
	if r.Command == "" || r.Rate < 1 || r.Rate > 1000 || r.Abort < 1 {
		return refusal("a rollout needs a command, a rate of 1 to 1,000 and a limit of failures")
	}
	r = Rollout{ID: uuid.NewString(), Command: r.Command, To: r.To, Rate: r.Rate, Abort: r.Abort, State: "running"}
	var next []target
	var rows []Row
	for seen, err := range f.seen().List(dog.ListOptions{}) {
		if err != nil {
			return err
		}
		if row := seen.Value; r.includes(row) {
			row.Order, row.State, row.Answer = r.ID, "", ""
			if err := f.seen().Put(seen.Key, row); err != nil {
				return err
			}
			next = append(next, target{device: seen.Key})
			rows = append(rows, f.shown(row))
		}
	}
	if len(next) == 0 {
		return refusal(fmt.Sprintf("there is no device %.80q", r.To))
	}
	r.Left = len(next)
	if err := f.save(r, rows...); err != nil {
		return err
	}
	f.next = next
	f.steps.Stop()
	f.steps = f.Every(time.Second, f.step)
	return nil
}

// end ends a rollout for the devices that have no order. The others still carry
// it out, within a minute: outbox.Queue.Cancel could stop only those that are
// away.
func (f *Fleet) end(r Rollout, state string, rows ...Row) error {
	ordered := slices.DeleteFunc(slices.Clone(f.next), func(t target) bool { return !t.ordered })
	r.State, r.Spared = state, len(f.next)-len(ordered)
	r.Left -= r.Spared
	err := f.save(r, rows...)
	if err == nil {
		f.next = ordered
	}
	return err
}

// save stores the rollout, which is done when nothing of it is left, and shows
// it with rows that have changed.
func (f *Fleet) save(r Rollout, rows ...Row) error {
	if r.State == "running" && r.Left == 0 {
		r.State = "done"
	}
	if err := dog.Put(f.Storage(), "rollout", r); err != nil {
		return err
	}
	f.show(event{Rollout: &r, Rows: rows})
	return nil
}

// step gives the next devices of the rollout their order.
func (f *Fleet) step(ctx context.Context) error {
	r, err := f.rollout()
	if err != nil {
		return err
	}
	if r.Left == 0 {
		f.steps.Stop()
		return nil
	}
	for given := 0; given < r.Rate && len(f.next) > 0; given++ {
		device := f.next[0].device
		_, err := f.seen().Update(device, func(row Row) (Row, error) {
			row.State = "ordered"
			return row, nil
		})
		if err == nil {
			f.next[0].ordered = true
			err = dog.Go(ctx, func(ctx context.Context) error { return f.order(ctx, device, r) })
		}
		if err != nil { // to return it would undo the orders that are given
			f.Log().Warn("orders wait for the next step", "error", err)
			return nil
		}
		f.next = f.next[1:]
	}
	return nil
}

// order has a device carry out the command of a rollout. After a crash or an
// error it is given again, and its ID makes it the same order.
func (f *Fleet) order(ctx context.Context, device string, r Rollout) error {
	answer, failed := dog.Call(ctx, f.devices.Named(device), (*Device).Do, Order{r.ID, r.Command})
	if errors.Is(failed, dog.ErrShutdown) || ctx.Err() != nil {
		return nil // it is given again after the next start
	}
	err := failed
	if !errors.Is(failed, dog.ErrReset) {
		err = f.count(device, r.ID, answer, failed)
	}
	if err != nil {
		f.next = append(f.next, target{device, true})
	}
	return err
}

// count counts how the order of a device has ended.
func (f *Fleet) count(device, order, answer string, failed error) error {
	r, err := f.rollout()
	if err != nil {
		return err
	}
	row, _, err := f.seen().Get(device)
	if err != nil || row.Order != order || row.State == "done" || row.State == "failed" {
		return err
	}
	state, number := "done", &r.Done
	if failed != nil {
		state, number, answer = "failed", &r.Failed, failed.Error()
	}
	if r.ID == order { // otherwise a later rollout has taken its place
		r.Left--
		*number++
	}
	row.State = state
	row.Answer = fmt.Sprintf("%.200s", answer)
	if err := f.seen().Put(device, row); err != nil {
		return err
	}
	row = f.shown(row)
	if answered := r.Done + r.Failed; r.State == "running" && answered >= 10 && 100*r.Failed >= r.Abort*answered {
		return f.end(r, "aborted", row)
	}
	return f.save(r, row)
}
