package dogprom_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogprom"
	"github.com/godurable/dog/dogtest"
)

// A meter is an object with an alarm.
type meter struct{ dog.Object }

func (m *meter) OnAlarm(context.Context, dog.Alarm) error { return nil }

// Read stores a reading, or fails if it is below 0.
func (m *meter) Read(_ context.Context, n int) error {
	if n < 0 {
		return errors.New("on purpose")
	}
	return dog.Put(m.Storage(), "n", n)
}

func (m *meter) Nothing(context.Context) error { return nil }

// A hang is what Hang waits for.
type hang struct {
	began chan struct{} // closed when Hang has the turn
	until chan struct{}
}

func newHang() hang { return hang{make(chan struct{}), make(chan struct{})} }

// Hang waits and keeps the turn.
func (m *meter) Hang(_ context.Context, h hang) error {
	close(h.began)
	<-h.until
	return nil
}

type (
	hall struct{ dog.Group }
	seat struct{ dog.Replica }
)

func (s *seat) Receive(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// newRuntime returns a runtime with meters and halls, and a registry with its
// collector.
func newRuntime(t testing.TB, options dog.Options) (*dog.Runtime, *dog.Namespace[meter], *prometheus.Registry) {
	t.Helper()
	rt := dogtest.New(t, options)
	meters, err := dog.RegisterObject[meter](rt, "meter", nil)
	require.NoError(t, err)
	seats, err := dog.RegisterReplica[seat](rt, "seat", nil)
	require.NoError(t, err)
	halls, err := dog.RegisterGroup(rt, "hall", seats, &dog.GroupOptions[hall]{Limit: 10})
	require.NoError(t, err)
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(dogprom.New(rt)))
	stub, err := halls.Named("main").Identify(t.Context(), "ada")
	require.NoError(t, err)
	stub.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	return rt, meters, registry
}

// refusedRequest returns the arguments of ServeHTTP for a request of nobody.
func refusedRequest() (http.ResponseWriter, *http.Request) {
	return httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
}

func TestCollector_ReportsWhatTypesHaveDone(t *testing.T) {
	_, meters, registry := newRuntime(t, dog.Options{})
	for _, n := range []int{1, 2, -1} {
		_ = dog.CallErr(t.Context(), meters.Named("kitchen"), (*meter).Read, n)
	}
	meters.Named("").ServeHTTP(refusedRequest())
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP dog_events_total Handlers that have returned.
# TYPE dog_events_total counter
dog_events_total{event="Call",type="meter"} 3
dog_events_total{event="OnStart",type="hall"} 1
dog_events_total{event="OnStart",type="meter"} 1
dog_events_total{event="OnStart",type="seat"} 1
dog_events_total{event="Receive",type="seat"} 1
# HELP dog_event_errors_total Handlers that have returned an error or panicked.
# TYPE dog_event_errors_total counter
dog_event_errors_total{event="Call",type="meter"} 1
dog_event_errors_total{event="OnStart",type="hall"} 0
dog_event_errors_total{event="OnStart",type="meter"} 0
dog_event_errors_total{event="OnStart",type="seat"} 0
dog_event_errors_total{event="Receive",type="seat"} 0
# HELP dog_storage_writes_total Writes of keys, alarms and rows by handlers.
# TYPE dog_storage_writes_total counter
dog_storage_writes_total{type="hall"} 0
dog_storage_writes_total{type="meter"} 2
dog_storage_writes_total{type="seat"} 0
# HELP dog_identify_total Calls of Identify, by the replica that they chose, or full if there was none.
# TYPE dog_identify_total counter
dog_identify_total{result="full",type="hall"} 0
dog_identify_total{result="known",type="hall"} 0
dog_identify_total{result="new",type="hall"} 1
dog_identify_total{result="returned",type="hall"} 0
# HELP dog_requests_refused_total Requests that were answered with an error.
# TYPE dog_requests_refused_total counter
dog_requests_refused_total{status="400",type="meter"} 1
# HELP dog_refusals_total Requests that were answered with an error, by the reason.
# TYPE dog_refusals_total counter
dog_refusals_total{reason="name",type="meter"} 1
`), "dog_events_total", "dog_event_errors_total", "dog_storage_writes_total", "dog_identify_total",
		"dog_requests_refused_total", "dog_refusals_total"))
}

// Their names, units and help texts follow the conventions of Prometheus.
func TestCollector_IsCleanForPromlint(t *testing.T) {
	rt, meters, registry := newRuntime(t, dog.Options{})
	require.NoError(t, dog.CallErr(t.Context(), meters.Named("kitchen"), (*meter).Read, 1))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Greater(t, testutil.CollectAndCount(dogprom.New(rt)), 60)
}

func TestCollector_HistogramsHaveTheTimesOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, meters, registry := newRuntime(t, dog.Options{
			Trace: &dog.Trace{EventDone: func(context.Context, dog.EventInfo) {}}, // so that all are timed
		})
		h := newHang()
		time.AfterFunc(20*time.Millisecond, func() { close(h.until) })
		require.NoError(t, dog.CallErr(t.Context(), meters.Named("kitchen"), (*meter).Hang, h))
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			if family.GetName() != "dog_event_run_seconds" {
				continue
			}
			for _, m := range family.Metric {
				if m.Label[0].GetValue() != "meter" {
					continue
				}
				h := m.Histogram
				require.EqualValues(t, 2, h.GetSampleCount(), "the start and the call")
				require.InDelta(t, 0.02, h.GetSampleSum(), 1e-9)
				require.Len(t, h.Bucket, 14)
				for _, b := range h.Bucket {
					if b.GetUpperBound() < 0.02 {
						require.EqualValues(t, 1, b.GetCumulativeCount(), b.GetUpperBound())
					}
				}
				return
			}
		}
		require.Fail(t, "there is no such histogram")
	})
}

// A scrape takes the turn of no object, so one that hangs does not hold it up.
func TestCollector_WaitsForNoObject(t *testing.T) {
	_, meters, registry := newRuntime(t, dog.Options{})
	h := newHang()
	ended := make(chan error, 1)
	go func() { ended <- dog.CallErr(context.Background(), meters.Named("kitchen"), (*meter).Hang, h) }()
	<-h.began
	_, err := registry.Gather()
	require.NoError(t, err)
	close(h.until)
	require.NoError(t, <-ended)
}

func TestCollector_ReportsAStoreThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		_, meters, registry := newRuntime(t, dog.Options{Store: disk})
		writable := func() string {
			w := httptest.NewRecorder()
			handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
			handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			for line := range bytes.Lines(w.Body.Bytes()) {
				if name, value, _ := strings.Cut(strings.TrimSpace(string(line)), " "); name == "dog_store_writable" {
					return value
				}
			}
			return ""
		}
		require.Equal(t, "1", writable())
		disk.Fill()
		time.Sleep(2 * time.Second) // the store notices within one
		require.ErrorIs(t, dog.CallErr(t.Context(), meters.Named("kitchen"), (*meter).Read, 1), dog.ErrStoreFull)
		require.Equal(t, "0", writable())
	})
}

// The time of a scrape does not depend on the number of objects.
func BenchmarkScrape(b *testing.B) {
	for _, objects := range []int{1, 100_000} {
		b.Run(strconv.Itoa(objects), func(b *testing.B) {
			_, meters, registry := newRuntime(b, dog.Options{MaxObjects: -1})
			for i := range objects {
				require.NoError(b, dog.CallErr0(b.Context(), meters.Named(strconv.Itoa(i)), (*meter).Nothing))
			}
			handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
			b.ResetTimer()
			for b.Loop() {
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
			}
		})
	}
}
