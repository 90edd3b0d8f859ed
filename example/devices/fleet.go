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
	online  map[string]time.Time // since when. In memory: after a crash all connect again
	begun   map[string]bool      // devices whose order of the rollout was given
	steps   *dog.Timer           // of the rollout
}

// Report is how a device is.
type Report struct {
	Device  string
	Online  bool
	Waiting int // commands
}

// Seen is what is stored of a device.
type Seen struct {
	Last    time.Time // when it connected or was last connected
	Waiting int
}

// Row is what a page shows of a device.
type Row struct {
	Device  string
	Since   time.Time `json:",omitzero"` // zero: it is away
	Last    time.Time
	Waiting int
}

// Rollout is a command for all devices whose names begin with To.
type Rollout struct {
	ID, Command, To string
	Rate            int // devices a second
	Abort           int // percent of failures at which it ends
	Left            int // devices that have not answered
	Done, Failed    int
	State           string // running, done or aborted
}

// An event is what pages get.
type event struct {
	Rows    []Row    `json:",omitempty"`
	Rollout *Rollout `json:",omitempty"`
	Answer  string   `json:",omitempty"`
	Refused string   `json:",omitempty"`
}

func (f *Fleet) seen() dog.Map[Seen]      { return dog.MapOf[Seen](f.Storage(), "seen/") }
func (f *Fleet) targets() dog.Map[string] { return dog.MapOf[string](f.Storage(), "target/") }

// OnStart goes on with the rollout that was under way.
func (f *Fleet) OnStart(context.Context) error {
	f.online, f.begun = make(map[string]time.Time), make(map[string]bool)
	r, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	if err == nil && r.State == "running" {
		f.steps = f.Every(time.Second, f.step)
	}
	return err
}

// OnOpen sends a page everything.
func (f *Fleet) OnOpen(_ context.Context, s *dog.Socket) error {
	var all event
	for seen, err := range f.seen().List(dog.ListOptions{}) {
		if err != nil {
			return err
		}
		all.Rows = append(all.Rows, f.row(seen.Key, seen.Value))
	}
	if r, found, err := dog.Get[Rollout](f.Storage(), "rollout"); err != nil {
		return err
	} else if found {
		all.Rollout = &r
	}
	return s.Send(all)
}

func (f *Fleet) row(device string, s Seen) Row {
	return Row{device, f.online[device], s.Last, s.Waiting}
}

// Report stores how a device is, and shows it to all pages.
func (f *Fleet) Report(_ context.Context, r Report) error {
	s := Seen{time.Now(), r.Waiting}
	switch _, was := f.online[r.Device]; {
	case r.Online && !was:
		f.online[r.Device] = s.Last
	case !r.Online && was:
		delete(f.online, r.Device)
	case !r.Online: // it was away all the time
		old, _, err := f.seen().Get(r.Device)
		if err != nil {
			return err
		}
		s.Last = old.Last
	}
	if err := f.seen().Put(r.Device, s); err != nil {
		return err
	}
	return f.Broadcast(event{Rows: []Row{f.row(r.Device, s)}}, dog.Coalesce(r.Device))
}

// OnMessage begins a rollout for a page, unless one is running.
func (f *Fleet) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	var r Rollout
	old, _, err := dog.Get[Rollout](f.Storage(), "rollout")
	switch bad := m.Decode(&r); {
	case err != nil:
		return err
	case bad != nil || r.Command == "" || r.Rate < 1 || r.Abort < 1:
		return s.Send(event{Refused: "a rollout needs a command, a rate and a limit of failures"})
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
	return f.Broadcast(event{Rollout: &r})
}
