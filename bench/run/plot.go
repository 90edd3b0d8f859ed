package main

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/godurable/dog/bench/internal/figures"
)

// Measures of the plot, in pixels.
const (
	plotColumns = 2
	panelWidth  = 470
	labelWidth  = 120
	valueWidth  = 60
	barHeight   = 14
	barPitch    = 19
	titleHeight = 34
	panelGap    = 24
	plotMargin  = 12
)

// plot draws a panel for each of the metrics that a reader looks for first:
// bars for the medians, whiskers for the spread, the best row on top. It is
// readable on light and dark pages.
func (r results) plot(subject string) string {
	var panels []string
	var heights []int
	for _, m := range []metric{serverCPU, throughput, lastP99, idleKiB} {
		for _, c := range r.columns(m) {
			// For the small multiples, one size of messages is enough.
			large := strings.HasSuffix(c.cell, "-1024")
			if large || m.more && !strings.HasPrefix(c.cell, "w32") {
				continue
			}
			if body, height := r.panel(m, c, subject); height > 0 {
				panels, heights = append(panels, body), append(heights, height)
			}
		}
	}
	var b strings.Builder
	y := plotMargin
	for i := 0; i < len(panels); i += plotColumns {
		line := panels[i:min(i+plotColumns, len(panels))]
		for k, body := range line {
			fmt.Fprintf(&b, "<g transform=\"translate(%d %d)\">\n%s</g>\n", plotMargin+k*(panelWidth+panelGap), y, body)
		}
		y += slices.Max(heights[i:i+len(line)]) + panelGap
	}
	width := 2*plotMargin + plotColumns*panelWidth + (plotColumns-1)*panelGap
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d"
	font-family="system-ui, sans-serif" font-size="12">
<style>
text { fill: #24292f } .bar { fill: #8c959f } .subject { fill: #0969da } .floor { fill: #d0d7de }
.whisker { stroke: #24292f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .bar { fill: #6e7681 } .subject { fill: #4493f8 } .floor { fill: #3d444d }
.whisker { stroke: #e6edf3 }
}
</style>
%s</svg>
`, width, y, b.String())
}

// panel draws one cell of a metric; its height is 0 when nothing was measured.
func (r results) panel(m metric, c column, subject string) (body string, height int) {
	type bar struct {
		row string
		figures.Spread
	}
	var bars []bar
	longest := 0.0
	for _, row := range r.Rows {
		if s := figures.SpreadOf(r.values(m, c, row)); s.N > 0 {
			bars = append(bars, bar{row, s})
			longest = math.Max(longest, s.High)
		}
	}
	if len(bars) == 0 || longest <= 0 {
		return "", 0
	}
	slices.SortStableFunc(bars, func(a, b bar) int {
		if m.more {
			a, b = b, a
		}
		return cmp.Compare(a.Median, b.Median)
	})
	better := "less is better"
	if m.more {
		better = "more is better"
	}
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"<text y=\"12\" font-weight=\"600\">%s: %s</text>\n<text y=\"27\" font-size=\"11\" opacity=\".7\">%s</text>\n",
		escape(m.title), escape(c.String()), better,
	)
	scale := float64(panelWidth-labelWidth-valueWidth) / longest
	for i, bar := range bars {
		y := titleHeight + i*barPitch
		class := "bar"
		switch {
		case bar.row == floorRow:
			class = "floor"
		case bar.row == subject, strings.HasPrefix(bar.row, subject+"-") && bar.row != originalRow:
			class = "subject"
		}
		x := func(v float64) float64 { return labelWidth + math.Max(v, 0)*scale }
		middle := float64(y) + barHeight/2
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labelWidth-6, y+11, escape(bar.row))
		fmt.Fprintf(&b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n",
			class, labelWidth, y, x(bar.Median)-labelWidth, barHeight)
		if bar.N > 1 {
			fmt.Fprintf(&b, "<path class=\"whisker\" d=\"M%.1f %.1fH%.1f\"/>\n", x(bar.Low), middle, x(bar.High))
		}
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", x(bar.High)+5, y+11, figures.Format(bar.Median))
	}
	return b.String(), titleHeight + len(bars)*barPitch
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
