package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/godurable/dog/bench/internal/drive"
	"github.com/godurable/dog/bench/internal/process"
)

// rows are the programs, in directories of their names.
var rows = []string{"raw", subject, "sqlite", "goakt", "protoactor", "hollywood", "centrifuge", "jetstream"}

// subject is the row that is compared with the others.
const subject = "dog"

// A cell is what some rows are measured at.
type cell struct {
	Name    string
	Objects int
	data    *store   // what has to be stored before; nil: it begins with nothing
	rows    []string // nil: the subject alone
}

// A store is a directory that is filled once, by a cell of the subject, and
// then measured in every round.
type store struct {
	fill    string
	objects int
}

func (s store) name() string { return fmt.Sprintf("%s-%d", s.fill, s.objects) }

// cells are all there is to measure.
func (s sizes) cells() []cell {
	kept := []string{subject, "sqlite"}
	sockets := []string{subject, "centrifuge"}
	queues := []string{subject, "jetstream"}
	none, keys, rows := &store{"fill", 0}, &store{"fill", s.Stored}, &store{"fill-sql", s.StoredSQL}
	return []cell{
		{Name: "sync", Objects: 1, rows: []string{"raw"}},
		{Name: "commit", Objects: s.Few, rows: kept},
		{Name: "commit", Objects: s.Many, rows: kept},
		{Name: "commit-sql", Objects: s.Few, rows: kept},
		{Name: "commit-sql", Objects: s.Many, rows: kept},
		{Name: "flow", Objects: s.Few},
		{Name: "flow", Objects: s.Many},
		{Name: "flow-sql", Objects: s.Few},
		{Name: "flow-sql", Objects: s.Many},
		{Name: "get", Objects: 1},
		{Name: "call", Objects: 1, rows: []string{subject, "goakt", "protoactor", "hollywood"}},
		{Name: "start", Objects: 0, data: none},
		{Name: "start", Objects: s.Stored, data: keys},
		{Name: "wake", Objects: s.Stored, data: keys},
		{Name: "wake-sql", Objects: s.StoredSQL, data: rows},
		{Name: "live", Objects: s.Live, data: keys},
		{Name: "live-sql", Objects: s.Live, data: rows},
		{Name: "alarms", Objects: s.Alarms, data: &store{"fill-alarms", s.Alarms}},
		{Name: "kept", Objects: s.Kept, rows: sockets},
		{Name: "attach", Objects: s.Clients, rows: sockets},
		{Name: "attach-presence", Objects: s.Clients, rows: sockets},
		{Name: "put", Objects: s.Many, rows: queues},
		{Name: "drain", Objects: s.Devices, rows: queues},
	}
}

// chosen are the cells to measure.
func (o options) chosen() ([]cell, error) {
	all := o.sizes.cells()
	for _, name := range o.cells {
		if !slices.ContainsFunc(all, func(c cell) bool { return c.Name == name }) {
			return nil, fmt.Errorf("no cell %q", name)
		}
	}
	return slices.DeleteFunc(all, func(c cell) bool { return o.cells != nil && !slices.Contains(o.cells, c.Name) }), nil
}

// A bench is a run under way.
type bench struct {
	options
	dir      string            // fixed: for all that is stored
	programs map[string]string // fixed: paths by row
	results  results
}

func (o options) run() (results, error) {
	cells, err := o.chosen()
	if err != nil {
		return results{}, err
	}
	dir, err := os.MkdirTemp(o.data, "dog-objects-")
	if err != nil {
		return results{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{options: o, dir: dir, programs: make(map[string]string)}
	b.results = results{Environment: process.Environment(), Rows: rows, Sizes: o.sizes}
	if err := b.build(); err != nil {
		return results{}, err
	}
	filled := make(map[string]error)
	for _, c := range cells {
		if c.data == nil {
			continue
		}
		if _, done := filled[c.data.name()]; !done {
			filled[c.data.name()] = b.fill(*c.data)
		}
	}
	for round := range o.rounds {
		for _, c := range cells {
			in := c.rows
			if in == nil {
				in = []string{subject}
			}
			for i := range in {
				row := in[(i+round)%len(in)] // nobody is always the first
				if c.data != nil && filled[c.data.name()] != nil {
					b.results.add(round, row, c, nil, fmt.Errorf("nothing is stored: %w", filled[c.data.name()]))
					continue
				}
				log.Printf("round %d of %d: %s, %s", round+1, o.rounds, c, row)
				figures, err := b.measure(row, c)
				b.results.add(round, row, c, figures, err)
			}
		}
	}
	return b.results, nil
}

func (b *bench) build() error {
	var programs []string
	for _, row := range rows {
		programs = append(programs, "./objects/"+row)
	}
	bin := filepath.Join(b.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := process.Build(bin, programs...); err != nil {
		return err
	}
	for _, row := range rows {
		b.programs[row] = filepath.Join(bin, row)
		b.results.Environment = append(b.results.Environment, process.Versions(b.programs[row], peers[row])...)
	}
	return nil
}

// peers are the modules of the rows that are other libraries.
var peers = map[string]string{
	"sqlite":     "ncruces/go-sqlite3",
	"goakt":      "tochemey/goakt/v3",
	"protoactor": "asynkron/protoactor-go",
	"hollywood":  "anthdm/hollywood",
	"centrifuge": "centrifugal/centrifuge",
	"jetstream":  "nats-io/nats-server/v2",
}

// fill stores what cells need. What it measures belongs to the first round.
func (b *bench) fill(s store) error {
	c := cell{Name: s.fill, Objects: s.objects}
	log.Printf("storing: %s", c)
	figures, err := b.job(subject, c, filepath.Join(b.dir, s.name()))
	if err != nil || len(figures) > 0 && s.objects > 0 {
		b.results.add(0, subject, c, figures, err)
	}
	return err
}

// measure measures a cell of a row.
func (b *bench) measure(row string, c cell) (drive.Figures, error) {
	if c.data != nil {
		return b.job(row, c, filepath.Join(b.dir, c.data.name()))
	}
	dir, err := os.MkdirTemp(b.dir, c.Name+"-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return b.job(row, c, dir)
}

// job runs a row's program.
func (b *bench) job(row string, c cell, dir string) (drive.Figures, error) {
	job, err := json.Marshal(drive.Job{Cell: c.Name, Objects: c.Objects, Dir: dir, Time: b.time})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.programs[row], string(job))
	cmd.WaitDelay = 5 * time.Second
	all, err := process.Decode[drive.Figures](cmd)
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%d lines of figures", len(all))
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}
