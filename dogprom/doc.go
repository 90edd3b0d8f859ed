// Package dogprom shows the totals of a runtime of dog to Prometheus:
//
//	prometheus.MustRegister(dogprom.New(rt))
//	http.Handle("/metrics", promhttp.Handler())
//
// Each scrape reads [dog.Runtime.Totals] once. Nothing is done between scrapes,
// and no object and no socket is visited, so the time of a scrape hardly
// depends on the number of objects.
//
// All metrics begin with dog_. The label type is the name under which a type is
// registered, event is that of a handler (such as OnMessage or Call), code that
// of a close frame, status that of a response, and result what became of a call
// of Identify. Names of objects and uids are no labels, since there may be
// millions of them.
//
// Histograms have the times of a sample of the events; see [dog.TypeTotals].
// Their counts grow more slowly than those of dog_events_total.
package dogprom
