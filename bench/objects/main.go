// Command objects measures durable objects beside what else one would use: it
// builds a program for each row, runs them in turns, each measurement in a
// process of its own, and reports tables, and all figures as JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// options are the values of the flags.
type options struct {
	cells  []string // nil: all
	rounds int
	time   time.Duration
	data   string // directory in which the objects are stored
	sizes  sizes
}

// sizes are numbers of objects, or of what the cell is about instead.
type sizes struct {
	Few       int `json:"few"` // at once
	Many      int `json:"many"`
	Stored    int `json:"stored"`
	StoredSQL int `json:"stored_sql"`
	Live      int `json:"live"`
	Alarms    int `json:"alarms"`
	Kept      int `json:"kept"`    // messages of a history
	Clients   int `json:"clients"` // that connect and disconnect
	Devices   int `json:"devices"` // that come back to a command
}

var (
	fullSizes = sizes{
		Few: 64, Many: 1024, Stored: 1_000_000, StoredSQL: 100_000, Live: 10_000, Alarms: 100_000, Kept: 500_000,
		Clients: 100_000, Devices: 2000,
	}
	quickSizes = sizes{
		Few: 2, Many: 8, Stored: 2000, StoredSQL: 200, Live: 100, Alarms: 1000, Kept: 10_000, Clients: 500,
		Devices: 100,
	}
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("objects: ")
	o := options{sizes: fullSizes}
	cells := flag.String("cells", "all", "what to measure, such as commit,call")
	from := flag.String("from", "", "measure nothing: report what an objects.json holds")
	out := flag.String("out", "results", "directory for objects.json and objects.md")
	quick := flag.Bool("quick", false, "see whether everything works: one round, few objects; the figures mean nothing")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each row is measured")
	flag.DurationVar(&o.time, "time", 3*time.Second, "duration of a measurement")
	flag.IntVar(&o.sizes.Stored, "stored", o.sizes.Stored, "stored objects with a key")
	flag.StringVar(&o.data, "data", os.TempDir(), "directory on the disk that is to be measured")
	flag.Parse()
	if *cells != "all" {
		o.cells = strings.Split(*cells, ",")
	}
	if *quick {
		o.rounds, o.time, o.sizes = 1, 50*time.Millisecond, quickSizes
	}

	var all results
	var err error
	if *from != "" {
		all, err = load(*from)
	} else {
		all, err = o.run()
	}
	if err == nil {
		err = all.write(*out)
	}
	if err != nil {
		log.Fatal(err)
	}
	if n := len(all.failures()); *quick && n > 0 {
		log.Fatalf("%d cells failed", n)
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

// write writes the report in both its forms, and the tables to the standard
// output.
func (r results) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	tables := r.markdown()
	fmt.Print(tables)
	if err := os.WriteFile(filepath.Join(dir, "objects.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "objects.md"), []byte(tables), 0o644)
}
