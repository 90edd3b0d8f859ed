package dogview

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/godurable/dog"
)

const (
	maxWatchers = 16
	tick        = time.Second
	recheck     = time.Minute      // after which a watcher's rights are checked again
	recent      = 30 * time.Second // the times shown are those of the last two of these at most
	writeWithin = 10 * time.Second
)

// live is what watchers share. Nothing of it runs by itself: a watcher who
// needs a snapshot makes it, unless another has just done so.
type live struct {
	mu       sync.Mutex
	watchers int // guarded by mu

	making chan struct{} // of capacity 1; has a token while somebody makes a snapshot

	// owned by the holder of the token

	made    uint64              // number of snapshots
	at      time.Time           // when the last one was made
	last    json.RawMessage     // the last one
	since   [2]map[string]times // earlier times of the types, the older ones first
	sinceAt time.Time           // when the newer ones were read
}

// A snapshot is what watchers get once a second.
type snapshot struct {
	At        time.Time
	Number    uint64 // of the snapshots that were made
	Types     []typeNow
	HeldBytes int64
	Store     dog.StoreStats
}

// typeNow is a type with the times of its recent events instead of all.
type typeNow struct {
	dog.TypeTotals
	Wait, Run, Durable, Late dog.Durations
}

// times are those of the events of a type.
type times struct{ wait, run, durable, late dog.Durations }

func timesOf(t *dog.TypeTotals) times { return times{t.Wait, t.Run, t.Durable, t.Late} }

// now returns a snapshot that is at most a tick old. If another makes one, it
// waits for that until ctx ends.
func (v *View) now(ctx context.Context) (json.RawMessage, error) {
	l := &v.live
	select {
	case l.making <- struct{}{}:
		defer func() { <-l.making }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now := time.Now()
	if l.last != nil && now.Sub(l.at) < tick*9/10 { // timers are not exact
		return l.last, nil
	}
	totals := v.rt.Totals()
	earlier := l.earlier(now, totals.Types)
	l.made++
	s := snapshot{
		At: now, Number: l.made, HeldBytes: totals.HeldBytes, Store: totals.Store,
		Types: make([]typeNow, len(totals.Types)),
	}
	for i := range totals.Types {
		t := &totals.Types[i]
		since := earlier[t.Name]
		s.Types[i] = typeNow{
			*t, t.Wait.Sub(since.wait), t.Run.Sub(since.run), t.Durable.Sub(since.durable), t.Late.Sub(since.late),
		}
	}
	body, err := json.Marshal(s)
	if err == nil {
		l.last, l.at = body, now
	}
	return body, err
}

// earlier returns the times to subtract from those of now. They are one to two
// times recent old, or less if nobody has looked before.
func (l *live) earlier(now time.Time, types []dog.TypeTotals) map[string]times {
	age := now.Sub(l.sinceAt)
	if age < recent {
		return l.since[0]
	}
	newer := make(map[string]times, len(types))
	for i := range types {
		newer[types[i].Name] = timesOf(&types[i])
	}
	older := l.since[1]
	if age >= 2*recent {
		older = newer
	}
	l.since, l.sinceAt = [2]map[string]times{older, newer}, now
	return older
}

func (v *View) overview(ctx context.Context, _ *http.Request) (json.RawMessage, error) {
	return v.now(ctx)
}

// enter admits a watcher, unless there are too many.
func (l *live) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watchers == maxWatchers {
		return false
	}
	l.watchers++
	return true
}

func (l *live) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers--
}

// soon is now with patience.
func (v *View) soon(ctx context.Context) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return v.now(ctx)
}

// watch sends a snapshot every tick, as server-sent events, until the client
// goes, the runtime stops or the client's rights have to be checked again. Then
// the page comes back.
func (v *View) watch(w http.ResponseWriter, r *http.Request) error {
	if !v.live.enter() {
		return &problem{http.StatusServiceUnavailable, fmt.Sprintf("%d pages show this already", maxWatchers)}
	}
	defer v.live.leave()
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the connection may have other uses
	ticker, end := time.NewTicker(tick), time.NewTimer(recheck)
	defer ticker.Stop()
	defer end.Stop()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	const event = "retry: 1000\ndata: %s\n\n"
	for sent := false; ; sent = true {
		body, err := v.soon(r.Context())
		if err != nil && !sent {
			return err
		}
		if err != nil {
			return nil // the page comes back
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeWithin)) // not every writer has one
		if _, err := fmt.Fprintf(w, event, body); err != nil {
			return nil // the client has gone
		}
		if err := control.Flush(); err != nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-end.C:
			return nil
		case <-v.rt.Stopping():
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}
