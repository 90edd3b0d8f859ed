package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/godurable/dog/bench/internal/figures"
	"github.com/godurable/dog/bench/internal/wire"
)

// results are all that a run found out.
type results struct {
	Environment []string `json:"environment"`
	Notes       []string `json:"notes"`
	Rows        []string `json:"rows"`
	Samples     []sample `json:"samples"`
}

// A sample is one cell of one row, measured once.
type sample struct {
	Round int    `json:"round"`
	Row   string `json:"row"`
	wire.Result
}

// ok reports whether the sample counts.
func (s sample) ok() bool { return s.Err == "" && s.Lost == 0 }

// floorRow is a reference, not a peer.
const floorRow = "raw"

// peer reports whether a row is another library, with which the subject
// competes.
func peer(row, subject string) bool {
	return row != subject && row != floorRow && row != "dog" && !strings.HasPrefix(row, "dog-")
}

// rivals are the rows of the comparison.
type rivals struct {
	subject string
	peer    string // "": the best
}

// A column is a cell with a number of sockets.
type column struct {
	sockets int
	cell    string
}

func (c column) String() string {
	kind, rest, sized := strings.Cut(c.cell, "-")
	name := kind
	if strings.HasPrefix(kind, "w") {
		name = strings.ToUpper(kind)
	}
	if sized {
		rest, which, _ := strings.Cut(rest, "/")
		size, rate, paced := strings.Cut(rest, "@")
		size, missed, came := strings.Cut(size, "x")
		name += ", " + size + " B"
		if came {
			name += ", " + missed + " missed"
		}
		if paced {
			name += ", " + rate + "/s"
		}
		switch which {
		case "none":
			name += ", without slow ones"
		case "slow":
			name += ", with 1 % slow ones"
		}
	}
	return fmt.Sprintf("%s, %s sockets", name, figures.Thousands(c.sockets))
}

// A metric is a figure of samples.
type metric struct {
	title  string
	cells  []string // the kinds of cells it is shown for
	more   bool     // more is better
	ratios bool     // compared with the peers
	of     func(wire.Result) float64
}

func perDelivery(cpu func(wire.Result) float64) func(wire.Result) float64 {
	return func(r wire.Result) float64 { return cpu(r) / float64(r.Deliveries) }
}

// quantile makes a metric of latencies; NaN when there are none.
func quantile(of func(wire.Result) *wire.Quantiles, q func(*wire.Quantiles) float64) func(wire.Result) float64 {
	return func(r wire.Result) float64 {
		if all := of(r); all != nil {
			return q(all)
		}
		return math.NaN()
	}
}

// storm makes a metric that is stated only.
func storm(title string, of func(wire.Result) float64) metric {
	return metric{title, []string{"storm"}, false, false, of}
}

var (
	medianOf = func(r wire.Result) *wire.Quantiles { return r.Median }
	lastOf   = func(r wire.Result) *wire.Quantiles { return r.Last }
	p50      = func(q *wire.Quantiles) float64 { return q.P50 }
	p99      = func(q *wire.Quantiles) float64 { return q.P99 }
)

var (
	serverCPU = metric{"Server CPU, µs per delivery", []string{"w1", "w32", "echo", "rooms", "rate"}, false, true,
		perDelivery(func(r wire.Result) float64 { return r.ServerCPU })}
	throughput = metric{"Deliveries per second", []string{"w1", "w32", "echo", "rooms"}, true, true,
		func(r wire.Result) float64 { return float64(r.Deliveries) / r.Seconds }}
	lastP99 = metric{
		"Latency to the last receiver, p99, ms", []string{"w1", "rate", "slow"}, false, true, quantile(lastOf, p99),
	}
	idleKiB = metric{
		"Idle socket, KiB of RSS", []string{"idle"}, false, true, func(r wire.Result) float64 { return r.PerSocket },
	}

	catchUp = metric{
		"Catching up, server CPU without that of connecting, ns per message", []string{"storm"}, false, true,
		perDelivery(func(r wire.Result) float64 { return 1000 * r.ServerCPU }),
	}

	metrics = []metric{
		serverCPU,
		throughput,
		{"Latency to the last receiver, p50, ms", []string{"w1", "rate", "slow"}, false, true, quantile(lastOf, p50)},
		lastP99,
		{"Latency to the median receiver, p50, ms", []string{"rate", "slow"}, false, false, quantile(medianOf, p50)},
		{"Latency to the median receiver, p99, ms", []string{"rate", "slow"}, false, false, quantile(medianOf, p99)},
		idleKiB,
		{
			"Idle socket, bytes of heap", []string{"idle"}, false, false,
			func(r wire.Result) float64 { return r.HeapEach },
		},
		{
			"Idle socket, goroutines", []string{"idle"}, false, false,
			func(r wire.Result) float64 { return r.Goroutines },
		},
		{"Server RSS, MiB", []string{"slow"}, false, false, func(r wire.Result) float64 { return r.RSS / 1024 }},
		{"Slow sockets that the server has kept, %", []string{"slow"}, false, false, func(r wire.Result) float64 {
			if strings.HasSuffix(r.Cell, "/none") {
				return math.NaN()
			}
			return 100 * r.SlowOpen
		}},
		catchUp,
		{
			"Storm, s until all have caught up", []string{"storm"}, false, true,
			func(r wire.Result) float64 { return r.Seconds },
		},
		storm("Storm of clients that have missed nothing, s", func(r wire.Result) float64 { return r.ConnectSeconds }),
		storm("Connecting, server CPU, µs per client", func(r wire.Result) float64 {
			return r.ConnectCPU / float64(r.Sockets)
		}),
		storm("RSS before the storm, MiB", func(r wire.Result) float64 { return r.RSS / 1024 }),
		storm("Storm, peak RSS, MiB", func(r wire.Result) float64 { return r.PeakRSS / 1024 }),
		storm("Storm, peak heap, MiB", func(r wire.Result) float64 { return r.PeakHeap / 1024 }),
		{
			"For comparison: CPU of the load generator, µs per frame", []string{"w1", "w32", "echo", "rooms", "rate"},
			false, false, perDelivery(func(r wire.Result) float64 { return r.LoadCPU }),
		},
	}
)

// shows reports whether the metric makes sense for a cell.
func (m metric) shows(cell string) bool {
	kind, _, _ := strings.Cut(cell, "-")
	return slices.Contains(m.cells, kind)
}

// columns are those of the metric, in the order in which they were measured
// first.
func (r results) columns(m metric) []column {
	var cs []column
	for _, s := range r.Samples {
		c := column{s.Sockets, s.Cell}
		if m.shows(s.Cell) && !slices.Contains(cs, c) && (!s.ok() || !math.IsNaN(m.of(s.Result))) {
			cs = append(cs, c)
		}
	}
	return cs
}

// values are a row's figures by round. Rounds that do not count are missing.
func (r results) values(m metric, c column, row string) map[int]float64 {
	vs := make(map[int]float64)
	for _, s := range r.Samples {
		if s.Row == row && s.Cell == c.cell && s.Sockets == c.sockets && s.ok() {
			if v := m.of(s.Result); !math.IsNaN(v) && !math.IsInf(v, 0) {
				vs[s.Round] = v
			}
		}
	}
	return vs
}

// failed reports whether a row failed at a cell in some round.
func (r results) failed(c column, row string) bool {
	return slices.ContainsFunc(r.Samples, func(s sample) bool {
		return s.Row == row && s.Cell == c.cell && s.Sockets == c.sockets && !s.ok()
	})
}

// rival is the row with which the subject is compared.
func (r results) rival(m metric, c column, of rivals) string {
	if of.peer != "" {
		return of.peer
	}
	return r.best(m, c, of.subject)
}

// best is the peer with the best median of the rounds that count among those
// with at least half of them; "" when there is none.
func (r results) best(m metric, c column, subject string) string {
	var peers []string
	for _, row := range r.Rows {
		if n := len(r.values(m, c, row)); peer(row, subject) && n > 0 && 2*n >= r.rounds() {
			peers = append(peers, row)
		}
	}
	if len(peers) == 0 {
		return ""
	}
	byMedian := func(a, b string) int {
		return cmp.Compare(figures.SpreadOf(r.values(m, c, a)).Median, figures.SpreadOf(r.values(m, c, b)).Median)
	}
	if m.more {
		return slices.MaxFunc(peers, byMedian)
	}
	return slices.MinFunc(peers, byMedian)
}

// ratio compares two rows round by round.
func (r results) ratio(m metric, c column, a, b string) figures.Spread {
	return figures.SpreadOf(figures.Divide(r.values(m, c, a), r.values(m, c, b)))
}

// failures are the samples that do not count.
func (r results) failures() []sample {
	return slices.DeleteFunc(slices.Clone(r.Samples), sample.ok)
}

func (r results) rounds() (n int) {
	for _, s := range r.Samples {
		n = max(n, s.Round+1)
	}
	return n
}

// mark marks a row that failed at a cell in some round.
func (r results) mark(c column, row string) string {
	if r.failed(c, row) {
		return " ✗"
	}
	return ""
}

func (r results) markdown(of rivals) string {
	var b strings.Builder
	fmt.Fprintf(
		&b, "%s. Rounds: %d. Median (lowest…highest) of the rounds.\n", strings.Join(r.Environment, " · "), r.rounds(),
	)
	r.comparison(&b, of)
	r.slowdowns(&b)
	for _, m := range metrics {
		r.table(&b, m)
	}
	var remarks []string
	remarks = append(remarks, r.Notes...)
	for _, s := range r.failures() {
		remarks = append(
			remarks,
			fmt.Sprintf("%s, %s, round %d: %s (lost: %d)", s.Row, column{s.Sockets, s.Cell}, s.Round+1,
				cmp.Or(s.Err, "messages were lost"), s.Lost),
		)
	}
	if len(remarks) > 0 {
		b.WriteString("\n### Not measured, failed, lost\n\n")
		for _, remark := range remarks {
			fmt.Fprintf(&b, "- %s\n", remark)
		}
	}
	return b.String()
}

// comparison is the table of ratios.
func (r results) comparison(b *strings.Builder, of rivals) {
	subject := of.subject
	if !slices.Contains(r.Rows, subject) {
		return
	}
	peer := cmp.Or(of.peer, "the peer with the best median")
	fmt.Fprintf(b, "\n### %s, divided round by round by %s, and by the reference rows\n\n", subject, peer)
	fmt.Fprintf(
		b, "| | cell | peer | %[1]s / peer | %[1]s / %[2]s | %[1]s / %[3]s |\n|---|---|---|---|---|---|\n",
		subject, floorRow, originalRow,
	)
	for _, m := range metrics {
		if !m.ratios {
			continue
		}
		for _, c := range r.columns(m) {
			best := r.rival(m, c, of)
			fmt.Fprintf(
				b, "| %s | %s%s | %s%s | %s | %s | %s |\n", m.title, c, r.mark(c, subject), cmp.Or(best, "–"),
				r.mark(c, best), r.ratio(m, c, subject, best), r.ratio(m, c, subject, floorRow),
				r.ratio(m, c, subject, originalRow),
			)
		}
	}
}

// slowdowns is the table of what slow sockets do to the others.
func (r results) slowdowns(b *strings.Builder) {
	var columns []column // with the slow ones
	for _, c := range r.columns(lastP99) {
		if strings.HasSuffix(c.cell, "/slow") {
			columns = append(columns, c)
		}
	}
	if len(columns) == 0 {
		return
	}
	b.WriteString("\n### p99 of the latency to the last receiver with 1 % slow sockets, divided by that without\n\n|")
	head(b, columns)
	for _, row := range r.Rows {
		fmt.Fprintf(b, "| %s", row)
		for _, c := range columns {
			without := r.values(lastP99, column{c.sockets, strings.TrimSuffix(c.cell, "slow") + "none"}, row)
			fmt.Fprintf(b, " | %s", figures.SpreadOf(figures.Divide(r.values(lastP99, c, row), without)))
		}
		b.WriteString(" |\n")
	}
}

// head ends the first line of a table with a column for each cell, and adds the
// second.
func head(b *strings.Builder, columns []column) {
	for _, c := range columns {
		fmt.Fprintf(b, " | %s", c)
	}
	fmt.Fprintf(b, " |\n|---%s|\n", strings.Repeat("|---", len(columns)))
}

func (r results) table(b *strings.Builder, m metric) {
	columns := r.columns(m)
	if len(columns) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n|", m.title)
	head(b, columns)
	for _, row := range r.Rows {
		measured := func(c column) bool { return r.failed(c, row) || len(r.values(m, c, row)) > 0 }
		if !slices.ContainsFunc(columns, measured) {
			continue
		}
		fmt.Fprintf(b, "| %s", row)
		for _, c := range columns {
			mark := ""
			if r.failed(c, row) {
				mark = " ✗"
			}
			fmt.Fprintf(b, " | %s%s", figures.SpreadOf(r.values(m, c, row)), mark)
		}
		b.WriteString(" |\n")
	}
}
