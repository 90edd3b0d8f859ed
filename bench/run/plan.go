package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godurable/dog/bench/internal/process"
	"github.com/godurable/dog/bench/internal/wire"
)

// originalRow is the row of the original DOG, which is no Go program.
const originalRow = "dog-original"

// A row is a server with its flags.
type row struct {
	name    string
	program string // "": the server of this module
	args    []string
	only    []string // the kinds of cells that it is for; nil: all
	never   []string // the kinds of cells that it cannot do
	named   bool     // measured only if it is named, or with -quick
	version string   // for rows whose binary does not report it
}

// recovering are the flags with which a server sends clients what they have
// missed.
var recovering = []string{"-dog.v1", "-centrifuge.history"}

// does reports whether a job is for the row.
func (r row) does(j job) bool {
	kind, _, _ := strings.Cut(j.cells[0], "-")
	if kind == "storm" && !slices.ContainsFunc(recovering, func(f string) bool { return slices.Contains(r.args, f) }) {
		return false
	}
	return (r.only == nil || slices.Contains(r.only, kind)) && !slices.Contains(r.never, kind)
}

// A job is what one load generator does with one server.
type job struct {
	sockets int
	cells   []string
	paced   bool // at a fixed rate, which takes longer for as many messages
}

// stormSize is the size of the messages that clients have missed.
const stormSize = 100

// roomSize is how many sockets the load generator puts into a room.
const roomSize = 2

// A pace is a rate of fan-outs that does not wait for anybody.
type pace struct{ sockets, perSecond int }

const (
	// pacedTimes is how many times as long as others a cell with a fixed rate
	// is measured.
	pacedTimes = 10
	// backlog is more than the queue of a server and the buffers of a kernel
	// take for a client that does not read.
	backlog = 400 << 10
)

// slowSize is the size of messages with which the backlog of a slow socket is
// there when its warm-up is over, which takes twice as long as the measurement.
func (p pace) slowSize(measured time.Duration) int {
	return max(int(backlog/(float64(p.perSecond)*2*pacedTimes*measured.Seconds())), 256)
}

func (o options) run() (results, error) {
	if o.quick {
		o.rounds, o.sockets, o.idle, o.rooms, o.cells = 1, []int{100}, 100, 50, nil
		o.time, o.messages, o.settle = 100*time.Millisecond, 4, 100*time.Millisecond
	} else {
		o.settle = 2 * time.Second
	}
	dir, err := os.MkdirTemp("", "dog-bench-")
	if err != nil {
		return results{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := build(dir)
	if err != nil {
		return results{}, err
	}
	rows, notes, err := o.plan(b)
	if err != nil {
		return results{}, err
	}
	r := results{Environment: environment(b), Notes: notes}
	for _, row := range rows {
		if row.version != "" {
			r.Environment = append(r.Environment, row.version)
		}
	}
	jobs := o.jobs()
	if len(jobs) == 0 {
		return results{}, fmt.Errorf("no such cells: %v", o.cells)
	}
	for round := range o.rounds {
		for _, j := range jobs {
			for i := range rows {
				row := rows[(i+round)%len(rows)] // nobody is always the first
				if !row.does(j) {
					continue
				}
				log.Printf("round %d of %d: %s, %d sockets", round+1, o.rounds, row.name, j.sockets)
				for _, result := range o.measure(b, row, j) {
					r.Samples = append(r.Samples, sample{Round: round, Row: row.name, Result: result})
				}
			}
		}
	}
	for _, row := range rows {
		r.Rows = append(r.Rows, row.name)
	}
	return r, nil
}

// historyRows keep a history, for clients that come back.
var historyRows = []row{
	{name: "dog-history", args: []string{"-lib", "dog", "-dog.history"}, only: liveCells, named: true},
	{
		name: "dog-v1", args: []string{"-lib", "dog", "-dog.history", "-dog.v1"}, only: append(liveCells, "storm"),
		named: true,
	},
	{
		name: "dog-v1-parked", args: []string{"-lib", "dog", "-dog.history", "-dog.v1", "-dog.park", "500ms"},
		only: []string{"idle"}, named: true,
	},
	{
		name: "centrifuge-history", args: []string{"-lib", "centrifuge", "-centrifuge.history"},
		only: []string{"storm"}, named: true,
	},
}

// liveCells are those in which a history may make a difference to clients that
// miss nothing.
var liveCells = []string{"w1", "w32", "idle"}

// plan returns the rows to measure, and notes on those that cannot be.
func (o options) plan(b binaries) (rows []row, notes []string, err error) {
	names, err := exec.Command(b.server, "-list").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("list libraries: %w", err)
	}
	for name := range strings.FieldsSeq(string(names)) {
		r := row{name: name, args: []string{"-lib", name}}
		switch name {
		case floorRow:
			r.never = []string{"slow"} // a socket that does not read stops it
		case "coder", "coder-bg", "melody", "centrifuge", "centrifuge-delay":
			r.never = []string{"rooms"} // far behind in all other cells
		}
		rows = append(rows, r)
	}
	idle := []string{"idle"}
	rows = append(
		rows,
		row{name: "dog-drop", args: []string{"-lib", "dog", "-dog.drop"}, only: []string{"slow"}},
		row{name: "dog-parked", args: []string{"-lib", "dog", "-dog.park", "500ms"}, only: idle},
		row{name: "dog-objects-parked", args: []string{"-lib", "dog-objects", "-dog.park", "500ms"}, only: idle},
	)
	rows = append(rows, historyRows...)
	rows = append(rows, o.rows...)
	if o.libs == nil || slices.Contains(o.libs, originalRow) {
		if version, err := check(o.original); err == nil {
			rows = append(rows, row{name: originalRow, program: o.original, never: []string{"rooms"}, version: version})
		} else {
			notes = append(notes, fmt.Sprintf("%s: not measured: %v", originalRow, err))
		}
	}
	if o.libs == nil {
		return slices.DeleteFunc(rows, func(r row) bool { return r.named && !o.quick }), notes, nil
	}
	var chosen []row
	for _, name := range o.libs {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		switch {
		case i >= 0:
			chosen = append(chosen, rows[i])
		case name != originalRow: // a note states why that one is missing
			return nil, nil, fmt.Errorf("no row %q", name)
		}
	}
	return chosen, notes, nil
}

func (o options) jobs() []job {
	has := func(cell string) bool { return o.cells == nil || slices.Contains(o.cells, cell) }
	var jobs []job
	for _, n := range o.sockets {
		var cells []string
		for _, under := range []string{"w1", "w32"} {
			for _, size := range o.sizes {
				if has(under) {
					cells = append(cells, fmt.Sprintf("%s-%d", under, size))
				}
			}
		}
		if cells != nil {
			jobs = append(jobs, job{sockets: n, cells: cells})
		}
	}
	if has("echo") {
		jobs = append(jobs, job{sockets: 100, cells: []string{"echo-64"}})
	}
	if has("rooms") {
		jobs = append(jobs, job{sockets: o.rooms * roomSize, cells: []string{"rooms-64"}})
	}
	if has("storm") {
		for _, n := range o.sockets {
			jobs = append(jobs, job{sockets: n, cells: []string{fmt.Sprintf("storm-%dx%d", stormSize, o.missed)}})
		}
	}
	if has("idle") {
		jobs = append(jobs, job{sockets: o.idle, cells: []string{"idle"}})
	}
	for _, p := range o.paces {
		if o.quick {
			p = pace{sockets: 100, perSecond: 50}
		}
		for _, cell := range []string{
			fmt.Sprintf("rate-256@%d", p.perSecond),
			fmt.Sprintf("slow-%d@%d", p.slowSize(o.time), p.perSecond),
		} {
			j := job{sockets: p.sockets, cells: []string{cell}, paced: true}
			kind, _, _ := strings.Cut(cell, "-")
			if has(kind) && !slices.ContainsFunc(jobs, func(have job) bool { return reflect.DeepEqual(have, j) }) {
				jobs = append(jobs, j)
			}
		}
	}
	return jobs
}

// binaries are this module's programs.
type binaries struct{ server, load string }

func build(dir string) (binaries, error) {
	b := binaries{server: filepath.Join(dir, "server"), load: filepath.Join(dir, "load")}
	return b, process.Build(dir, "./server", "./load")
}

// measure does one job with one server. What could not be measured is in the
// results too, with the reason.
func (o options) measure(b binaries, r row, j job) []wire.Result {
	got, err := o.try(b, r, j)
	for _, cell := range j.expected() {
		if !slices.ContainsFunc(got, func(g wire.Result) bool { return g.Cell == cell }) {
			reason := "not measured: the cell before it failed"
			if err != nil {
				reason = err.Error()
			}
			got = append(got, wire.Result{Cell: cell, Sockets: j.sockets, Err: reason})
		}
	}
	return got
}

// expected are the names of the results that a job has.
func (j job) expected() []string {
	var names []string
	for _, c := range j.cells {
		if strings.HasPrefix(c, "slow-") {
			names = append(names, c+"/none", c+"/slow")
		} else {
			names = append(names, c)
		}
	}
	return names
}

func (o options) try(b binaries, r row, j job) ([]wire.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	s, err := start(ctx, b, r)
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	defer s.stop()
	during := o.time
	if j.paced {
		during *= pacedTimes
	}
	cmd := exec.CommandContext(ctx, b.load, "-addr", s.ready.Addr, "-stat", s.ready.Stat, "-proto", s.ready.Proto,
		"-sockets", strconv.Itoa(j.sockets), "-cells", strings.Join(j.cells, ","),
		"-time", during.String(), "-messages", strconv.Itoa(o.messages), "-settle", o.settle.String())
	return process.Decode[wire.Result](cmd)
}
