// Package dogotel makes OpenTelemetry spans of the events of a runtime of dog,
// and shows its totals as metrics:
//
//	rt, err := dog.New(dog.Options{Trace: dogotel.Trace(otel.GetTracerProvider())})
//	…
//	registration, err := dogotel.Register(otel.GetMeterProvider(), rt)
//
// # Spans
//
// A span is the run of a handler, from its turn to its return. Its name is
// dog.event, the name under which the type is registered, and the method that
// is called or else the handler: "dog.event counter Add", "dog.event room
// OnMessage". A handler that waits, for a call or in [dog.Await], waits within
// its span.
//
// The parent of a span is what waits for it. So what a handler calls has spans
// within the handler's, across any number of objects. The same holds for
// requests between objects and gossip. A link names what has caused a span and
// does not wait for it. Only a function given to [dog.Go] has one, to the span
// of the handler that called Go. It begins a trace of its own: an object that
// starts itself again and again would otherwise have a trace without end.
//
// An event that is caused from outside has the span of the caller's context as
// its parent: that of [dog.Call], and that of an HTTP request. Headers of
// requests are not read: for a traceparent, put something before the stub that
// reads it into the request's context, such as otelhttp, or a few lines with a
// propagator, which the example has. Events of sockets, timers and alarms begin
// a trace, and have no link: a socket's client is no handler, and what set a
// timer or an alarm may have ended long ago, in another process.
//
// The attributes are dog.type, dog.event (such as Call or OnMessage),
// dog.method, dog.object.id, dog.object.name, dog.caller.type, dog.caller.id
// and dog.caller.name for an event that another object waits for, and
// dog.event.wait, the seconds until the turn came. A handler that returns an
// error sets error.type, and the status of the span unless the error is the
// program's own refusal: one for which [dog.HTTPStatus] is less than 500.
//
// # Metrics
//
// Each collection reads [dog.Runtime.Totals] once. Nothing is done between
// collections, and no object and no socket is visited. The metrics are those of
// dogprom, with dots in their names. The attributes are dog.type, dog.event,
// dog.close_code, http.response.status_code, dog.refusal.reason (see
// [dog.RefusalReason]) and dog.identify.result.
//
// The API has no histogram that is observed. So a histogram is three counters,
// such as dog.event.run.sum, .count and .bucket. The last has the number of
// durations below the attribute le, in seconds, as in Prometheus.
package dogotel
