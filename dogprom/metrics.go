package dogprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/godurable/dog"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("dog_"+name, help, labels, nil)
}

func ofType(name, help string, labels ...string) *prometheus.Desc {
	return desc(name, help, append([]string{"type"}, labels...)...)
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var ofTypes = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*dog.TypeTotals) float64
}{
	{
		ofType("objects", "Objects that are in memory or have open sockets."), gauge,
		func(t *dog.TypeTotals) float64 { return float64(t.Objects) },
	},
	{
		ofType("objects_awake", "Objects that have started and do not hibernate."), gauge,
		func(t *dog.TypeTotals) float64 { return float64(t.Awake) },
	},
	{
		ofType("object_starts_total", "Starts of objects."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Starts) },
	},
	{
		ofType("object_stops_total", "Objects that left memory or began to hibernate."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Stops) },
	},
	{
		ofType("object_resets_total", "Objects that were reset, by panics, Abort, lost commits or failed starts."),
		counter, func(t *dog.TypeTotals) float64 { return float64(t.Resets) },
	},
	{
		ofType("storage_reads_total", "Reads of keys, alarms and rows by handlers."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Reads) },
	},
	{
		ofType("storage_writes_total", "Writes of keys, alarms and rows by handlers."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Writes) },
	},
	{
		ofType("alarms_running", "Runs of alarms in progress, with those that wait for a turn."), gauge,
		func(t *dog.TypeTotals) float64 { return float64(t.Alarms.Running) },
	},
	{
		ofType("alarm_runs_total", "Runs of alarms."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Alarms.Runs) },
	},
	{
		ofType("alarm_retries_total", "Retries of alarms that were scheduled after a run that failed."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Alarms.Retries) },
	},
	{
		ofType("alarm_failures_total", "Alarms that have failed for good."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Alarms.Failed) },
	},
	{
		ofType("alarm_overdue_seconds", "For how long the earliest alarm has been due that has not begun."), gauge,
		func(t *dog.TypeTotals) float64 { return t.Alarms.Overdue.Seconds() },
	},
	{
		ofType("sockets", "Open WebSockets."), gauge,
		func(t *dog.TypeTotals) float64 { return float64(t.Sockets) },
	},
	{
		ofType("sockets_opened_total", "WebSockets that were opened."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Opened) },
	},
	{
		ofType("messages_received_total", "Messages received from WebSockets."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.MessagesIn) },
	},
	{
		ofType("messages_sent_total", "Messages sent to WebSockets, each once for each socket."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.MessagesOut) },
	},
	{
		ofType("sockets_received_bytes_total", "Bytes received from WebSockets."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.BytesIn) },
	},
	{
		ofType("sockets_sent_bytes_total", "Bytes sent to WebSockets."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.BytesOut) },
	},
	{
		ofType("messages_dropped_total", "Messages dropped because the client was slow."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Dropped) },
	},
	{
		ofType("messages_coalesced_total", "Messages replaced by later ones because the client was slow."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Coalesced) },
	},
	{
		ofType("messages_lost_total", "Messages that waited for a client whose connection ended."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Lost) },
	},
	{
		ofType("history_messages", "Messages in the histories of objects in memory."), gauge,
		func(t *dog.TypeTotals) float64 { return float64(t.KeptMessages) },
	},
	{
		ofType("history_size_bytes", "Size of the messages in the histories of objects in memory."), gauge,
		func(t *dog.TypeTotals) float64 { return float64(t.KeptBytes) },
	},
	{
		ofType("resumes_total", "Clients that came back without a gap."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Resumed) },
	},
	{
		ofType("gaps_total", "Gaps in histories that were reported to clients."), counter,
		func(t *dog.TypeTotals) float64 { return float64(t.Gaps) },
	},
}

var byEvent = []struct {
	desc  *prometheus.Desc
	value func(dog.EventTotals) uint64
}{
	{
		ofType("events_total", "Handlers that have returned.", "event"),
		func(n dog.EventTotals) uint64 { return n.Done },
	},
	{
		ofType("event_errors_total", "Handlers that have returned an error or panicked.", "event"),
		func(n dog.EventTotals) uint64 { return n.Failed },
	},
}

var byCode = []struct {
	desc   *prometheus.Desc
	counts func(*dog.TypeTotals) map[int]uint64
}{
	{
		ofType(
			"sockets_closed_total", "WebSockets that have ended, by close code; 1006: the connection was lost.", "code",
		),
		func(t *dog.TypeTotals) map[int]uint64 { return t.Closed },
	},
	{
		ofType("requests_refused_total", "Requests that were answered with an error.", "status"),
		func(t *dog.TypeTotals) map[int]uint64 { return t.Refused },
	},
}

var refusals = ofType("refusals_total", "Requests that were answered with an error, by the reason.", "reason")

var identified = ofType(
	"identify_total", "Calls of Identify, by the replica that they chose, or full if there was none.", "result",
)

var histograms = []struct {
	desc  *prometheus.Desc
	value func(*dog.TypeTotals) *dog.Durations
}{
	{
		ofType("event_wait_seconds", "Waits of events for their turn; a sample."),
		func(t *dog.TypeTotals) *dog.Durations { return &t.Wait },
	},
	{
		ofType("event_run_seconds", "Runs of handlers, with their waits; a sample."),
		func(t *dog.TypeTotals) *dog.Durations { return &t.Run },
	},
	{
		ofType("durable_seconds", "From the end of a handler until its writes are durable; a sample."),
		func(t *dog.TypeTotals) *dog.Durations { return &t.Durable },
	},
	{
		ofType("alarm_lateness_seconds", "How long after their time alarms ran."),
		func(t *dog.TypeTotals) *dog.Durations { return &t.Late },
	},
}

var ofRuntime = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*dog.Totals) float64
}{
	{
		desc("held_bytes", "Messages and responses held back until earlier writes are durable."), gauge,
		func(t *dog.Totals) float64 { return float64(t.HeldBytes) },
	},
	{
		desc("store_commits_total", "Transactions."), counter,
		func(t *dog.Totals) float64 { return float64(t.Store.Commits) },
	},
	{
		desc("store_syncs_total", "Syncs, each of which makes many transactions durable."), counter,
		func(t *dog.Totals) float64 { return float64(t.Store.Syncs) },
	},
	{
		desc("store_sync_seconds_total", "Duration of all syncs."), counter,
		func(t *dog.Totals) float64 { return t.Store.SyncTime.Seconds() },
	},
	{
		desc("store_unsynced_bytes", "Bytes that are committed and not yet durable."), gauge,
		func(t *dog.Totals) float64 { return float64(t.Store.Unsynced) },
	},
	{
		desc("store_waiting_commits", "Transactions that wait for earlier ones to be durable."), gauge,
		func(t *dog.Totals) float64 { return float64(t.Store.Waiting) },
	},
	{
		desc("store_disk_bytes", "Bytes that the data directory takes."), gauge,
		func(t *dog.Totals) float64 { return float64(t.Store.Disk) },
	},
	{
		desc("store_memory_bytes", "Bytes of the store in memory."), gauge,
		func(t *dog.Totals) float64 { return float64(t.Store.Memory) },
	},
	{
		desc("store_writable", "1 if the store can store something, 0 if it is full, stalled or has failed."), gauge,
		func(t *dog.Totals) float64 {
			if t.Store.Err != nil {
				return 0
			}
			return 1
		},
	},
}
