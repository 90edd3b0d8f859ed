package dogotel

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/godurable/dog"
)

// scope is the name of the tracer and of the meter.
const scope = "github.com/godurable/dog/dogotel"

// Trace returns hooks that make a span of each event. It sets EventBegin and
// EventDone. The program may set the others, and call these two from hooks of
// its own: the context that EventBegin returns must reach the handler and
// EventDone. An event for which the program's hook does not call EventBegin has
// no span.
func Trace(provider trace.TracerProvider) *dog.Trace {
	t := tracer{provider.Tracer(scope)}
	return &dog.Trace{EventBegin: t.begin, EventDone: t.done}
}

type tracer struct{ trace.Tracer }

// spanKey is the key of the event's own span in its context, a [spanOf]. The
// current span may be another one, of a hook of the program.
type spanKey struct{}

// spanOf is a span and its event. An event for which a hook of the program does
// not call begin has the values of its caller's context, and with them the
// caller's span.
type spanOf struct {
	trace.Span
	object dog.ID
	kind   dog.EventKind
	began  time.Time
}

func (s spanOf) isOf(e *dog.EventInfo) bool {
	return s.object == e.Object.ID && s.kind == e.Kind && s.began.Equal(e.Began)
}

func (t tracer) begin(ctx context.Context, e dog.EventInfo) context.Context {
	options := make([]trace.SpanStartOption, 0, 5)
	attributes := []attribute.KeyValue{
		attribute.String("dog.type", e.Object.Namespace), attribute.String("dog.event", e.Kind.String()),
	}
	if e.Method != "" {
		attributes = append(attributes, attribute.String("dog.method", e.Method))
	}
	options = append(options,
		trace.WithSpanKind(kindOf(e.Kind)), trace.WithAttributes(attributes...), trace.WithTimestamp(e.Began))
	if e.Kind == dog.EventGo {
		options = append(options, trace.WithNewRoot())
	}
	if e.Starter != nil {
		if span := trace.SpanContextFromContext(e.Starter); span.IsValid() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: span}))
		}
	}
	ctx, span := t.Start(ctx, nameOf(&e), options...)
	if span.IsRecording() {
		span.SetAttributes(attribute.Float64("dog.event.wait", e.Wait.Seconds()))
		span.SetAttributes(identity("dog.object.", e.Object)...)
		if e.From != (dog.ObjectInfo{}) {
			span.SetAttributes(attribute.String("dog.caller.type", e.From.Namespace))
			span.SetAttributes(identity("dog.caller.", e.From)...)
		}
	}
	return context.WithValue(ctx, spanKey{}, spanOf{span, e.Object.ID, e.Kind, e.Began})
}

func (t tracer) done(ctx context.Context, e dog.EventInfo) {
	span, ok := ctx.Value(spanKey{}).(spanOf)
	if !ok || !span.isOf(&e) {
		return
	}
	if e.Err != nil && span.IsRecording() {
		span.SetAttributes(attribute.String("error.type", errorType(e.Err)))
		if dog.HTTPStatus(e.Err) >= 500 {
			span.SetStatus(codes.Error, e.Err.Error())
		}
	}
	span.End(trace.WithTimestamp(e.Began.Add(e.Run))) // hooks are queued, so it is later now
}

func nameOf(e *dog.EventInfo) string {
	handler := e.Method
	if handler == "" {
		handler = e.Kind.String()
	}
	return "dog.event " + e.Object.Namespace + " " + handler
}

// kindOf returns Consumer for what was sent or put off, and whose sender does
// not wait for it.
func kindOf(kind dog.EventKind) trace.SpanKind {
	switch kind {
	case dog.EventMessage, dog.EventGo, dog.EventTimer, dog.EventAlarm:
		return trace.SpanKindConsumer
	}
	return trace.SpanKindInternal
}

func identity(prefix string, o dog.ObjectInfo) []attribute.KeyValue {
	id := []attribute.KeyValue{attribute.String(prefix+"id", o.ID.String())}
	if o.Name != "" {
		id = append(id, attribute.String(prefix+"name", o.Name))
	}
	return id
}

// errorType returns one of few values for an error.
func errorType(err error) string {
	if _, ok := errors.AsType[*dog.PanicError](err); ok {
		return "panic"
	}
	if errors.Is(err, dog.ErrReset) {
		return "reset"
	}
	if status, ok := errors.AsType[*dog.StatusError](err); ok {
		return strconv.Itoa(status.Status)
	}
	return fmt.Sprintf("%T", err)
}
