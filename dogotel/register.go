package dogotel

import (
	"context"
	"math"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/godurable/dog"
)

// Register shows the totals of a runtime as metrics. It may be called before
// the runtime starts, and goes on reporting what types have counted after its
// Shutdown, until Unregister of the result. To have several runtimes in a
// process, give each a provider whose resource tells them apart.
//
// The events of a type are counted from the first collection or Register on
// that finds it registered.
func Register(provider metric.MeterProvider, rt *dog.Runtime) (metric.Registration, error) {
	m := maker{meter: provider.Meter(scope)}
	r := newReporter(&m)
	if m.err != nil {
		return nil, m.err
	}
	rt.Totals()
	return m.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		totals := rt.Totals()
		r.report(to, &totals)
		return nil
	}, m.all...)
}

// reporter has the instruments.
type reporter struct {
	ofTypes, ofRuntime                          []metric.Int64Observable // in the order of the tables
	histograms                                  []histogram
	events, failed, closed, refused, identified metric.Int64Observable
	refusals                                    metric.Int64Observable
	overdue, syncTime                           metric.Float64Observable
}

type histogram struct {
	sum           metric.Float64Observable
	count, bucket metric.Int64Observable
}

func newReporter(m *maker) *reporter {
	r := &reporter{
		events: m.count(events), failed: m.count(failed), closed: m.count(closed), refused: m.count(refused),
		refusals: m.count(refusals), identified: m.count(identified),
		overdue: m.seconds(overdue), syncTime: m.seconds(syncTime),
	}
	for _, i := range ofTypes {
		r.ofTypes = append(r.ofTypes, m.count(i.info))
	}
	for _, i := range ofRuntime {
		r.ofRuntime = append(r.ofRuntime, m.count(i.info))
	}
	for _, h := range histograms {
		r.histograms = append(r.histograms, histogram{
			sum:   m.seconds(info{counter, h.name + ".sum", "s", h.about}),
			count: m.count(info{counter, h.name + ".count", "{duration}", h.about}),
			bucket: m.count(info{
				counter, h.name + ".bucket", "{duration}", h.about + " Those below the attribute le, in seconds.",
			}),
		})
	}
	return r
}

func (r *reporter) report(to metric.Observer, totals *dog.Totals) {
	for i, of := range ofRuntime {
		to.ObserveInt64(r.ofRuntime[i], whole(of.value(totals)))
	}
	to.ObserveFloat64(r.syncTime, totals.Store.SyncTime.Seconds())
	for i := range totals.Types {
		r.reportType(to, &totals.Types[i])
	}
}

func (r *reporter) reportType(to metric.Observer, t *dog.TypeTotals) {
	name := attribute.String("dog.type", t.Name)
	with := func(more ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributes(append(more, name)...)
	}
	ofType := with()
	for i, of := range ofTypes {
		to.ObserveInt64(r.ofTypes[i], whole(of.value(t)), ofType)
	}
	to.ObserveFloat64(r.overdue, t.Alarms.Overdue.Seconds(), ofType)
	for kind, n := range t.Events {
		event := with(attribute.String("dog.event", kind.String()))
		to.ObserveInt64(r.events, whole(n.Done), event)
		to.ObserveInt64(r.failed, whole(n.Failed), event)
	}
	for code, n := range t.Closed {
		to.ObserveInt64(r.closed, whole(n), with(attribute.Int("dog.close_code", code)))
	}
	for status, n := range t.Refused {
		to.ObserveInt64(r.refused, whole(n), with(attribute.Int("http.response.status_code", status)))
	}
	for reason, n := range t.RefusedFor {
		to.ObserveInt64(r.refusals, whole(n), with(attribute.String("dog.refusal.reason", string(reason))))
	}
	if t.Kind == dog.KindGroup {
		for result, n := range map[string]uint64{
			"known": t.Identified.Known, "returned": t.Identified.Returned, "new": t.Identified.New,
			"full": t.Identified.Full,
		} {
			to.ObserveInt64(r.identified, whole(n), with(attribute.String("dog.identify.result", result)))
		}
	}
	for i, of := range histograms {
		h, d := &r.histograms[i], of.value(t)
		to.ObserveFloat64(h.sum, d.Sum.Seconds(), ofType)
		to.ObserveInt64(h.count, whole(d.Count), ofType)
		for bound, below := range d.Buckets() {
			if shown(bound) {
				le := strconv.FormatFloat(bound.Seconds(), 'g', -1, 64)
				to.ObserveInt64(h.bucket, whole(below), with(attribute.String("le", le)))
			}
		}
		to.ObserveInt64(h.bucket, whole(d.Count), with(attribute.String("le", "+Inf")))
	}
}

// shown reports whether a bound gets a bucket: powers of four from a
// microsecond to a minute or so. All of them would be 145 series for each
// histogram.
func shown(bound time.Duration) bool {
	for b := time.Duration(1 << 10); b <= 1<<36; b <<= 2 {
		if b == bound {
			return true
		}
	}
	return false
}

func whole(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
