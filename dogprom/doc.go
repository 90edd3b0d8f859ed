// Package dogprom exports the totals of a runtime of dog to Prometheus:
//
//	prometheus.MustRegister(dogprom.New(rt))
//	http.Handle("/metrics", promhttp.Handler())
//
// Each scrape reads [dog.Runtime.Totals] once. Between scrapes the collector
// does nothing. A scrape visits no objects and no sockets, so its duration
// hardly depends on their number.
//
// The names of all metrics begin with dog_. The label type is the name under
// which a type is registered, event the name of a handler (such as OnMessage or
// Call), code the code of a close frame, status the status of a response,
// reason a [dog.RefusalReason], and result the result of Identify. Close codes
// from 3000 on, which clients choose, are 0 after the first 50 of them. Names
// of objects and uids are not labels, since there may be millions of them.
//
// Histograms have the times of a sample of the events: see [dog.TypeTotals]. So
// their counts grow more slowly than dog_events_total.
package dogprom
