package dogotel_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogotel"
	"github.com/godurable/dog/dogtest"
)

func TestTrace_SpansOfCallsLieWithinThatOfTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relays, recorder := newTraced(t, nil)
		outside, end := sdk.NewTracerProvider().Tracer("test").Start(t.Context(), "outside")
		defer end.End()
		do := (*relay).Do
		require.NoError(t, dog.CallErr(outside, relays.Named("a"), do, func(ctx context.Context, _ *relay) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			return dog.CallErr(ctx, relays.Named("b"), (*relay).Do, func(ctx context.Context, _ *relay) error {
				require.True(t, trace.SpanFromContext(ctx).IsRecording(), "the handler may add to it")
				return dog.CallErr(ctx, relays.Named("new"), (*relay).Do, nil)
			})
		}))
		synctest.Wait()
		a := span(t, recorder, "dog.event relay Do", "a")
		b := span(t, recorder, "dog.event relay Do", "b")
		require.Equal(t, end.SpanContext().SpanID(), a.Parent().SpanID())
		require.Equal(t, a.SpanContext().SpanID(), b.Parent().SpanID())
		for _, name := range []string{"OnStart", "Do"} {
			s := span(t, recorder, "dog.event relay "+name, "new")
			require.Equal(t, b.SpanContext().SpanID(), s.Parent().SpanID())
			require.Equal(t, end.SpanContext().TraceID(), s.SpanContext().TraceID())
			require.Equal(t, "b", valueOf(s.Attributes(), "dog.caller.name"))
			require.Equal(t, trace.SpanKindInternal, s.SpanKind())
		}
		require.Empty(t, valueOf(a.Attributes(), "dog.caller.type"))
		for key, value := range map[string]string{
			"dog.type": "relay", "dog.event": "Call", "dog.method": "Do", "dog.object.name": "b",
			"dog.object.id": relays.Named("b").ID().String(), "dog.caller.type": "relay",
			"dog.caller.id": relays.Named("a").ID().String(), "dog.caller.name": "a", "dog.event.wait": "0",
		} {
			require.Equal(t, value, valueOf(b.Attributes(), key), key)
		}
		require.Equal(t, codes.Unset, b.Status().Code)
		require.Equal(t, len(recorder.Started()), len(recorder.Ended()))
	})
}

// A program reads the header before the stub. Between objects, the context has
// the span.
func TestTrace_SpansOfRequestsContinueATrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var relays *dog.Namespace[relay]
		relays, recorder := newTraced(t, func(r *relay, w http.ResponseWriter, req *http.Request) error {
			if r.Name() == "b" {
				return nil
			}
			out, err := http.NewRequestWithContext(req.Context(), http.MethodGet, "http://b/", nil)
			require.NoError(t, err)
			response, err := relays.Named("b").RoundTrip(out)
			require.NoError(t, err)
			return response.Body.Close()
		})
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		ctx := propagation.TraceContext{}.Extract(req.Context(), propagation.HeaderCarrier(req.Header))
		relays.Named("a").ServeHTTP(httptest.NewRecorder(), req.WithContext(ctx))
		synctest.Wait()
		a, b := span(t, recorder, "dog.event relay Receive", "a"), span(t, recorder, "dog.event relay Receive", "b")
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", a.SpanContext().TraceID().String())
		require.Equal(t, "b7ad6b7169203331", a.Parent().SpanID().String())
		require.Equal(t, a.SpanContext().SpanID(), b.Parent().SpanID())
	})
}

func TestTrace_SpansOfEventsWithoutACallerBeginATrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relays, recorder := newTraced(t, func(r *relay, w http.ResponseWriter, req *http.Request) error {
			_, err := r.Connect(w, req, nil)
			return err
		})
		ctx, end := sdk.NewTracerProvider().Tracer("test").Start(t.Context(), "outside")
		defer end.End()
		require.NoError(t, dog.CallErr(ctx, relays.Named("a"), (*relay).Do, func(ctx context.Context, r *relay) error {
			r.After(time.Second, func(context.Context) error { return nil })
			if err := r.Storage().Alarms().Set(time.Now().Add(time.Second)); err != nil {
				return err
			}
			return dog.Go(ctx, func(context.Context) error { return nil })
		}))
		dogtest.Serve(t, relays.Named("a")).Dial("/").Send("hello")
		time.Sleep(time.Minute)
		synctest.Wait()
		starter := span(t, recorder, "dog.event relay Do", "a")
		for _, handler := range []string{"Go", "timer", "OnAlarm", "OnMessage"} {
			s := span(t, recorder, "dog.event relay "+handler, "a")
			require.False(t, s.Parent().IsValid(), handler)
			require.NotEqual(t, starter.SpanContext().TraceID(), s.SpanContext().TraceID())
			require.Equal(t, trace.SpanKindConsumer, s.SpanKind(), handler)
			if handler == "Go" {
				require.Len(t, s.Links(), 1)
				require.Equal(t, starter.SpanContext().SpanID(), s.Links()[0].SpanContext.SpanID())
			} else {
				require.Empty(t, s.Links(), handler)
			}
		}
	})
}

func TestTrace_SpansHaveTheError(t *testing.T) {
	for name, c := range map[string]struct {
		fails func() error
		code  codes.Code
		typ   string
	}{
		"an error":  {func() error { return errors.New("on purpose") }, codes.Error, "*errors.errorString"},
		"a refusal": {func() error { return &dog.StatusError{Status: 403} }, codes.Unset, "403"},
		"a failure": {func() error { return &dog.StatusError{Status: 503} }, codes.Error, "503"},
		"a panic":   {func() error { panic("on purpose") }, codes.Error, "panic"},
		"a success": {func() error { return nil }, codes.Unset, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				relays, recorder := newTraced(t, nil)
				_ = dog.CallErr(t.Context(), relays.Named("a"), (*relay).Do,
					func(context.Context, *relay) error { return c.fails() })
				synctest.Wait()
				s := span(t, recorder, "dog.event relay Do", "a")
				require.Equal(t, c.code, s.Status().Code)
				require.Equal(t, c.typ, valueOf(s.Attributes(), "error.type"))
			})
		})
	}
}

// Its own hooks may put other spans into the context.
func TestTrace_ProgramMayAddHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relays, recorder := newTraced(t, nil)
		provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
		spans := dogotel.Trace(provider)
		_, others := newRelays(t, dog.Options{Trace: &dog.Trace{
			EventBegin: func(ctx context.Context, e dog.EventInfo) context.Context {
				ctx, _ = provider.Tracer("test").Start(spans.EventBegin(ctx, e), "inner")
				return ctx
			},
			EventDone: func(ctx context.Context, e dog.EventInfo) {
				spans.EventDone(ctx, e)
				trace.SpanFromContext(ctx).End()
			},
		}}, nil)
		require.NoError(t, dog.CallErr(t.Context(), others.Named("other"), (*relay).Do,
			func(ctx context.Context, _ *relay) error {
				return dog.CallErr(ctx, relays.Named("a"), (*relay).Do, nil)
			}))
		synctest.Wait()
		require.Equal(t, len(recorder.Started()), len(recorder.Ended()))
		a := span(t, recorder, "dog.event relay Do", "a")
		for _, s := range recorder.Ended() {
			if s.SpanContext().SpanID() == a.Parent().SpanID() {
				require.Equal(t, "inner", s.Name())
				return
			}
		}
		require.Fail(t, "the span has no parent")
	})
}
