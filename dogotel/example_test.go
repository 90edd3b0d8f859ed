package dogotel_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogotel"
)

// Door is an object that counts its visitors, and tells the house.
type Door struct{ dog.Object }

func (d *Door) Receive(w http.ResponseWriter, r *http.Request) error {
	n, err := dog.Call0(r.Context(), dog.NamespaceOf[Door](d).Named("house"), (*Door).Enter)
	if err == nil {
		fmt.Fprint(w, "welcome, you are number ", n)
	}
	return err
}

func (d *Door) Enter(context.Context) (int, error) {
	n, _, err := dog.Get[int](d.Storage(), "visitors")
	if err != nil {
		return 0, err
	}
	return n + 1, dog.Put(d.Storage(), "visitors", n+1)
}

// continued puts the trace of a request, which its traceparent names, into the
// request's context.
func continued(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// A program traces events and reports metrics. Here it prints the spans. A
// provider with the exporter of OTLP sends them to a collector instead.
func Example() {
	spans := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))

	rt, err := dog.New(dog.Options{Trace: dogotel.Trace(tracers)})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := dogotel.Register(meters, rt); err != nil {
		log.Fatal(err)
	}
	doors, err := dog.RegisterObject[Door](rt, "door", nil)
	if err != nil {
		log.Fatal(err)
	}

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	w := httptest.NewRecorder()
	continued(doors.Named("front")).ServeHTTP(w, r)
	fmt.Println(w.Body)

	ctx := context.Background()
	if err := rt.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	for _, s := range spans.GetSpans() {
		if s.Name != "dog.event door OnStart" {
			fmt.Println(s.Name, "in", s.SpanContext.TraceID())
		}
	}
	// Unordered output:
	// welcome, you are number 1
	// dog.event door Enter in 0af7651916cd43dd8448eb211c80319c
	// dog.event door Receive in 0af7651916cd43dd8448eb211c80319c
}
