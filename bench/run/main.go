// Command run builds the server and the load generator, takes the libraries in
// turns, and reports: tables, all figures as JSON, and a plot.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// options are the values of the flags.
type options struct {
	libs, cells    []string
	sockets, sizes []int
	idle           int
	paces          []pace
	rounds         int
	time           time.Duration
	messages       int
	settle         time.Duration
	quick          bool
	original       string
	rooms          int
	missed         int
	rows           rowFlags
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("run: ")
	libs := flag.String("libs", "", "rows to measure; default: all")
	cells := flag.String(
		"cells", "w1,w32,echo,rooms,idle",
		"what to measure: w1 and w32 (fan-out with so many messages under way), "+
			"echo, rooms (of two sockets, in which both always talk), idle, rate, slow, storm, or all",
	)
	sockets := flag.String("sockets", "1000,10000", "numbers of sockets for w1, w32 and storm")
	sizes := flag.String("sizes", "64,1024", "sizes of messages for w1 and w32")
	rates := flag.String("rates", "2000@150,10000@10", "SOCKETS@MESSAGES_PER_SECOND for rate and slow")
	from := flag.String("from", "", "measure nothing: report what a results.json holds")
	out := flag.String("out", "results", "directory for results.json, results.md and results.svg")
	var rivals rivals
	flag.StringVar(&rivals.subject, "subject", "dog", "the row that is compared with the others")
	flag.StringVar(&rivals.peer, "peer", "", "the row it is compared with; default: the best of the other libraries")
	var o options
	flag.IntVar(
		&o.idle, "idle", 9500,
		"sockets for idle: up to the server's limit of descriptors; the load generator starts as "+
			"many processes as it needs",
	)
	flag.IntVar(&o.rooms, "rooms", 2000, "rooms of two sockets")
	flag.IntVar(&o.missed, "missed", 1000, "messages that each client of a storm has missed")
	flag.IntVar(&o.rounds, "rounds", 7, "how often each row is measured")
	flag.DurationVar(
		&o.time, "time", 600*time.Millisecond, "duration of a measurement; one at a fixed rate takes ten times as long",
	)
	flag.IntVar(
		&o.messages, "messages", 10,
		"fan-outs that a measurement of w1 and w32 has at least: 200 for a p99 that deserves its name",
	)
	flag.BoolVar(
		&o.quick, "quick", false,
		"see whether everything works: one round, 100 sockets, all cells; the figures mean "+
			"nothing",
	)
	flag.StringVar(
		&o.original, "original", "original/start", "program that serves the original DOG; see original/README.md",
	)
	flag.Var(
		&o.rows, "row",
		"a further row: NAME=LIBRARY followed by flags of the server, such as 'dog-50=dog -dog.limit 50'; "+
			"repeatable",
	)
	flag.Parse()

	var all results
	var err error
	if *from != "" {
		all, err = load(*from)
	} else {
		o.libs, o.cells = list(*libs), list(*cells)
		if o.sockets, err = numbers(*sockets); err == nil {
			o.sizes, err = numbers(*sizes)
		}
		if err == nil {
			o.paces, err = paces(*rates)
		}
		if err == nil {
			all, err = o.run()
		}
	}
	if err == nil {
		err = all.write(*out, rivals)
	}
	if err != nil {
		log.Fatal(err)
	}
	if o.quick {
		if n := len(all.failures()); n > 0 {
			log.Fatalf("%d cells failed", n)
		}
	}
}

// load reads results that were written before.
func load(path string) (r results, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return results{}, err
	}
	return r, json.Unmarshal(data, &r)
}

// write writes the report in all its forms, and the tables to the standard
// output.
func (r results) write(dir string, of rivals) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	tables := r.markdown(of)
	fmt.Print(tables)
	for name, content := range map[string][]byte{
		"results.json": append(data, '\n'),
		"results.md":   []byte(tables),
		"results.svg":  []byte(r.plot(of.subject)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func list(s string) []string {
	if s == "" || s == "all" {
		return nil
	}
	return strings.Split(s, ",")
}

func numbers(s string) ([]int, error) {
	var ns []int
	for _, field := range list(s) {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("no positive number: %q", field)
		}
		ns = append(ns, n)
	}
	return ns, nil
}

func paces(s string) ([]pace, error) {
	var ps []pace
	for _, field := range list(s) {
		both, err := numbers(strings.Replace(field, "@", ",", 1))
		if err != nil || len(both) != 2 {
			return nil, fmt.Errorf("no SOCKETS@MESSAGES_PER_SECOND: %q", field)
		}
		ps = append(ps, pace{sockets: both[0], perSecond: both[1]})
	}
	return ps, nil
}

// rowFlags are rows beyond the libraries as they are.
type rowFlags []row

func (f *rowFlags) String() string { return "" }

func (f *rowFlags) Set(s string) error {
	name, rest, ok := strings.Cut(s, "=")
	args := strings.Fields(rest)
	if !ok || name == "" || len(args) == 0 {
		return fmt.Errorf("want NAME=LIBRARY and flags")
	}
	*f = append(*f, row{name: name, args: append([]string{"-lib"}, args...)})
	return nil
}
