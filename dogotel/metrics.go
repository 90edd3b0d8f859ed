package dogotel

import (
	"go.opentelemetry.io/otel/metric"

	"github.com/godurable/dog"
)

// A sort is the sort of an instrument.
type sort int

const (
	counter sort = iota // only grows
	sum                 // may be added up over types and processes
	gauge               // may not
)

// info describes an instrument.
type info struct {
	sort              sort
	name, unit, about string
}

var ofTypes = []struct {
	info
	value func(*dog.TypeTotals) uint64
}{
	{
		info{sum, "dog.objects", "{object}", "Objects that are in memory or have open sockets."},
		func(t *dog.TypeTotals) uint64 { return uint64(t.Objects) },
	},
	{
		info{sum, "dog.objects.awake", "{object}", "Objects that have started and do not hibernate."},
		func(t *dog.TypeTotals) uint64 { return uint64(max(t.Awake, 0)) },
	},
	{
		info{counter, "dog.object.starts", "{start}", "Starts of objects."},
		func(t *dog.TypeTotals) uint64 { return t.Starts },
	},
	{
		info{counter, "dog.object.stops", "{stop}", "Objects that left memory or began to hibernate."},
		func(t *dog.TypeTotals) uint64 { return t.Stops },
	},
	{
		info{
			counter, "dog.object.resets", "{reset}",
			"Objects that were reset, by panics, Abort, lost commits or failed starts.",
		},
		func(t *dog.TypeTotals) uint64 { return t.Resets },
	},
	{
		info{counter, "dog.storage.reads", "{read}", "Reads of keys, alarms and rows by handlers."},
		func(t *dog.TypeTotals) uint64 { return t.Reads },
	},
	{
		info{counter, "dog.storage.writes", "{write}", "Writes of keys, alarms and rows by handlers."},
		func(t *dog.TypeTotals) uint64 { return t.Writes },
	},
	{
		info{
			sum, "dog.alarms.running", "{run}", "Runs of alarms in progress, with those that wait for a turn.",
		},
		func(t *dog.TypeTotals) uint64 { return uint64(t.Alarms.Running) },
	},
	{
		info{counter, "dog.alarm.runs", "{run}", "Runs of alarms."},
		func(t *dog.TypeTotals) uint64 { return t.Alarms.Runs },
	},
	{
		info{
			counter, "dog.alarm.retries", "{retry}",
			"Retries of alarms that were scheduled after a run that failed.",
		},
		func(t *dog.TypeTotals) uint64 { return t.Alarms.Retries },
	},
	{
		info{counter, "dog.alarm.failures", "{alarm}", "Alarms that have failed for good."},
		func(t *dog.TypeTotals) uint64 { return t.Alarms.Failed },
	},
	{
		info{sum, "dog.sockets", "{socket}", "Open WebSockets."},
		func(t *dog.TypeTotals) uint64 { return uint64(t.Sockets) },
	},
	{
		info{counter, "dog.sockets.opened", "{socket}", "WebSockets that were opened."},
		func(t *dog.TypeTotals) uint64 { return t.Opened },
	},
	{
		info{counter, "dog.messages.received", "{message}", "Messages received from WebSockets."},
		func(t *dog.TypeTotals) uint64 { return t.MessagesIn },
	},
	{
		info{counter, "dog.messages.sent", "{message}", "Messages sent to WebSockets, each once for each socket."},
		func(t *dog.TypeTotals) uint64 { return t.MessagesOut },
	},
	{
		info{counter, "dog.sockets.received", "By", "Bytes received from WebSockets."},
		func(t *dog.TypeTotals) uint64 { return t.BytesIn },
	},
	{
		info{counter, "dog.sockets.sent", "By", "Bytes sent to WebSockets."},
		func(t *dog.TypeTotals) uint64 { return t.BytesOut },
	},
	{
		info{counter, "dog.messages.dropped", "{message}", "Messages dropped because the client was slow."},
		func(t *dog.TypeTotals) uint64 { return t.Dropped },
	},
	{
		info{
			counter, "dog.messages.coalesced", "{message}",
			"Messages replaced by later ones because the client was slow.",
		},
		func(t *dog.TypeTotals) uint64 { return t.Coalesced },
	},
	{
		info{counter, "dog.messages.lost", "{message}", "Messages that waited for a client whose connection ended."},
		func(t *dog.TypeTotals) uint64 { return t.Lost },
	},
	{
		info{sum, "dog.history.messages", "{message}", "Messages in the histories of objects in memory."},
		func(t *dog.TypeTotals) uint64 { return uint64(t.KeptMessages) },
	},
	{
		info{sum, "dog.history.size", "By", "Size of the messages in the histories of objects in memory."},
		func(t *dog.TypeTotals) uint64 { return uint64(t.KeptBytes) },
	},
	{
		info{counter, "dog.resumes", "{resume}", "Clients that came back without a gap."},
		func(t *dog.TypeTotals) uint64 { return t.Resumed },
	},
	{
		info{counter, "dog.gaps", "{gap}", "Gaps in histories that were reported to clients."},
		func(t *dog.TypeTotals) uint64 { return t.Gaps },
	},
}

var overdue = info{gauge, "dog.alarm.overdue", "s", "For how long the earliest alarm has been due that has not begun."}

var (
	events = info{counter, "dog.events", "{event}", "Handlers that have returned."}
	failed = info{counter, "dog.event.errors", "{event}", "Handlers that have returned an error or panicked."}
	closed = info{
		counter, "dog.sockets.closed", "{socket}",
		"WebSockets that have ended, by close code; 1006: the connection was lost.",
	}
	refused    = info{counter, "dog.requests.refused", "{request}", "Requests that were answered with an error."}
	refusals   = info{counter, "dog.refusals", "{request}", "Requests that were answered with an error, by the reason."}
	identified = info{
		counter, "dog.identify", "{call}",
		"Calls of Identify, by the replica that they chose, or full if there was none.",
	}
)

var histograms = []struct {
	name, about string
	value       func(*dog.TypeTotals) *dog.Durations
}{
	{
		"dog.event.wait", "Waits of events for their turn; a sample.",
		func(t *dog.TypeTotals) *dog.Durations { return &t.Wait },
	},
	{
		"dog.event.run", "Runs of handlers, with their waits; a sample.",
		func(t *dog.TypeTotals) *dog.Durations { return &t.Run },
	},
	{
		"dog.durable", "From the end of a handler until its writes are durable; a sample.",
		func(t *dog.TypeTotals) *dog.Durations { return &t.Durable },
	},
	{
		"dog.alarm.lateness", "How long after their time alarms ran.",
		func(t *dog.TypeTotals) *dog.Durations { return &t.Late },
	},
}

var ofRuntime = []struct {
	info
	value func(*dog.Totals) uint64
}{
	{
		info{sum, "dog.held", "By", "Messages and responses held back until earlier writes are durable."},
		func(t *dog.Totals) uint64 { return uint64(t.HeldBytes) },
	},
	{
		info{counter, "dog.store.commits", "{transaction}", "Transactions."},
		func(t *dog.Totals) uint64 { return t.Store.Commits },
	},
	{
		info{counter, "dog.store.syncs", "{sync}", "Syncs, each of which makes many transactions durable."},
		func(t *dog.Totals) uint64 { return t.Store.Syncs },
	},
	{
		info{sum, "dog.store.unsynced", "By", "Bytes that are committed and not yet durable."},
		func(t *dog.Totals) uint64 { return uint64(t.Store.Unsynced) },
	},
	{
		info{
			sum, "dog.store.waiting_commits", "{transaction}",
			"Transactions that wait for earlier ones to be durable.",
		},
		func(t *dog.Totals) uint64 { return uint64(t.Store.Waiting) },
	},
	{
		info{sum, "dog.store.disk", "By", "Bytes that the data directory takes."},
		func(t *dog.Totals) uint64 { return t.Store.Disk },
	},
	{
		info{sum, "dog.store.memory", "By", "Bytes of the store in memory."},
		func(t *dog.Totals) uint64 { return t.Store.Memory },
	},
	{
		info{
			gauge, "dog.store.writable", "1",
			"1 if the store can store something, 0 if it is full, stalled or has failed.",
		},
		func(t *dog.Totals) uint64 {
			if t.Store.Err != nil {
				return 0
			}
			return 1
		},
	},
}

var syncTime = info{counter, "dog.store.sync_time", "s", "Duration of all syncs."}

// A maker makes instruments and remembers them, and the first error.
type maker struct {
	meter metric.Meter
	all   []metric.Observable
	err   error
}

func note[T metric.Observable](m *maker, made T, err error) T {
	if err != nil && m.err == nil {
		m.err = err
	}
	m.all = append(m.all, made)
	return made
}

// count makes an instrument of whole numbers.
func (m *maker) count(i info) metric.Int64Observable {
	unit, about := metric.WithUnit(i.unit), metric.WithDescription(i.about)
	switch i.sort {
	case counter:
		made, err := m.meter.Int64ObservableCounter(i.name, unit, about)
		return note(m, made, err)
	case sum:
		made, err := m.meter.Int64ObservableUpDownCounter(i.name, unit, about)
		return note(m, made, err)
	}
	made, err := m.meter.Int64ObservableGauge(i.name, unit, about)
	return note(m, made, err)
}

// seconds makes an instrument of seconds.
func (m *maker) seconds(i info) metric.Float64Observable {
	unit, about := metric.WithUnit(i.unit), metric.WithDescription(i.about)
	if i.sort == counter {
		made, err := m.meter.Float64ObservableCounter(i.name, unit, about)
		return note(m, made, err)
	}
	made, err := m.meter.Float64ObservableGauge(i.name, unit, about)
	return note(m, made, err)
}
