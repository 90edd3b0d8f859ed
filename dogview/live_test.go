package dogview_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/dogview"
)

// watcher is somebody who looks at the page.
type watcher struct {
	t      *testing.T
	lines  *bufio.Scanner
	body   interface{ Close() error }
	leave  context.CancelFunc
	status int
}

func watch(w *world) *watcher {
	w.t.Helper()
	ctx, leave := context.WithCancel(w.t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, dogtest.URL+"/dog/api/live", nil)
	require.NoError(w.t, err)
	resp, err := w.server.Client().Do(r)
	require.NoError(w.t, err)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return &watcher{w.t, lines, resp.Body, leave, resp.StatusCode}
}

// gone ends the watcher after a while and reports whether it was let in.
func (o *watcher) gone(after time.Duration) bool {
	time.Sleep(after)
	o.leave()
	_ = o.body.Close()
	synctest.Wait()
	return o.status == http.StatusOK
}

type now struct {
	At        time.Time
	Number    int
	HeldBytes int
	Types     []struct {
		Name             string
		Kind             dog.Kind
		Objects, Sockets int
		Events           map[string]dog.EventTotals
		Run              struct{ Count, P95 int64 }
	}
}

// next returns the next snapshot, and false if there is none.
func (o *watcher) next() (n now, ok bool) {
	o.t.Helper()
	for o.lines.Scan() {
		if data, ok := strings.CutPrefix(o.lines.Text(), "data: "); ok {
			require.NoError(o.t, json.Unmarshal([]byte(data), &n))
			return n, true
		}
	}
	return n, false
}

func TestLive_ShowsTheTotalsOfEachTypeOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		o := watch(w)
		n, _ := o.next()
		require.Equal(t, "crowd", n.Types[0].Name)
		require.Equal(t, dog.KindGroup, n.Types[0].Kind)
		require.Equal(t, "note", n.Types[1].Name)
		require.Zero(t, n.Types[1].Objects)
		before := n.At
		for range 1000 {
			w.do("a", func(*Note) error { return nil })
		}
		n, _ = o.next()
		require.Equal(t, time.Second, n.At.Sub(before))
		require.Equal(t, 1, n.Types[1].Objects)
		require.EqualValues(t, 1000, n.Types[1].Events["Call"].Done)
		require.Positive(t, n.Types[1].Run.Count)
		for range 70 {
			if _, ok := o.next(); !ok { // after a minute
				o = watch(w)
			}
		}
		n, _ = o.next()
		require.Zero(t, n.Types[1].Run.Count, "the times are those of the last minute")
		require.EqualValues(t, 1000, n.Types[1].Events["Call"].Done)
		o.gone(0)
	})
}

func TestLive_ComputesNothingWhileNobodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		time.Sleep(time.Hour)
		a, b := watch(w), watch(w)
		var last now
		for want := range 10 {
			n, _ := a.next()
			m, _ := b.next()
			require.Equal(t, want+1, n.Number, "one for both")
			require.Equal(t, n, m)
			last = n
		}
		a.gone(0)
		b.gone(0)
		time.Sleep(time.Hour)
		c := watch(w)
		n, _ := c.next()
		require.Equal(t, last.Number+1, n.Number)
		c.gone(0)
	})
}

// After a pause nobody knows what the times were a minute ago.
func TestLive_TimesOfAPauseAreNotThoseOfTheLastMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		a := watch(w)
		a.next()
		work := func() {
			for range 1000 {
				w.do("a", func(*Note) error { return nil })
			}
		}
		work()
		n, _ := a.next()
		require.Positive(t, n.Types[1].Run.Count)
		a.gone(0)
		work()
		time.Sleep(time.Hour)
		b := watch(w)
		n, _ = b.next()
		require.Zero(t, n.Types[1].Run.Count)
		work()
		n, _ = b.next()
		require.Positive(t, n.Types[1].Run.Count)
		b.gone(0)
	})
}

func TestLive_RightsAreCheckedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		o := watch(w)
		began := time.Now()
		w.rights.Store(0)
		for ok := true; ok; {
			_, ok = o.next()
		}
		require.LessOrEqual(t, time.Since(began), time.Minute)
		require.False(t, watch(w).gone(0))
		o.gone(0)
	})
}

func TestLive_EndsWithTheRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		o := watch(w)
		_, ok := o.next()
		require.True(t, ok)
		began := time.Now()
		require.NoError(t, w.rt.Shutdown(t.Context()))
		for ok {
			_, ok = o.next()
		}
		require.Less(t, time.Since(began), 2*time.Second)
		o.gone(0)
	})
}

func TestLive_LetsSixteenLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		var all []*watcher
		for range 16 {
			all = append(all, watch(w))
			require.Equal(t, http.StatusOK, all[len(all)-1].status)
		}
		late := watch(w)
		require.Equal(t, http.StatusServiceUnavailable, late.status)
		late.gone(0)
		all[0].gone(0)
		require.True(t, watch(w).gone(0), "there is room again")
		for _, o := range all[1:] {
			o.gone(0)
		}
	})
}
