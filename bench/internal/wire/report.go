package wire

import (
	"slices"
	"time"
)

// Ready is the line a server prints on its standard output when it listens. It
// ends when its standard input does.
type Ready struct {
	Addr  string `json:"addr"`  // of the endpoint
	Stat  string `json:"stat"`  // of GET /stat
	Proto string `json:"proto"` // of the messages in the frames: see ProtoPlain
}

// Protocols of the messages in the frames.
const (
	ProtoPlain      = "plain"      // a binary frame is a message
	ProtoCentrifuge = "centrifuge" // centrifuge's Protobuf protocol: many messages to a frame
	ProtoV1         = "dog.v1"     // dog's subprotocol: a header before each message
)

// Stat answers GET /stat. With ?gc=1 a garbage collection came before.
type Stat struct {
	CPU        float64 `json:"cpu_us"` // user and system time of the process
	RSS        float64 `json:"rss_kib"`
	Heap       float64 `json:"heap_kib"` // objects, live or not yet collected
	Sockets    int     `json:"sockets"`
	Goroutines int     `json:"goroutines"`

	// the highest since the last question with ?peak=1
	PeakRSS  float64 `json:"peak_rss_kib"`
	PeakHeap float64 `json:"peak_heap_kib"`
}

// Result is a line of the load generator's output: one cell, measured once.
type Result struct {
	Cell       string  `json:"cell"`
	Sockets    int     `json:"sockets"`
	Messages   int64   `json:"messages"`   // sent while measuring
	Deliveries int64   `json:"deliveries"` // counted while measuring
	Lost       int64   `json:"lost"`       // due but never arrived
	Seconds    float64 `json:"seconds"`
	ServerCPU  float64 `json:"server_cpu_us"` // over the measurement
	LoadCPU    float64 `json:"load_cpu_us"`

	Median *Quantiles `json:"median_ms,omitempty"` // latency to the median receiver
	Last   *Quantiles `json:"last_ms,omitempty"`   // latency to the last receiver

	RSS        float64 `json:"rss_kib,omitempty"` // the server's, at the end
	PerSocket  float64 `json:"kib_per_socket,omitempty"`
	HeapEach   float64 `json:"heap_bytes_per_socket,omitempty"`
	Goroutines float64 `json:"goroutines_per_socket,omitempty"`

	// of storm
	ConnectCPU     float64 `json:"connect_cpu_us,omitempty"`  // the server's, for clients that have missed nothing
	ConnectSeconds float64 `json:"connect_seconds,omitempty"` // until those were connected
	PeakRSS        float64 `json:"peak_rss_kib,omitempty"`
	PeakHeap       float64 `json:"peak_heap_kib,omitempty"`

	// share of the sockets that never read which the server has not closed
	SlowOpen float64 `json:"slow_open,omitempty"`

	Err string `json:"error,omitempty"` // why the cell does not count
}

// Quantiles are taken over the messages of a measurement.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// QuantilesOf returns the quantiles of durations, in milliseconds, and sorts
// them; nil when there are none.
func QuantilesOf(d []time.Duration) *Quantiles {
	if len(d) == 0 {
		return nil
	}
	slices.Sort(d)
	at := func(q float64) float64 { return float64(d[int(q*float64(len(d)-1))]) / 1e6 }
	return &Quantiles{P50: at(0.5), P99: at(0.99), Max: at(1)}
}
