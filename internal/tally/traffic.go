package tally

import "sync/atomic"

// trafficStripes is how many parts the counts of a [Traffic] have, so that
// processors rarely share a cache line.
const trafficStripes = 8

// Traffic counts what many connections send and receive. The zero value is
// empty. It is safe for concurrent use. Its methods but Read may be called on
// nil, which counts nothing.
type Traffic struct {
	next    atomic.Uint32 // the stripe of the next connection
	stripes [trafficStripes]trafficStripe
	// rare
	dropped, coalesced, lost atomic.Uint64
}

type trafficStripe struct {
	messagesIn, bytesIn, messagesOut, bytesOut atomic.Uint64
	_                                          [96]byte // keeps the next stripe in other cache lines
}

// TrafficCounts are the counts of a [Traffic].
type TrafficCounts struct {
	MessagesIn, BytesIn, MessagesOut, BytesOut uint64
	Dropped, Coalesced, Lost                   uint64 // messages
}

// Stripe returns a stripe for a connection.
func (t *Traffic) Stripe() uint8 {
	if t == nil {
		return 0
	}
	return uint8(t.next.Add(1) % trafficStripes)
}

// MessageIn counts a received message.
func (t *Traffic) MessageIn(stripe uint8) {
	if t != nil {
		t.stripes[stripe].messagesIn.Add(1)
	}
}

// BytesIn counts received bytes.
func (t *Traffic) BytesIn(stripe uint8, n uint64) {
	if t != nil {
		t.stripes[stripe].bytesIn.Add(n)
	}
}

// MessagesOut counts messages that were sent.
func (t *Traffic) MessagesOut(stripe uint8, n uint64) {
	if t != nil && n > 0 {
		t.stripes[stripe].messagesOut.Add(n)
	}
}

// BytesOut counts bytes that were sent.
func (t *Traffic) BytesOut(stripe uint8, n uint64) {
	if t != nil && n > 0 {
		t.stripes[stripe].bytesOut.Add(n)
	}
}

// Dropped counts messages that were dropped.
func (t *Traffic) Dropped(n uint64) {
	if t != nil && n > 0 {
		t.dropped.Add(n)
	}
}

// Coalesced counts messages that were replaced by later ones.
func (t *Traffic) Coalesced(n uint64) {
	if t != nil && n > 0 {
		t.coalesced.Add(n)
	}
}

// Lost counts messages that were lost with their connection.
func (t *Traffic) Lost(n uint64) {
	if t != nil && n > 0 {
		t.lost.Add(n)
	}
}

// Read returns the counts. They may be from different moments.
func (t *Traffic) Read() TrafficCounts {
	n := TrafficCounts{Dropped: t.dropped.Load(), Coalesced: t.coalesced.Load(), Lost: t.lost.Load()}
	for i := range t.stripes {
		s := &t.stripes[i]
		n.MessagesIn += s.messagesIn.Load()
		n.BytesIn += s.bytesIn.Load()
		n.MessagesOut += s.messagesOut.Load()
		n.BytesOut += s.bytesOut.Load()
	}
	return n
}
