//go:build unix

package dogview

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

type (
	crowd struct{ dog.Group }
	seat  struct{ dog.Replica }
)

func (c *crowd) Identify(r *http.Request) (string, error) { return r.FormValue("uid"), nil }

// used returns the processor time that the process has used.
func used(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// What one watcher costs beside 20,000 open sockets, in processor time of each
// second, at the rate at which the page asks: a snapshot a second, and what the
// shown view needs every five. Each operation is five seconds, which need not
// pass except where nobody looks.
func BenchmarkWatched(b *testing.B) {
	const (
		sockets, groups, limit = 20_000, 20, 100
		every                  = 5 * tick
	)
	rt := dogtest.New(b, dog.Options{Sockets: dog.SocketOptions{PingInterval: -1}})
	seats, err := dog.RegisterReplica[seat](rt, "seat", nil)
	require.NoError(b, err)
	crowds, err := dog.RegisterGroup(rt, "crowd", seats, &dog.GroupOptions[crowd]{Limit: limit})
	require.NoError(b, err)
	server := dogtest.Serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		crowds.Named(r.FormValue("crowd")).ServeHTTP(w, r)
	}))
	for i := range sockets {
		server.Dial(fmt.Sprintf("/?crowd=%d&uid=%d", i%groups, i))
	}
	view, err := New(rt, Options{Rights: func(*http.Request) Rights { return See }})
	require.NoError(b, err)
	ask := func(b *testing.B, path string) {
		w := httptest.NewRecorder()
		view.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, path, nil))
		require.Equal(b, http.StatusOK, w.Code)
	}
	snapshots := func(b *testing.B) {
		for range every / tick {
			view.live.at = time.Time{}
			ask(b, "/api/overview")
		}
	}
	for _, page := range []struct {
		name string
		look func(b *testing.B)
	}{
		{"nobody-yet", func(*testing.B) { time.Sleep(every) }},
		{"overview", snapshots},
		{"groups", func(b *testing.B) { snapshots(b); ask(b, "/api/groups?type=crowd") }},
		{"slow", func(b *testing.B) { snapshots(b); ask(b, "/api/slow") }},
		{"nobody-any-more", func(*testing.B) { time.Sleep(every) }},
	} {
		b.Run(page.name, func(b *testing.B) {
			before := used(b)
			for b.Loop() {
				page.look(b)
			}
			second := float64(used(b)-before) / float64(b.N) / every.Seconds()
			b.ReportMetric(second, "cpu-ns/s")
			b.ReportMetric(second/float64(time.Second)*100, "cpu-%")
			b.ReportMetric(0, "ns/op") // an operation takes as long as it likes
		})
	}
}
