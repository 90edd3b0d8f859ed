package dog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/tally"
	"github.com/godurable/dog/internal/wire"
)

// Totals has the counts of a runtime by type, and the state of its types and
// its store.
type Totals struct {
	Types     []TypeTotals // of each registered type, in the order of their names
	HeldBytes int64        // see [Stats]
	Store     StoreStats
}

// TypeTotals are the totals of a type. A group and its replicas are two types.
type TypeTotals struct {
	Name string // the name under which the type is registered
	Kind Kind

	Objects int // now in memory, or with open sockets
	Awake   int // of these, those that have started and do not hibernate
	Starts  uint64
	Stops   uint64     // objects that left memory, hibernated, or were stopped by Shutdown
	Resets  uint64     // with failed starts, and without those by Stub.Delete and Stub.Import
	Alarms  AlarmStats // those that have run or failed since New
	Late    Durations  // how long after their time alarms ran

	Sockets int    // now open
	Opened  uint64 // sockets, since New
	// Closed counts sockets by CloseError.Code. Codes from 3000 on, which
	// clients and programs choose, count as 0 after the first 50 of them.
	Closed map[int]uint64
	// What the sockets have sent and received, as in Traffic. A message to many
	// sockets counts once for each.
	MessagesIn, MessagesOut uint64
	BytesIn, BytesOut       uint64
	Dropped                 uint64 // messages dropped by DropOldest
	Coalesced               uint64 // messages replaced by CoalesceSlow
	Lost                    uint64 // messages queued or being written when their connection ended early

	// Refused counts the requests that the library answered with an error, by
	// status. These include the errors returned by Receive and by a Gateway's
	// Identify. GroupStub.Identify counts in Identified.Full.
	Refused map[int]uint64
	// RefusedFor counts the same requests by reason, only the reasons that have
	// occurred.
	RefusedFor map[RefusalReason]uint64

	Identified IdentifyTotals // of a group

	// Only for a type with a history. A group counts the clients of its
	// replicas. KeptMessages and KeptBytes are those of objects, or groups, in
	// memory; some may be older than Age.
	KeptMessages, KeptBytes int
	Resumed                 uint64 // clients of dog.v1 that came back without a gap
	Gaps                    uint64 // gaps reported to clients of dog.v1, except GapFirst

	// The following are counted since the first call of [Runtime.Totals]. For
	// an object that had started before that, Reads and Writes omit its first
	// event that uses storage.

	Events map[EventKind]EventTotals // only the kinds that have occurred
	Reads  uint64                    // calls and queries that read, of handlers that have returned
	Writes uint64                    // calls and queries that changed something; the same handlers

	// The times of about one event in 128, or of all if Trace.EventBegin or
	// EventDone is set. Wait is how long an event waited for its turn,
	// including the start of the object if it was the first event. Run is how
	// long its handler took, including its waits. Durable is the time from the
	// end of a handler until its writes are durable and its output is sent, for
	// handlers that have written something.
	Wait, Run, Durable Durations
}

// A RefusalReason is why a request was answered with an error.
type RefusalReason string

// The reasons for refusals. A panic is RefusedFailed. Otherwise, if several
// apply, the first one counts.
const (
	RefusedUnauthorized RefusalReason = "unauthorized" // by the program: a StatusError with 401 or 403
	RefusedProgram      RefusalReason = "program"      // by the program: a StatusError with another status
	RefusedFull         RefusalReason = "full"         // ErrGroupFull, ErrReplicaFull or ErrSocketsFull
	RefusedGone         RefusalReason = "gone"         // ErrReplicaGone
	RefusedOverloaded   RefusalReason = "overloaded"   // ErrOverloaded
	RefusedShutdown     RefusalReason = "shutdown"     // ErrShutdown
	RefusedStore        RefusalReason = "store"        // ErrStoreFull, ErrStoreStalled or ErrStoreFailed
	RefusedName         RefusalReason = "name"         // ErrInvalidName or ErrForeignID: of an object, or a uid
	RefusedOrigin       RefusalReason = "origin"       // a WebSocket from a page of another origin
	RefusedRequest      RefusalReason = "request"      // malformed, too big, cut off, or not served by the type
	RefusedCanceled     RefusalReason = "canceled"     // its context was canceled: the client has gone
	RefusedFailed       RefusalReason = "failed"       // any other error, such as a reset or a timeout
)

// refusals maps errors to reasons.
var refusals = []struct {
	err    error
	reason RefusalReason
}{
	{ErrGroupFull, RefusedFull},
	{ErrReplicaFull, RefusedFull},
	{ErrSocketsFull, RefusedFull},
	{ErrReplicaGone, RefusedGone},
	{ErrOverloaded, RefusedOverloaded},
	{ErrShutdown, RefusedShutdown},
	{ErrStoreFull, RefusedStore},
	{ErrStoreStalled, RefusedStore},
	{ErrStoreFailed, RefusedStore},
	{ErrInvalidName, RefusedName},
	{ErrForeignID, RefusedName},
	{ErrTooBig, RefusedRequest},
	{context.Canceled, RefusedCanceled},
}

// reasonFor returns the reason for a refusal with an error.
func reasonFor(err error) RefusalReason {
	if _, panicked := errors.AsType[*PanicError](err); panicked {
		return RefusedFailed
	}
	if _, malformed := errors.AsType[*wire.RequestError](err); malformed {
		return RefusedRequest
	}
	if s, ok := errors.AsType[*StatusError](err); ok {
		if s != nil && (s.Status == http.StatusUnauthorized || s.Status == http.StatusForbidden) {
			return RefusedUnauthorized
		}
		return RefusedProgram
	}
	if h, ok := errors.AsType[*conn.HandshakeError](err); ok {
		switch {
		case h.Status == http.StatusForbidden:
			return RefusedOrigin
		case h.Status == 0 || h.Status >= http.StatusInternalServerError:
			return RefusedFailed
		}
		return RefusedRequest
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return RefusedFailed
}

// countRefusal counts a request that was answered with an error.
func (ns *namespace) countRefusal(status int, reason RefusalReason) {
	ns.counts.refused.Add(status)
	ns.counts.refusedFor.Add(string(reason))
}

func refusalsOf(counts map[string]uint64) map[RefusalReason]uint64 {
	all := make(map[RefusalReason]uint64, len(counts))
	for reason, n := range counts {
		all[RefusalReason(reason)] = n
	}
	return all
}

// EventTotals counts the events of a kind.
type EventTotals struct {
	Done   uint64 // whose handler has returned
	Failed uint64 // of these, with an error
}

// IdentifyTotals counts the results of Identify calls and of requests through a
// Gateway.
type IdentifyTotals struct {
	Known    uint64 // got the replica that has connections of the uid, or holds a place for it
	Returned uint64 // got the replica that had connections of the uid shortly before
	New      uint64 // got the replica for newcomers
	Full     uint64 // failed with ErrGroupFull
}

// Totals returns the counts of the runtime. Unlike [Runtime.Stats] it visits no
// objects and no sockets, so it takes a few microseconds for each type and may
// be called every second. Its parts may be from different moments. Events are
// counted from the first call on, which costs each event about 12 ns. To count
// all of them, call Totals right after registering the types.
//
// Package expvar publishes it in one line:
//
//	expvar.Publish("dog", expvar.Func(func() any { return rt.Totals() }))
func (rt *Runtime) Totals() Totals {
	var t Totals
	if rt == nil || rt.host == nil {
		return t
	}
	t.HeldBytes, t.Store = rt.held.Load(), rt.storeStats()
	for _, c := range rt.host.Classes() {
		t.Types = append(t.Types, namespaceOf(c).totals())
	}
	slices.SortFunc(t.Types, func(a, b TypeTotals) int { return cmp.Compare(a.Name, b.Name) })
	return t
}

func (ns *namespace) totals() TypeTotals {
	n, closed := ns.Counts(), ns.counts.closed.Read()
	traffic, kept := ns.counts.traffic.Read(), ns.counts.history.Read()
	opened := ns.counts.opened.Load() // after those that have closed, of which it has all
	open := int(opened)
	for _, n := range closed {
		open -= int(n)
	}
	t := TypeTotals{
		Name: ns.Name, Kind: ns.kind,
		Objects: ns.Len(), Awake: n.Awake, Starts: n.Starts, Stops: n.Stops, Resets: n.Resets,
		Events: make(map[EventKind]EventTotals), Reads: n.Reads, Writes: n.Writes,
		Alarms:  AlarmStats(ns.AlarmStats()),
		Sockets: open, Opened: opened, Closed: closed,
		MessagesIn: traffic.MessagesIn, MessagesOut: traffic.MessagesOut,
		BytesIn: traffic.BytesIn, BytesOut: traffic.BytesOut,
		Dropped: traffic.Dropped, Coalesced: traffic.Coalesced, Lost: traffic.Lost,
		Refused: ns.counts.refused.Read(), RefusedFor: refusalsOf(ns.counts.refusedFor.Read()),
		Identified: IdentifyTotals{
			Known:    ns.counts.identified[roster.Known].Load(),
			Returned: ns.counts.identified[roster.Lingering].Load(),
			New:      ns.counts.identified[roster.Newcomer].Load(),
			Full:     ns.counts.full.Load(),
		},
		KeptMessages: kept.Messages, KeptBytes: kept.Bytes,
		Resumed: ns.counts.resumed.Load(), Gaps: ns.counts.gaps.Load(),
		Wait: durationsOf(n.Wait), Run: durationsOf(n.Run), Durable: durationsOf(n.Durable), Late: durationsOf(n.Late),
	}
	for kind, e := range n.Events {
		if e.Done > 0 {
			t.Events[EventKind(kind)] = EventTotals(e)
		}
	}
	return t
}

// Durations is a histogram of durations. Its bounds go from 64 ns to 73
// minutes, each 14 to 25 % above the previous one. Sum is at most 292 years.
type Durations struct {
	Count uint64
	Sum   time.Duration

	counts [tally.Buckets]uint64
}

func durationsOf(h *tally.Histogram) (d Durations) {
	d.Sum, d.counts = h.Read()
	for _, n := range d.counts {
		d.Count += n
	}
	return d
}

// MarshalJSON writes the count, the sum and three quantiles, in nanoseconds.
func (d Durations) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"Count": d.Count, "Sum": d.Sum, "P50": d.Quantile(0.5), "P95": d.Quantile(0.95), "P99": d.Quantile(0.99),
	})
}

// Buckets yields the upper bounds of the buckets in ascending order, each with
// the number of durations below it. Durations above the last bound are only in
// Count.
func (d Durations) Buckets() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		below := uint64(0)
		for i, n := range d.counts[:tally.Buckets-1] {
			below += n
			if !yield(tally.Bound(i), below) {
				return
			}
		}
	}
}

// Quantile returns an upper bound for a quantile: Quantile(0.99) is the p99.
// The result is at most a quarter above the exact value, and at least 64 ns. It
// is 0 if there are no durations, and [math.MaxInt64] if the quantile is above
// the last bound.
func (d Durations) Quantile(part float64) time.Duration {
	if d.Count == 0 {
		return 0
	}
	want := uint64(math.Ceil(min(max(part, 0), 1) * float64(d.Count)))
	for bound, below := range d.Buckets() {
		if below >= max(want, 1) {
			return bound
		}
	}
	return math.MaxInt64
}

// Sub returns the durations added since an earlier reading.
func (d Durations) Sub(earlier Durations) Durations {
	d.Count -= earlier.Count
	d.Sum -= earlier.Sum
	for i := range d.counts {
		d.counts[i] -= earlier.counts[i]
	}
	return d
}

// AlarmStats counts runs of OnAlarm. It does not include the number of pending
// alarms, which may belong to any number of objects that are not in memory.
type AlarmStats struct {
	Running int    // runs in progress, including those waiting for the turn of their object
	Runs    uint64 // runs begun
	Retries uint64 // retries scheduled after a failed run
	Failed  uint64 // alarms that have failed for good
	// Overdue is how long the earliest due alarm has been waiting to run.
	// Alarms wait while 256 of their type run, and while the store cannot
	// write. A failed alarm is due again when its retry is.
	Overdue time.Duration
}

func (s AlarmStats) add(o AlarmStats) AlarmStats {
	return AlarmStats{
		s.Running + o.Running, s.Runs + o.Runs, s.Retries + o.Retries, s.Failed + o.Failed, max(s.Overdue, o.Overdue),
	}
}

// StoreStats is the state of the store.
type StoreStats struct {
	Commits  uint64        // number of transactions
	Syncs    uint64        // each sync makes many transactions durable
	SyncTime time.Duration // total duration of syncs
	Unsynced int           // bytes committed and not yet durable
	// Waiting is the number of transactions of ended turns that wait for
	// earlier transactions to become durable before they are stored.
	Waiting int
	Disk    uint64 // bytes that the data directory takes on its volume, as du reports them
	Memory  uint64 // bytes in memory: data read, and data not yet written to its place on disk
	// Err is why nothing can be stored at present: [ErrStoreFull],
	// [ErrStoreStalled] or [ErrStoreFailed]. It is nil if the store can write.
	Err error
}

// MarshalJSON writes the text of Err, or "".
func (s StoreStats) MarshalJSON() ([]byte, error) {
	type plain StoreStats
	why := ""
	if s.Err != nil {
		why = s.Err.Error()
	}
	return json.Marshal(struct {
		plain
		Err string
	}{plain(s), why})
}

func (rt *Runtime) storeStats() StoreStats {
	e := rt.host.Engine.Stats()
	return StoreStats{
		Commits: e.Commits, Syncs: e.Syncs, SyncTime: e.SyncTime, Unsynced: e.Unsynced,
		Waiting: e.Waiting, Disk: e.Disk, Memory: e.Memory, Err: rt.host.Engine.Writable(),
	}
}
