package main

import (
	"cmp"
	"fmt"
	"log"
	"slices"
	"strings"

	"github.com/godurable/dog/bench/internal/drive"
	"github.com/godurable/dog/bench/internal/figures"
)

// results are all that a run found out.
type results struct {
	Environment []string `json:"environment"`
	Rows        []string `json:"rows"`
	Sizes       sizes    `json:"sizes"`
	Samples     []sample `json:"samples"`
}

// A sample is one cell of one row, measured once.
type sample struct {
	Round   int           `json:"round"`
	Row     string        `json:"row"`
	Cell    string        `json:"cell"`
	Objects int           `json:"objects"`
	Figures drive.Figures `json:"figures,omitempty"`
	Err     string        `json:"error,omitempty"` // why it does not count
}

func (r *results) add(round int, row string, c cell, measured drive.Figures, err error) {
	s := sample{Round: round, Row: row, Cell: c.Name, Objects: c.Objects, Figures: measured}
	if err != nil {
		s.Err = err.Error()
		log.Printf("%s, %s: %v", c, row, err)
	}
	r.Samples = append(r.Samples, s)
}

// failures are the samples that do not count.
func (r results) failures() []sample {
	return slices.DeleteFunc(slices.Clone(r.Samples), func(s sample) bool { return s.Err == "" })
}

// titles describe the cells.
var titles = map[string]string{
	"sync":        "append and sync a file",
	"commit":      "store a key, wait until it is durable",
	"commit-sql":  "store a row by SQL, wait until it is durable",
	"flow":        "store a key, do not wait",
	"flow-sql":    "store a row by SQL, do not wait",
	"get":         "read a key of a live object",
	"call":        "call, or request and reply, in memory",
	"fill":        "stored objects with a key",
	"fill-sql":    "stored objects with a row",
	"fill-alarms": "stored objects with an alarm",
	"start":       "start with stored objects",
	"wake":        "wake an object, read its key",
	"wake-sql":    "wake an object, read its row",
	"live":        "live objects with a key",
	"live-sql":    "live objects with a row",
	"alarms":      "due alarms after a restart",
	"kept":        "keep a message of 100 bytes in a history",

	"attach":          "connect and disconnect",
	"attach-presence": "connect and disconnect, with presence",

	"put":   "put a command for a device, wait until it is durable",
	"drain": "come back, get the command that waits, acknowledge it",
}

// nouns are what a cell has a number of, if not of objects.
var nouns = map[string]string{
	"kept": "messages", "attach": "clients", "attach-presence": "clients", "put": "devices", "drain": "devices",
}

func (c cell) String() string {
	if c.Objects == 1 {
		return titles[c.Name]
	}
	return fmt.Sprintf("%s, %s %s", titles[c.Name], figures.Thousands(c.Objects), cmp.Or(nouns[c.Name], "objects"))
}

// units describe the figures, in the order in which they are shown.
var units = []struct{ figure, title string }{
	{drive.PerSecond, "per second"},
	{drive.P50, "p50, ms"},
	{drive.P99, "p99, ms"},
	{drive.Seconds, "seconds"},
	{drive.Bytes, "bytes on disk, each"},
	{drive.RSS, "MiB of RSS"},
	{drive.HeapEach, "bytes of heap, each"},
	{drive.CPUEach, "µs of CPU, each"},
}

// A place is where a figure is found.
type place struct {
	cell    string
	objects int
	figure  string
}

// values are a row's figures by round. Rounds that do not count are missing.
func (r results) values(p place, row string) map[int]float64 {
	vs := make(map[int]float64)
	for _, s := range r.Samples {
		if v, ok := s.Figures[p.figure]; ok && s.Row == row && s.Cell == p.cell && s.Objects == p.objects &&
			s.Err == "" {
			vs[s.Round] = v
		}
	}
	return vs
}

// overBest divides the subject's figures, round by round, by those of the peer
// with the best median.
func (r results) overBest(p place, more bool) (ratios map[int]float64, best string) {
	var of figures.Spread
	for _, row := range r.Rows {
		s := figures.SpreadOf(r.values(p, row))
		if row == subject || s.N == 0 {
			continue
		}
		if best == "" || more == (s.Median > of.Median) {
			best, of = row, s
		}
	}
	return figures.Divide(r.values(p, subject), r.values(p, best)), best
}

func convert(vs map[int]float64, to func(float64) float64) map[int]float64 {
	converted := make(map[int]float64)
	for round, v := range vs {
		converted[round] = to(v)
	}
	return converted
}

// A goal is what a figure, or a ratio, should be.
type goal struct {
	title   string
	values  map[int]float64
	atLeast bool
	bound   float64
}

// verdict reports whether a goal is reached: when the whole spread is on its
// side.
func (g goal) verdict() string {
	s := figures.SpreadOf(g.values)
	good, bad := s.High, s.Low
	if g.atLeast {
		good, bad = -s.Low, -s.High
		g.bound = -g.bound
	}
	switch {
	case s.N == 0:
		return "–"
	case good <= g.bound:
		return "yes"
	case bad > g.bound:
		return "**no**"
	}
	return "in some rounds"
}

// goals are those of the objects.
func (r results) goals() []goal {
	var all []goal
	add := func(title string, vs map[int]float64, atLeast bool, bound float64) {
		all = append(all, goal{title, vs, atLeast, bound})
	}
	own := func(name string, objects int, figure string) map[int]float64 {
		return r.values(place{name, objects, figure}, subject)
	}
	beside := func(title, name string, objects int, figure string, more bool, bound float64) {
		p := place{name, objects, figure}
		ratios, best := r.overBest(p, more)
		c := cell{Name: name, Objects: objects}
		add(fmt.Sprintf("%s: %s, %s over the best peer's (%s)", c, title, subject, best), ratios, more, bound)
	}
	z := r.Sizes
	for _, n := range []int{z.Few, z.Many} {
		beside("per second", "commit", n, drive.PerSecond, true, 8)
		beside("p99", "commit", n, drive.P99, false, 0.1)
		beside("per second", "commit-sql", n, drive.PerSecond, true, 4)
	}
	for _, name := range []string{"commit", "commit-sql", "flow", "flow-sql"} {
		ratios := figures.Divide(own(name, z.Many, drive.PerSecond), own(name, z.Few, drive.PerSecond))
		add(fmt.Sprintf("%s: per second, %d objects over %d", titles[name], z.Many, z.Few), ratios, true, 1)
	}
	for _, f := range []struct {
		name  string
		bound float64
	}{{"flow", 300_000}, {"flow-sql", 150_000}} {
		for _, n := range []int{z.Few, z.Many} {
			c := cell{Name: f.name, Objects: n}
			add(c.String()+": per second", own(f.name, n, drive.PerSecond), true, f.bound)
			add(c.String()+": p99 until the gate opens, ms", own(f.name, n, drive.P99), false, 20)
		}
	}
	nanoseconds := func(perSecond float64) float64 { return 1e9 / perSecond }
	microseconds := func(ms float64) float64 { return 1e3 * ms }
	add(titles["get"]+": ns", convert(own("get", 1, drive.PerSecond), nanoseconds), false, 1500)
	add(titles["call"]+": ns", convert(own("call", 1, drive.PerSecond), nanoseconds), false, 100)
	beside("per second", "call", 1, drive.PerSecond, true, 5)
	add(cell{Name: "wake", Objects: z.Stored}.String()+": p50, µs",
		convert(own("wake", z.Stored, drive.P50), microseconds), false, 20)
	add(cell{Name: "wake-sql", Objects: z.StoredSQL}.String()+": p50, µs",
		convert(own("wake-sql", z.StoredSQL, drive.P50), microseconds), false, 300)
	add(cell{Name: "fill", Objects: z.Stored}.String()+": bytes each", own("fill", z.Stored, drive.Bytes), false, 200)
	empty := own("start", 0, drive.Seconds)
	longer := make(map[int]float64)
	for round, v := range own("start", z.Stored, drive.Seconds) {
		if w, ok := empty[round]; ok {
			longer[round] = v - w
		}
	}
	add(cell{Name: "start", Objects: z.Stored}.String()+": seconds more than with none", longer, false, 1)
	for _, name := range []string{"live", "live-sql"} {
		add(cell{Name: name, Objects: z.Live}.String()+": MiB of RSS", own(name, z.Live, drive.RSS), false, 2048)
	}
	add(
		cell{Name: "alarms", Objects: z.Alarms}.String()+": per second", own("alarms", z.Alarms, drive.PerSecond), true,
		10_000,
	)
	kept, attach := cell{Name: "kept", Objects: z.Kept}, cell{Name: "attach", Objects: z.Clients}
	add(kept.String()+": bytes of heap each", own("kept", z.Kept, drive.HeapEach), false, 124)
	with, without := own("attach-presence", z.Clients, drive.CPUEach), own("attach", z.Clients, drive.CPUEach)
	add(attach.String()+": CPU, with presence over without", figures.Divide(with, without), false, 1.15)
	puts := cell{Name: "put", Objects: z.Many}
	add(puts.String()+": per second", own("put", z.Many, drive.PerSecond), true, 60_000)
	beside("per second", "put", z.Many, drive.PerSecond, true, 1)
	beside("seconds", "drain", z.Devices, drive.Seconds, false, 1)
	return all
}

func (r results) rounds() (n int) {
	for _, s := range r.Samples {
		n = max(n, s.Round+1)
	}
	return n
}

func (r results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(
		&b, "%s. Rounds: %d. Median (lowest…highest) of the rounds.\n", strings.Join(r.Environment, " · "), r.rounds(),
	)
	if r.Sizes == quickSizes {
		b.WriteString("\n**Only to see that everything works: the figures mean nothing.**\n")
	} else {
		r.compare(&b)
	}
	r.figures(&b)
	if failures := r.failures(); len(failures) > 0 {
		b.WriteString("\n### Failed\n\n")
		for _, s := range failures {
			fmt.Fprintf(&b, "- %s, %s, round %d: %s\n", s.Row, cell{Name: s.Cell, Objects: s.Objects}, s.Round+1, s.Err)
		}
	}
	return b.String()
}

// compare is the table of goals.
func (r results) compare(b *strings.Builder) {
	b.WriteString("\n### Goals\n\n| | measured | goal | reached |\n|---|---|---|---|\n")
	for _, g := range r.goals() {
		if len(g.values) == 0 {
			continue
		}
		sign := "≤"
		if g.atLeast {
			sign = "≥"
		}
		fmt.Fprintf(
			b, "| %s | %s | %s %s | %s |\n", g.title, figures.SpreadOf(g.values), sign, figures.Format(g.bound),
			g.verdict(),
		)
	}
}

// figures is the table of what was measured.
func (r results) figures(b *strings.Builder) {
	type line struct {
		cell    string
		objects int
		row     string
	}
	var lines []line
	have := make(map[string]bool) // figures
	for _, s := range r.Samples {
		if l := (line{s.Cell, s.Objects, s.Row}); !slices.Contains(lines, l) {
			lines = append(lines, l)
		}
		for figure := range s.Figures {
			have[figure] = true
		}
	}
	b.WriteString("\n### Figures\n\n| | row |")
	shown := 0
	for _, u := range units {
		if have[u.figure] {
			fmt.Fprintf(b, " %s |", u.title)
			shown++
		}
	}
	fmt.Fprintf(b, "\n|---|---|%s\n", strings.Repeat("---|", shown))
	slices.SortStableFunc(lines, func(x, y line) int { // the rows of a cell in their order, in any order of arrival
		if x.cell != y.cell || x.objects != y.objects {
			return 0
		}
		return slices.Index(r.Rows, x.row) - slices.Index(r.Rows, y.row)
	})
	for _, l := range lines {
		fmt.Fprintf(b, "| %s | %s |", cell{Name: l.cell, Objects: l.objects}, l.row)
		for _, u := range units {
			if have[u.figure] {
				fmt.Fprintf(b, " %s |", figures.SpreadOf(r.values(place{l.cell, l.objects, u.figure}, l.row)))
			}
		}
		b.WriteString("\n")
	}
}
