package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/bench/internal/figures"
	"github.com/godurable/dog/bench/internal/wire"
)

// cpuResults has rows whose server CPU per delivery is given by round.
func cpuResults(rows map[string][]float64) results {
	r := results{Rows: []string{"raw", "slower", "faster", "lossy", "dog"}}
	for _, row := range r.Rows {
		for round, cpu := range rows[row] {
			result := wire.Result{Cell: "w1-64", Sockets: 1000, Deliveries: 10, Seconds: 1, ServerCPU: 10 * cpu}
			s := sample{Round: round, Row: row, Result: result}
			if row == "lossy" {
				s.Lost = 1
			}
			r.Samples = append(r.Samples, s)
		}
	}
	return r
}

var someResults = cpuResults(map[string][]float64{
	"raw":    {2, 2, 2},
	"slower": {8, 9, 7},
	"faster": {4, 5, 9}, // the better median, not the lowest figure of each round
	"lossy":  {1, 1, 1},
	"dog":    {2, 3, 3},
})

func TestRatios_ArePaired(t *testing.T) {
	c := column{1000, "w1-64"}
	require.Equal(t, "faster", someResults.best(serverCPU, c, "dog"))
	require.InDeltaSlice(t, []float64{0.5, 1. / 3, 0.6}, []float64{
		someResults.ratio(serverCPU, c, "dog", "faster").Median,
		someResults.ratio(serverCPU, c, "dog", "faster").Low,
		someResults.ratio(serverCPU, c, "dog", "faster").High,
	}, 1e-9)
	require.Equal(
		t, figures.Spread{Median: 1.5, Low: 1, High: 1.5, N: 3}, someResults.ratio(serverCPU, c, "dog", "raw"),
	)
	require.Zero(t, someResults.ratio(serverCPU, c, "dog", "lossy").N)
}

func TestReport_ComparesWithANamedRow(t *testing.T) {
	require.Contains(t, someResults.markdown(rivals{subject: "dog", peer: "slower"}),
		"| slower | 0.33 (0.25…0.43) | 1.50 (1.00…1.50) |")
}

func TestReport_ExcludesLossyRowsFromPeers(t *testing.T) {
	tables := someResults.markdown(rivals{subject: "dog"})
	require.Contains(t, tables, "| lossy | – ✗ |")
	require.Contains(t, tables, "- lossy, W1, 64 B, 1,000 sockets, round 3: messages were lost (lost: 1)")
	require.Contains(t, tables, "| dog | 3.00 (2.00…3.00) |")
	require.Len(t, someResults.failures(), 3)
}

func TestColumnNames(t *testing.T) {
	for want, c := range map[string]column{
		"W32, 1024 B, 10,000 sockets":                           {10_000, "w32-1024"},
		"idle, 19,500 sockets":                                  {19_500, "idle"},
		"rate, 256 B, 10/s, 10,000 sockets":                     {10_000, "rate-256@10"},
		"slow, 2048 B, 50/s, with 1 % slow ones, 2,000 sockets": {2_000, "slow-2048@50/slow"},
		"storm, 100 B, 1000 missed, 10,000 sockets":             {10_000, "storm-100x1000"},
		"slow, 2048 B, 50/s, without slow ones, 2,000 sockets":  {2_000, "slow-2048@50/none"},
	} {
		require.Equal(t, want, c.String())
	}
}

func TestSlowdowns_ArePaired(t *testing.T) {
	r := results{Rows: []string{"dog"}}
	for round, p99 := range []float64{10, 20, 40} {
		for cell, v := range map[string]float64{"slow-64@5/none": p99, "slow-64@5/slow": 1.5 * p99} {
			result := wire.Result{Cell: cell, Sockets: 10, Last: &wire.Quantiles{P99: v}}
			r.Samples = append(r.Samples, sample{Round: round, Row: "dog", Result: result})
		}
	}
	require.Contains(t, r.markdown(rivals{subject: "dog"}), "| dog | 1.50 (1.50…1.50) |")
}

func TestPlot_IsWellFormedAndHasEveryRow(t *testing.T) {
	svg := someResults.plot("dog")
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	for _, row := range []string{"raw", "slower", "faster", "dog"} {
		require.Contains(t, svg, ">"+row+"<")
	}
	require.NotContains(t, svg, ">lossy<")
	require.Equal(t, 1, strings.Count(svg, `class="subject"`))
}

func TestJobs(t *testing.T) {
	o := options{
		sockets: []int{1000}, sizes: []int{64}, idle: 500, rooms: 50, time: time.Second, paces: []pace{{2000, 50}},
	}
	o.cells = []string{"w32", "slow"}
	require.Equal(t, []job{
		{sockets: 1000, cells: []string{"w32-64"}},
		{sockets: 2000, cells: []string{"slow-409@50"}, paced: true},
	}, o.jobs())
	o.cells = []string{"rooms"}
	require.Equal(t, []job{{sockets: 100, cells: []string{"rooms-64"}}}, o.jobs())
	o.cells, o.missed = []string{"storm"}, 50
	require.Equal(t, []job{{sockets: 1000, cells: []string{"storm-100x50"}}}, o.jobs())
	o.cells = nil
	require.Len(t, o.jobs(), 7)
	require.Equal(t, []string{"slow-409@50/none", "slow-409@50/slow"}, o.jobs()[6].expected())
}

func TestFlags_RefuseInvalidValues(t *testing.T) {
	for _, s := range []string{"1000,", "x", "0", "-1"} {
		_, err := numbers(s)
		require.Error(t, err, s)
	}
	for _, s := range []string{"1000", "1000@", "1000@5@5", "a@5"} {
		_, err := paces(s)
		require.Error(t, err, s)
	}
	var rows rowFlags
	require.Error(t, rows.Set("name"))
	require.NoError(t, rows.Set("dog-50=dog -dog.limit 50"))
	require.Equal(t, rowFlags{{name: "dog-50", args: []string{"-lib", "dog", "-dog.limit", "50"}}}, rows)
}

func TestRow_RunsOnlyItsCells(t *testing.T) {
	idle, slow := job{cells: []string{"idle"}}, job{cells: []string{"slow-256@10"}}
	for _, c := range []struct {
		row        row
		idle, slow bool
	}{
		{row{}, true, true},
		{row{only: []string{"idle"}}, true, false},
		{row{never: []string{"slow"}}, true, false},
		{row{never: []string{"rooms", "idle"}}, false, true},
	} {
		require.Equal(t, c.idle, c.row.does(idle), c.row)
		require.Equal(t, c.slow, c.row.does(slow), c.row)
	}
}
