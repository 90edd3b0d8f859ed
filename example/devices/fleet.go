package main

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/godurable/dog"
)

// Fleet is the object that knows all devices. Its sockets are those of the
// operators' pages.
type Fleet struct {
	dog.Object
	devices *dog.Namespace[Device]
	process string          // the ID of this process
	begun   map[string]bool // devices that have their order of the rollout
	steps   *dog.Timer      // of the rollout
}

// Report is how a device is.
type Report struct {
	Device  string
	Online  bool
	Waiting int // commands
}

// Row is what is stored and shown of a device.
type Row struct {
	Device  string
	Since   time.Time `json:",omitzero"` // when it connected; zero: it is away
	Process string    // to which it connected
	Last    time.Time // when it was last seen
	Waiting int
}

// Rollout is a command for all devices whose names begin with To.
type Rollout struct {
	ID, Command, To    string
	Rate               int    // devices a second, 1 to 1000
	Abort              int    // percent of failures at which it ends
	Left, Done, Failed int    // devices
	State              string // running, done or aborted
}

// An event is what pages get.
type event struct {
	Rows    []Row    `json:",omitempty"`
	Rollout *Rollout `json:",omitempty"`
	Answer  string   `json:",omitempty"`
	Refused string   `json:",omitempty"`
}

func (f *Fleet) seen() dog.Map[Row]       { return dog.MapOf[Row](f.Storage(), "seen/") }
func (f *Fleet) targets() dog.Map[string] { return dog.MapOf[string](f.Storage(), "target/") }

// OnStart goes on with the rollout that was under way.
func (f *Fleet) OnStart(context.Context) error {
	f.begun = make(map[string]bool)
	r, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	if err == nil && r.State == "running" {
		f.steps = f.Every(time.Second, f.step)
	}
	return err
}

// OnOpen sends a page everything, in events of a size that a socket takes.
func (f *Fleet) OnOpen(_ context.Context, s *dog.Socket) error {
	var all event
	for seen, err := range f.seen().List(dog.ListOptions{}) {
		if err != nil {
			return err
		}
		if all.Rows = append(all.Rows, f.shown(seen.Value)); len(all.Rows) == 200 {
			if err := s.Send(all); err != nil {
				return err
			}
			all.Rows = nil
		}
	}
	if r, found, err := dog.Get[Rollout](f.Storage(), "rollout"); err != nil {
		return err
	} else if found {
		all.Rollout = &r
	}
	return s.Send(all)
}

// shown returns a row as it is now: connections end with their process.
func (f *Fleet) shown(r Row) Row {
	if r.Process != f.process {
		r.Since = time.Time{}
	}
	return r
}

// show sends an event to all pages. What has happened stays if that fails.
func (f *Fleet) show(e event, options ...dog.SendOption) {
	if err := f.Broadcast(e, options...); err != nil {
		f.Log().Error("the pages have missed an event", "error", err)
	}
}

// Report stores how a device is, and shows it to all pages.
func (f *Fleet) Report(_ context.Context, r Report) error {
	row, _, err := f.seen().Get(r.Device)
	if err != nil {
		return err
	}
	row = f.shown(row)
	if r.Online || !row.Since.IsZero() {
		row.Last = time.Now()
	}
	if !r.Online {
		row.Since = time.Time{}
	} else if row.Since.IsZero() {
		row.Since = row.Last
	}
	row = Row{r.Device, row.Since, f.process, row.Last, r.Waiting}
	if err := f.seen().Put(r.Device, row); err != nil {
		return err
	}
	f.show(event{Rows: []Row{row}}, dog.Coalesce(r.Device))
	return nil
}

// OnMessage begins a rollout for a page, unless one is running.
func (f *Fleet) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	var r Rollout
	old, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	switch bad := m.Decode(&r); {
	case err != nil:
		return err
	case bad != nil || r.Command == "" || r.Rate < 1 || r.Rate > 1000 || r.Abort < 1:
		return s.Send(event{Refused: "a rollout needs a command, a rate of 1 to 1,000 and a limit of failures"})
	case old.State == "running":
		return s.Send(event{Refused: "another rollout is running"})
	}
	r = Rollout{ID: uuid.NewString(), Command: r.Command, To: r.To, Rate: r.Rate, Abort: r.Abort, State: "running"}
	for seen, err := range f.seen().List(dog.ListOptions{Prefix: r.To}) {
		if err != nil {
			return err
		}
		if err := f.targets().Put(seen.Key, r.ID); err != nil {
			return err
		}
		r.Left++
	}
	clear(f.begun)
	f.steps.Stop()
	f.steps = f.Every(time.Second, f.step)
	return f.save(r)
}

// save stores the rollout, which ends when nothing is left of it, and shows it.
func (f *Fleet) save(r Rollout) error {
	if r.State == "running" && r.Left == 0 {
		r.State = "done"
	}
	if err := dog.Put(f.Storage(), "rollout", r); err != nil {
		return err
	}
	f.show(event{Rollout: &r})
	return nil
}
