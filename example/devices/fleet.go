package main

import (
	"context"
	"time"

	"github.com/godurable/dog"
)

// Fleet is the object that knows all devices. Its sockets are those of the
// operators' pages.
type Fleet struct {
	dog.Object
	devices *dog.Namespace[Device]
	process string     // the ID of this process
	next    []target   // of the rollout, which are to get their order
	steps   *dog.Timer // of the rollout
}

// Report is how a device is.
type Report struct {
	Number  int64 // of the reports of the process, which may arrive in another order
	Device  string
	Online  bool
	Tags    []string `json:",omitempty"` // none if it is not online
	Waiting int      // commands
}

// Row is what is stored and shown of a device.
type Row struct {
	Report            // the newest, with the tags of the latest connection
	Process string    // from which that is
	Since   time.Time `json:",omitzero"` // when the device connected; zero: it is away
	Last    time.Time // when it was last seen
	Order   string    `json:",omitempty"` // the ID of the latest rollout to it
	State   string    `json:",omitempty"` // of the order: "" (not given), ordered, done or failed
	Answer  string    `json:",omitempty"` // to the order, or why it has failed
}

// An event is what pages get.
type event struct {
	Fresh   bool     `json:",omitempty"` // the page forgets what it knows
	Rows    []Row    `json:",omitempty"`
	Rollout *Rollout `json:",omitempty"`
	Removed string   `json:",omitempty"` // a device
	Listed  string   `json:",omitempty"` // a device
	Waiting []string `json:",omitempty"` // its first commands
	Refused string   `json:",omitempty"`
}

func (f *Fleet) seen() dog.Map[Row] { return dog.MapOf[Row](f.Storage(), "seen/") }

// OnStart goes on with the rollout that was under way.
func (f *Fleet) OnStart(context.Context) error {
	r, err := f.rollout()
	if err != nil || r.Left == 0 {
		return err
	}
	for seen, err := range f.seen().List(dog.ListOptions{}) {
		if err != nil {
			return err
		}
		if r.waitsFor(seen.Value) {
			f.next = append(f.next, target{seen.Key, seen.Value.State != ""})
		}
	}
	f.steps = f.Every(time.Second, f.step)
	return nil
}

// OnOpen sends a page everything, in events of a size that a socket takes.
func (f *Fleet) OnOpen(_ context.Context, s *dog.Socket) error {
	r, err := f.rollout()
	if err != nil {
		return err
	}
	all := event{Fresh: true, Rollout: &r}
	for seen, err := range f.seen().List(dog.ListOptions{}) {
		if err != nil {
			return err
		}
		if all.Rows = append(all.Rows, f.shown(seen.Value)); len(all.Rows) == 200 {
			if err := s.Send(all); err != nil {
				return err
			}
			all = event{}
		}
	}
	return s.Send(all)
}

// shown returns a row as it is now: connections end with their process.
func (f *Fleet) shown(r Row) Row {
	if r.Process != f.process {
		r.Online, r.Since = false, time.Time{}
	}
	return r
}

// show sends an event to all pages. What has happened stays if that fails.
func (f *Fleet) show(e event, options ...dog.SendOption) {
	if err := f.Broadcast(e, options...); err != nil {
		f.Log().Error("the pages have missed an event", "error", err)
	}
}

// Report stores how a device is, and shows it to all pages. A device becomes
// known when it connects.
func (f *Fleet) Report(_ context.Context, r Report) error {
	old, known, err := f.seen().Get(r.Device)
	if err != nil || !known && !r.Online || old.Process == f.process && r.Number < old.Number {
		return err
	}
	row := f.shown(old)
	if r.Online || row.Online {
		row.Last = time.Now()
	}
	if !r.Online {
		r.Tags, row.Since = row.Tags, time.Time{}
	} else if !row.Online {
		row.Since = row.Last
	}
	row.Report, row.Process = r, f.process
	if err := f.seen().Put(r.Device, row); err != nil {
		return err
	}
	f.show(event{Rows: []Row{row}}, dog.Coalesce(r.Device))
	return nil
}
