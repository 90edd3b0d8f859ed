package tally_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/tally"
)

func TestHistogram_PutsADurationBelowItsBoundAndNotBelowTheOneBefore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		bits := rapid.IntRange(0, 63).Draw(rt, "bits")
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64>>(63-max(bits, 1))).Draw(rt, "duration"))
		var h tally.Histogram
		h.Add(d)
		sum, counts := h.Read()
		require.Equal(rt, d, sum)
		for i, n := range counts {
			if n == 0 {
				continue
			}
			if i > 0 {
				require.GreaterOrEqual(rt, d, tally.Bound(i-1))
			}
			if bound := tally.Bound(i); i < tally.Buckets-1 {
				require.Less(rt, d, bound)
				if i > 0 {
					require.LessOrEqual(rt, float64(bound), 1.25*float64(tally.Bound(i-1)))
				}
			}
			return
		}
		require.Fail(rt, "it is in no bucket")
	})
}

func TestHistogram_CountsDurationsBelowZeroAsZero(t *testing.T) {
	var h tally.Histogram
	h.Add(-time.Hour)
	sum, counts := h.Read()
	require.Zero(t, sum)
	require.EqualValues(t, 1, counts[0])
}

func TestHistogram_SumStaysAtTheGreatestDuration(t *testing.T) {
	var h tally.Histogram
	for range 3 {
		h.Add(math.MaxInt64 / 2)
	}
	sum, _ := h.Read()
	require.EqualValues(t, math.MaxInt64, sum)
}

func TestBound_Grows(t *testing.T) {
	for i := range tally.Buckets - 2 {
		require.Less(t, tally.Bound(i), tally.Bound(i+1))
	}
	require.Equal(t, 64*time.Nanosecond, tally.Bound(0))
	require.Equal(t, time.Duration(1<<42), tally.Bound(tally.Buckets-2))
	require.Zero(t, tally.Bound(tally.Buckets-1))
}

func TestCodes(t *testing.T) {
	var c tally.Codes
	require.Nil(t, c.Read())
	c.Add(1000)
	c.Add(1006)
	c.Add(1000)
	read := c.Read()
	require.Equal(t, map[int]uint64{1000: 2, 1006: 1}, read)
	c.Add(1006)
	require.EqualValues(t, 1, read[1006])
}

// Clients choose codes from 3000 on, so the number of these is bounded.
func TestCodes_DistinguishFiftyThatAreChosen(t *testing.T) {
	var c tally.Codes
	for code := range 2000 {
		c.Add(3000 + code)
	}
	c.Add(3000)
	for code := 1000; code < 1016; code++ {
		c.Add(code)
	}
	read := c.Read()
	require.Len(t, read, 50+1+16, "those of the protocol are few, and always distinguished")
	require.EqualValues(t, 2, read[3000])
	require.EqualValues(t, 1950, read[0])
	require.EqualValues(t, 1, read[1006])
}

func TestCounts(t *testing.T) {
	var n tally.Counts[string]
	require.Nil(t, n.Read())
	n.Add("full")
	n.Add("full")
	read := n.Read()
	n.Add("gone")
	require.Equal(t, map[string]uint64{"full": 2}, read)
}

func TestTraffic_OfNobodyCountsNothing(t *testing.T) {
	var none *tally.Traffic
	none.MessageIn(none.Stripe())
	none.BytesIn(0, 1)
	none.MessagesOut(0, 1)
	none.BytesOut(0, 1)
	none.Dropped(1)
	none.Coalesced(1)
	none.Lost(1)
}
