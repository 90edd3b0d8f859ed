package dogotel_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogotel"
	"github.com/godurable/dog/dogtest"
)

// A relay is an object that does what the test asks for.
type relay struct {
	dog.Object
	pass func(r *relay, w http.ResponseWriter, req *http.Request) error
}

func (r *relay) Receive(w http.ResponseWriter, req *http.Request) error { return r.pass(r, w, req) }

func (r *relay) OnAlarm(context.Context, dog.Alarm) error { return nil }

func (r *relay) OnMessage(context.Context, *dog.Socket, dog.Message) error {
	return errors.New("on purpose")
}

// Do runs f, which may be nil.
func (r *relay) Do(ctx context.Context, f func(context.Context, *relay) error) error {
	if f == nil {
		return nil
	}
	return f(ctx, r)
}

type (
	hall struct{ dog.Group }
	seat struct{ dog.Replica }
)

func (s *seat) Receive(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// newRelays returns a runtime with relays.
func newRelays(
	t testing.TB, options dog.Options, pass func(*relay, http.ResponseWriter, *http.Request) error,
) (*dog.Runtime, *dog.Namespace[relay]) {
	t.Helper()
	rt := dogtest.New(t, options)
	relays, err := dog.RegisterObject(rt, "relay", &dog.ObjectOptions[relay]{
		New: func() *relay { return &relay{pass: pass} },
	})
	require.NoError(t, err)
	return rt, relays
}

// newTraced returns relays with the spans of their events. The objects a, b and
// c have started.
func newTraced(
	t testing.TB, pass func(*relay, http.ResponseWriter, *http.Request) error,
) (*dog.Namespace[relay], *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
	_, relays := newRelays(t, dog.Options{Trace: dogotel.Trace(provider)}, pass)
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, dog.CallErr(t.Context(), relays.Named(name), (*relay).Do, nil))
	}
	return relays, recorder
}

// span returns the span of the only event with a name, of an object with a
// name, among the latest that have ended.
func span(t testing.TB, recorder *tracetest.SpanRecorder, name, object string) sdk.ReadOnlySpan {
	t.Helper()
	spans := recorder.Ended()
	for i := len(spans) - 1; i >= 0; i-- {
		if s := spans[i]; s.Name() == name && valueOf(s.Attributes(), "dog.object.name") == object {
			return s
		}
	}
	require.Fail(t, "there is no span "+name+" of "+object)
	return nil
}

// valueOf returns the value of an attribute, or "".
func valueOf(attributes []attribute.KeyValue, key string) string {
	for _, a := range attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}
