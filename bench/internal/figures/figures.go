// Package figures sums up and writes what several rounds of a measurement gave.
package figures

import (
	"fmt"
	"math"
	"slices"
)

// A Spread is what several rounds gave.
type Spread struct {
	Median, Low, High float64
	N                 int // rounds; 0: the others mean nothing
}

// SpreadOf sums up figures by round.
func SpreadOf(vs map[int]float64) Spread {
	if len(vs) == 0 {
		return Spread{}
	}
	var all []float64
	for _, v := range vs {
		all = append(all, v)
	}
	slices.Sort(all)
	mid := len(all) / 2
	s := Spread{Median: all[mid], Low: all[0], High: all[len(all)-1], N: len(all)}
	if len(all)%2 == 0 {
		s.Median = (all[mid-1] + all[mid]) / 2
	}
	return s
}

func (s Spread) String() string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return Format(s.Median)
	}
	return fmt.Sprintf("%s (%s…%s)", Format(s.Median), Format(s.Low), Format(s.High))
}

// Format writes three significant digits.
func Format(v float64) string {
	switch a := math.Abs(v); {
	case a >= 999_500:
		return fmt.Sprintf("%.3gM", v/1e6)
	case a >= 9_995:
		return fmt.Sprintf("%.0fk", v/1e3)
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a < 0.005:
		return "0"
	}
	return fmt.Sprintf("%.2f", v)
}

// Thousands writes a number with commas.
func Thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", Thousands(n/1000), n%1000)
}

// Divide divides round by round, where there are both.
func Divide(a, b map[int]float64) map[int]float64 {
	ratios := make(map[int]float64)
	for round, v := range a {
		if w := b[round]; w > 0 {
			ratios[round] = v / w
		}
	}
	return ratios
}
