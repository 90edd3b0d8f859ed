package dogotel_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogotel"
	"github.com/godurable/dog/dogtest"
)

// collected has the values of a metric by its attributes: "dog.type=relay".
type collected struct {
	metricdata.Metrics
	values map[string]float64
}

// collect returns what a reader reads now, by the names of metrics.
func collect(t testing.TB, reader sdk.Reader) map[string]collected {
	t.Helper()
	var read metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &read))
	all := make(map[string]collected)
	for _, scope := range read.ScopeMetrics {
		for _, m := range scope.Metrics {
			c := collected{m, make(map[string]float64)}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				addPoints(c.values, data.DataPoints)
			case metricdata.Sum[float64]:
				addPoints(c.values, data.DataPoints)
			case metricdata.Gauge[int64]:
				addPoints(c.values, data.DataPoints)
			case metricdata.Gauge[float64]:
				addPoints(c.values, data.DataPoints)
			default:
				require.Fail(t, "an instrument of another sort", "%T", data)
			}
			all[m.Name] = c
		}
	}
	return all
}

func addPoints[N int64 | float64](values map[string]float64, points []metricdata.DataPoint[N]) {
	for _, p := range points {
		values[p.Attributes.Encoded(attribute.DefaultEncoder())] = float64(p.Value)
	}
}

// newMeasured returns a runtime with relays and halls, and a reader of its
// metrics. A hall has a client, and a request was refused.
func newMeasured(t testing.TB, options dog.Options) (*dog.Runtime, *dog.Namespace[relay], sdk.Reader) {
	t.Helper()
	rt, relays := newRelays(t, options, nil)
	seats, err := dog.RegisterReplica[seat](rt, "seat", nil)
	require.NoError(t, err)
	halls, err := dog.RegisterGroup(rt, "hall", seats, &dog.GroupOptions[hall]{Limit: 10})
	require.NoError(t, err)
	reader := sdk.NewManualReader()
	registration, err := dogotel.Register(sdk.NewMeterProvider(sdk.WithReader(reader)), rt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, registration.Unregister()) })
	stub, err := halls.Named("main").Identify(t.Context(), "ada")
	require.NoError(t, err)
	stub.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	relays.Named("").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	return rt, relays, reader
}

func TestRegister_ReportsWhatTypesHaveDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, relays, reader := newMeasured(t, dog.Options{})
		for _, fails := range []error{nil, nil, errors.New("on purpose")} {
			_ = dog.CallErr(t.Context(), relays.Named("a"), (*relay).Do, func(_ context.Context, r *relay) error {
				return errors.Join(dog.Put(r.Storage(), "n", 1), fails)
			})
		}
		all := collect(t, reader)
		require.Equal(t, map[string]float64{
			"dog.event=Call,dog.type=relay": 3, "dog.event=OnStart,dog.type=relay": 1,
			"dog.event=OnStart,dog.type=hall": 1, "dog.event=OnStart,dog.type=seat": 1,
			"dog.event=Receive,dog.type=seat": 1,
		}, all["dog.events"].values)
		require.Equal(t, 1.0, all["dog.event.errors"].values["dog.event=Call,dog.type=relay"])
		require.Equal(t, map[string]float64{"dog.type=relay": 1, "dog.type=hall": 1, "dog.type=seat": 1},
			all["dog.objects"].values)
		require.Equal(t, 3.0, all["dog.storage.writes"].values["dog.type=relay"])
		require.Equal(t, map[string]float64{"dog.type=relay,http.response.status_code=400": 1},
			all["dog.requests.refused"].values)
		require.Equal(t, map[string]float64{"dog.refusal.reason=name,dog.type=relay": 1}, all["dog.refusals"].values)
		require.Equal(t, 1.0, all["dog.identify"].values["dog.identify.result=new,dog.type=hall"])
		require.Equal(t, map[string]float64{"": 1}, all["dog.store.writable"].values)
		events, isSum := all["dog.events"].Data.(metricdata.Sum[int64])
		require.True(t, isSum && events.IsMonotonic)
		objects, isSum := all["dog.objects"].Data.(metricdata.Sum[int64])
		require.True(t, isSum && !objects.IsMonotonic)
	})
}

func TestRegister_HistogramsHaveTheTimesOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, relays, reader := newMeasured(t, dog.Options{
			Trace: &dog.Trace{EventDone: func(context.Context, dog.EventInfo) {}}, // so that all are timed
		})
		require.NoError(t, dog.CallErr(t.Context(), relays.Named("a"), (*relay).Do,
			func(context.Context, *relay) error { time.Sleep(time.Second); return nil }))
		all := collect(t, reader)
		require.Equal(t, 2.0, all["dog.event.run.count"].values["dog.type=relay"], "the start and the call")
		require.InDelta(t, 1, all["dog.event.run.sum"].values["dog.type=relay"], 0.001)
		buckets := all["dog.event.run.bucket"].values
		require.Equal(t, 1.0, buckets["dog.type=relay,le=0.268435456"])
		require.Equal(t, 2.0, buckets["dog.type=relay,le=1.073741824"])
		require.Equal(t, 2.0, buckets["dog.type=relay,le=+Inf"])
	})
}

// It visits nothing, so objects and a disk that hang do not hold it up.
func TestRegister_ReportsAStoreThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		_, relays, reader := newMeasured(t, dog.Options{Store: disk})
		until := make(chan struct{})
		closed := sync.OnceFunc(func() { close(until) })
		defer closed()
		ended := make(chan error, 1)
		go func() {
			ended <- dog.CallErr(context.Background(), relays.Named("a"), (*relay).Do,
				func(context.Context, *relay) error { <-until; return nil })
		}()
		synctest.Wait()
		disk.Fill()
		time.Sleep(2 * time.Second) // the store notices within one
		require.ErrorIs(t, dog.CallErr(t.Context(), relays.Named("b"), (*relay).Do,
			func(_ context.Context, r *relay) error { return dog.Put(r.Storage(), "n", 1) }), dog.ErrStoreFull)
		require.Equal(t, map[string]float64{"": 0}, collect(t, reader)["dog.store.writable"].values)
		closed()
		require.NoError(t, <-ended)
	})
}

// named finds the metrics in the tables of dogprom.
var named = regexp.MustCompile(`(?:desc|ofType)\(\s*"([a-z_]+)"`)

// What can be seen with Prometheus can be seen here, in the base units of both.
func TestRegister_HasTheMetricsOfDogprom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, relays, reader := newMeasured(t, dog.Options{Store: dogtest.NewDisk(t)})
		require.NoError(t, dog.CallErr(t.Context(), relays.Named("a"), (*relay).Do, nil))
		all := collect(t, reader)
		text, err := os.ReadFile("../dogprom/metrics.go")
		require.NoError(t, err)
		names := named.FindAllStringSubmatch(string(text), -1)
		require.Greater(t, len(names), 30)
		has := func(name string) bool {
			name = "dog." + strings.NewReplacer("_total", "", "_seconds", "", "_bytes", "", "_", ".").Replace(name)
			for reported := range all {
				reported = strings.ReplaceAll(reported, "_", ".")
				if slices.Contains([]string{name, name + ".sum", name + ".time"}, reported) {
					return true
				}
			}
			return false
		}
		for _, name := range names {
			if name[1] != "sockets_closed_total" { // none has been closed
				require.True(t, has(name[1]), name[1])
			}
		}
		require.Len(t, all, len(names)-1+4*2, "and no others")
		for name, m := range all {
			require.NotEmpty(t, m.Description, name)
			require.NotEmpty(t, m.Unit, name)
			require.NotEmpty(t, m.values, name)
		}
	})
}

// A program may end the reporting.
func TestRegister_ReportsUntilUnregister(t *testing.T) {
	rt, _ := newRelays(t, dog.Options{}, func(*relay, http.ResponseWriter, *http.Request) error { return nil })
	reader := sdk.NewManualReader()
	registration, err := dogotel.Register(sdk.NewMeterProvider(sdk.WithReader(reader)), rt)
	require.NoError(t, err)
	require.NotEmpty(t, collect(t, reader))
	require.NoError(t, rt.Shutdown(t.Context()))
	require.NotEmpty(t, collect(t, reader), "also after the end of the runtime")
	require.NoError(t, registration.Unregister())
	require.Empty(t, collect(t, reader))
}

// The time of a collection does not depend on the number of objects.
func BenchmarkCollect(b *testing.B) {
	for _, objects := range []int{1, 100_000} {
		b.Run(strconv.Itoa(objects), func(b *testing.B) {
			_, relays, reader := newMeasured(b, dog.Options{MaxObjects: -1})
			for i := range objects {
				require.NoError(b, dog.CallErr(b.Context(), relays.Named(strconv.Itoa(i)), (*relay).Do, nil))
			}
			var read metricdata.ResourceMetrics
			b.ResetTimer()
			for b.Loop() {
				require.NoError(b, reader.Collect(b.Context(), &read))
			}
		})
	}
}
