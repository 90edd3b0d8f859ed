package main

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/bench/internal/drive"
)

// measured has commits per second of some rows by round; a negative figure is a
// failure.
func measured(rows map[string][]float64) results {
	r := results{Rows: rowNames, Sizes: fullSizes}
	for _, row := range rowNames {
		for round, v := range rows[row] {
			c := cell{Name: "commit", Objects: 64}
			if v < 0 {
				r.add(round, row, c, nil, errors.New("broken"))
			} else {
				r.add(round, row, c, drive.Figures{drive.PerSecond: v, drive.P99: 1e6 / v}, nil)
			}
		}
	}
	return r
}

var rowNames = []string{"dog", "slower", "faster", "broken"}

var someResults = measured(map[string][]float64{
	"dog":    {80, 100, 90},
	"slower": {4, 4, 4},
	"faster": {10, 10, 9}, // the better median
	"broken": {-1, -1, -1},
})

func TestRatios_ArePerRoundToTheBestPeer(t *testing.T) {
	p := place{"commit", 64, drive.PerSecond}
	ratios, best := someResults.overBest(p, true)
	require.Equal(t, "faster", best)
	require.Equal(t, map[int]float64{0: 8, 1: 10, 2: 10}, ratios)

	p.figure = drive.P99
	ratios, best = someResults.overBest(p, false)
	require.Equal(t, "faster", best)
	require.InDelta(t, 0.1, ratios[1], 1e-9)

	ratios, best = someResults.overBest(place{"call", 1, drive.PerSecond}, true)
	require.Empty(t, best)
	require.Empty(t, ratios)
}

func TestGoal_IsReachedOnlyInEveryRound(t *testing.T) {
	values := map[int]float64{0: 8, 1: 10, 2: 9}
	for _, c := range []struct {
		atLeast bool
		bound   float64
		want    string
	}{
		{true, 8, "yes"}, {true, 9, "in some rounds"}, {true, 10.5, "**no**"},
		{false, 10, "yes"}, {false, 9, "in some rounds"}, {false, 7.5, "**no**"},
	} {
		require.Equal(t, c.want, goal{values: values, atLeast: c.atLeast, bound: c.bound}.verdict(), c)
	}
	require.Equal(t, "–", goal{}.verdict())
}

func TestReport_HasGoalsFiguresAndFailures(t *testing.T) {
	tables := someResults.markdown()
	require.Contains(
		t, tables,
		"| store a key, wait until it is durable, 64 objects: per second, dog over the best peer's (faster) | "+
			"10.0 (8.00…10.0) | ≥ 8.00 | yes |",
	)
	require.Contains(t, tables, "| store a key, wait until it is durable, 64 objects | slower | 4.00 (4.00…4.00) |")
	require.Contains(t, tables, "- broken, store a key, wait until it is durable, 64 objects, round 2: broken")
	require.NotContains(t, tables, "alarms", "what was not measured is left out")
	require.Len(t, someResults.failures(), 3)

	quick := someResults
	quick.Sizes = quickSizes
	require.NotContains(t, quick.markdown(), "### Goals")
}

func TestStart_IsComparedWithAnEmptyStart(t *testing.T) {
	r := results{Rows: rowNames, Sizes: fullSizes}
	for objects, seconds := range map[int]float64{0: 0.25, fullSizes.Stored: 0.75} {
		r.add(0, subject, cell{Name: "start", Objects: objects}, drive.Figures{drive.Seconds: seconds}, nil)
	}
	require.Contains(t, r.markdown(),
		"| start with stored objects, 1,000,000 objects: seconds more than with none | 0.50 | ≤ 1.00 | yes |")
}

func TestCells_HaveTitlesAndKnownRows(t *testing.T) {
	for _, c := range fullSizes.cells() {
		require.NotEmpty(t, titles[c.Name], c)
		require.Subset(t, rows, c.rows)
		if c.data != nil {
			require.NotEmpty(t, titles[c.data.fill], c)
		}
	}
}

func TestCells_AreChosenByName(t *testing.T) {
	chosen, err := options{sizes: fullSizes, cells: []string{"commit", "call"}}.chosen()
	require.NoError(t, err)
	require.Len(t, chosen, 3)
	_, err = options{sizes: fullSizes, cells: []string{"no such"}}.chosen()
	require.ErrorContains(t, err, "no such")
}
