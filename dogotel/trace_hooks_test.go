package dogotel_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogotel"
)

// newFiltered returns relays with the spans of those events that filter passes
// on to Trace. If it does not, the hook of the program returns nil.
func newFiltered(
	t *testing.T, filter func(dog.EventInfo) bool,
) (*dog.Namespace[relay], *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	hooks := dogotel.Trace(sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)))
	begin := hooks.EventBegin
	hooks.EventBegin = func(ctx context.Context, e dog.EventInfo) context.Context {
		if filter(e) {
			return begin(ctx, e)
		}
		return nil
	}
	_, relays := newRelays(t, dog.Options{Trace: hooks}, nil)
	return relays, recorder
}

// spanOfCaller calls an object within a handler that runs for a second before
// and after, and returns the span of the handler.
func spanOfCaller(
	t *testing.T, relays *dog.Namespace[relay], recorder *tracetest.SpanRecorder, callee string,
) sdk.ReadOnlySpan {
	t.Helper()
	require.NoError(t, dog.CallErr(t.Context(), relays.Named("a"), (*relay).Do,
		func(ctx context.Context, _ *relay) error {
			time.Sleep(time.Second)
			_ = dog.CallErr(ctx, relays.Named(callee), (*relay).Do, nil)
			time.Sleep(time.Second)
			return nil
		}))
	synctest.Wait()
	require.Equal(t, len(recorder.Started()), len(recorder.Ended()))
	return span(t, recorder, "dog.event relay Do", "a")
}

// The context of an event without a span has the values of its caller's.
func TestTrace_EventWithoutASpanDoesNotEndThatOfItsCaller(t *testing.T) {
	for name, c := range map[string]struct {
		callee string
		filter func(dog.EventInfo) bool
	}{
		"a filter by object": {"b", func(e dog.EventInfo) bool { return e.Object.Name == "a" }},
		"a filter by caller": {"a", func(e dog.EventInfo) bool { return e.From == (dog.ObjectInfo{}) }},
		"a panic": {"b", func(e dog.EventInfo) bool {
			if e.Kind == dog.EventCall && e.Object.Name == "b" {
				panic("on purpose")
			}
			return true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				relays, recorder := newFiltered(t, c.filter)
				s := spanOfCaller(t, relays, recorder, c.callee)
				require.Equal(t, 2*time.Second, s.EndTime().Sub(s.StartTime()))
				require.Empty(t, valueOf(s.Attributes(), "error.type"), "it has not failed")
			})
		})
	}
}

// Hooks are called when the handler has returned, and may have to wait.
func TestTrace_SpanEndsWithTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := tracetest.NewSpanRecorder()
		hooks := dogotel.Trace(sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)))
		done := hooks.EventDone
		hooks.EventDone = func(ctx context.Context, e dog.EventInfo) {
			time.Sleep(time.Hour)
			done(ctx, e)
		}
		_, relays := newRelays(t, dog.Options{Trace: hooks}, nil)
		began := time.Now()
		require.NoError(t, dog.CallErr(t.Context(), relays.Named("a"), (*relay).Do,
			func(context.Context, *relay) error { time.Sleep(time.Second); return nil }))
		time.Sleep(3 * time.Hour)
		s := span(t, recorder, "dog.event relay Do", "a")
		require.WithinRange(t, s.StartTime(), began, began.Add(time.Hour))
		require.Equal(t, time.Second, s.EndTime().Sub(s.StartTime()))
	})
}

// Await is part of its handler, and gives the turn to other events.
func TestTrace_SpansOfAHandlerThatAwaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relays, recorder := newTraced(t, nil)
		ended := make(chan error)
		go func() {
			ended <- dog.CallErr(context.Background(), relays.Named("a"), (*relay).Do,
				func(ctx context.Context, _ *relay) error {
					return dog.Await(ctx, func() error {
						time.Sleep(2 * time.Second)
						return dog.CallErr(ctx, relays.Named("b"), (*relay).Do,
							func(context.Context, *relay) error { time.Sleep(time.Second); return nil })
					})
				})
		}()
		time.Sleep(time.Second)
		require.NoError(t, dog.CallErr(t.Context(), relays.Named("a"), (*relay).Do, nil))
		synctest.Wait()
		meanwhile := span(t, recorder, "dog.event relay Do", "a")
		require.Zero(t, meanwhile.EndTime().Sub(meanwhile.StartTime()))
		require.False(t, meanwhile.Parent().IsValid())
		require.NoError(t, <-ended)
		synctest.Wait()
		a, b := span(t, recorder, "dog.event relay Do", "a"), span(t, recorder, "dog.event relay Do", "b")
		require.Equal(t, 3*time.Second, a.EndTime().Sub(a.StartTime()))
		require.Equal(t, time.Second, b.EndTime().Sub(b.StartTime()))
		require.Equal(t, a.EndTime(), b.EndTime())
		require.Equal(t, a.SpanContext().SpanID(), b.Parent().SpanID())
		for _, s := range []sdk.ReadOnlySpan{a, b, meanwhile} {
			require.Empty(t, s.Links())
			require.Equal(t, trace.SpanKindInternal, s.SpanKind())
		}
	})
}
