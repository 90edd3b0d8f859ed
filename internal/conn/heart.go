package conn

import (
	"context"
	"sync"
	"time"
)

// heartSlots is into how many parts an interval is divided, so that not all pings leave at once.
const heartSlots = 8

// Heart finds peers that are gone: a connection that was silent for an interval is pinged, and aborted with [ErrHeartbeat]
// when it is silent for another. Any byte counts as life. A connection is not judged while its reader is outside Read, as an
// answer may then lie unread. It costs one goroutine for all connections and is safe for concurrent use.
type Heart struct {
	interval time.Duration // fixed

	mu    sync.Mutex
	slots [heartSlots][]*Conn // guarded by mu; one is swept at each tick
	next  int                 // guarded by mu: slot of the next connection
}

// neverReceived is a count of bytes that no connection has, so that the first sweep, which may come at once, finds life.
const neverReceived = 1<<64 - 1

// beat is what a Heart knows about a connection.
type beat struct {
	heart  *Heart // nil when in none
	bytes  uint64 // received until the last sweep
	phase  uint64 // of the reader at the ping
	index  int32  // within the slot
	slot   int8
	pinged bool
}

// NewHeart returns a Heart for Run to start. An interval of 0 or less means no heartbeats.
func NewHeart(interval time.Duration) *Heart { return &Heart{interval: interval} }

// Add begins to watch c. It does nothing if h watches c already. A connection must not be added to two Hearts, and must be
// removed when its Read has failed.
func (h *Heart) Add(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.beat.heart != nil {
		return
	}
	c.beat = beat{heart: h, slot: int8(h.next), index: int32(len(h.slots[h.next])), bytes: neverReceived}
	h.slots[h.next] = append(h.slots[h.next], c)
	h.next = (h.next + 1) % heartSlots
}

// Remove ends watching c. It does nothing if h does not watch it.
func (h *Heart) Remove(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.beat.heart != h {
		return
	}
	slot := h.slots[c.beat.slot]
	last := len(slot) - 1
	moved := slot[last]
	slot[c.beat.index], moved.beat.index = moved, c.beat.index
	slot[last] = nil
	h.slots[c.beat.slot] = slot[:last]
	c.beat = beat{}
}

// Run sends the heartbeats until ctx ends. The caller owns the goroutine; one Run at a time.
func (h *Heart) Run(ctx context.Context) {
	if h.interval <= 0 {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(max(h.interval/heartSlots, 1))
	defer ticker.Stop()
	var dead []*Conn
	for slot := 0; ; slot = (slot + 1) % heartSlots {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		dead = h.sweep(slot, dead[:0])
		for _, c := range dead {
			c.Abort(ErrHeartbeat)
		}
		clear(dead)
	}
}

// sweep pings the silent connections of a slot and appends those that did not answer to dead.
func (h *Heart) sweep(slot int, dead []*Conn) []*Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.slots[slot] {
		b := &c.beat
		bytes, phase := c.bytesIn.Load(), c.phase.Load()
		reading := phase%2 == 1
		switch {
		case bytes != b.bytes, !reading:
			b.bytes, b.pinged = bytes, false
		case !b.pinged:
			b.pinged, b.phase = true, phase
			c.sendPing()
		case phase != b.phase:
			b.phase = phase // the reader was away meanwhile: give it another interval
		default:
			dead = append(dead, c)
		}
	}
	return dead
}
