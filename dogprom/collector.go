package dogprom

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/godurable/dog"
)

// New returns a collector of the totals of a runtime. It may be registered
// before the runtime starts, and still reports the counts after Shutdown. To
// have several runtimes in a process, wrap each registerer with a label:
// [prometheus.WrapRegistererWith].
//
// Events of a type are counted from the first New or scrape after the type was
// registered.
func New(rt *dog.Runtime) prometheus.Collector {
	rt.Totals()
	return &collector{rt}
}

type collector struct{ rt *dog.Runtime }

// Describe implements [prometheus.Collector].
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range ofTypes {
		descs <- m.desc
	}
	for _, m := range byEvent {
		descs <- m.desc
	}
	for _, m := range byCode {
		descs <- m.desc
	}
	for _, m := range histograms {
		descs <- m.desc
	}
	for _, m := range ofRuntime {
		descs <- m.desc
	}
	descs <- refusals
	descs <- identified
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	totals := c.rt.Totals()
	for _, m := range ofRuntime {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&totals))
	}
	for i := range totals.Types {
		collectType(metrics, &totals.Types[i])
	}
}

func collectType(metrics chan<- prometheus.Metric, t *dog.TypeTotals) {
	for _, m := range ofTypes {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(t), t.Name)
	}
	for _, m := range byEvent {
		for kind, n := range t.Events {
			metrics <- prometheus.MustNewConstMetric(
				m.desc, prometheus.CounterValue, float64(m.value(n)), t.Name, kind.String(),
			)
		}
	}
	for _, m := range byCode {
		for code, n := range m.counts(t) {
			metrics <- prometheus.MustNewConstMetric(
				m.desc, prometheus.CounterValue, float64(n), t.Name, strconv.Itoa(code),
			)
		}
	}
	for reason, n := range t.RefusedFor {
		metrics <- prometheus.MustNewConstMetric(
			refusals, prometheus.CounterValue, float64(n), t.Name, string(reason),
		)
	}
	if t.Kind == dog.KindGroup {
		for result, n := range map[string]uint64{
			"known": t.Identified.Known, "returned": t.Identified.Returned, "new": t.Identified.New,
			"full": t.Identified.Full,
		} {
			metrics <- prometheus.MustNewConstMetric(
				identified, prometheus.CounterValue, float64(n), t.Name, result,
			)
		}
	}
	for _, m := range histograms {
		d := m.value(t)
		metrics <- prometheus.MustNewConstHistogram(m.desc, d.Count, d.Sum.Seconds(), buckets(d), t.Name)
	}
}

// buckets returns the number of durations below each exported bound: powers of
// four from a microsecond to about a minute. All bounds would be 145 series for
// each histogram.
func buckets(d *dog.Durations) map[float64]uint64 {
	all := make(map[float64]uint64, len(bounds))
	for bound, below := range d.Buckets() {
		if slices.Contains(bounds, bound) {
			all[bound.Seconds()] = below
		}
	}
	return all
}

// bounds are the exported ones of [dog.Durations].
var bounds = func() (all []time.Duration) {
	for bound := time.Duration(1 << 10); bound <= 1<<36; bound <<= 2 {
		all = append(all, bound)
	}
	return all
}()
