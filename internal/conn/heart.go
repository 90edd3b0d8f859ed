package conn

import (
	"context"
	"math"
	"sync"
	"time"
)

const (
	// heartSlots is into how many parts the connections are divided, so that
	// not all pings leave at once.
	heartSlots = 8
	// heartLooks is how often a connection is looked at within an interval.
	heartLooks = 8
	// maxUnread bounds the bytes for which a peer gets more time to answer.
	maxUnread = 512 << 10
	// pongBytes is what the answer to a ping takes.
	pongBytes = 2 + 4
)

// Heart finds peers that are gone. It looks at each connection eight times in
// an interval. A peer that says nothing is pinged between seven eighths of an
// interval and one after its last word, and then every interval, whether or not
// it answers that. A connection that has received nothing at all for an
// interval after a ping is aborted with [ErrPingTimeout]. Any byte counts as
// life.
//
// The answer is not due while the ping may lie behind what the peer is still
// taking: as long as looks find that something waits for the peer and that it
// has taken more; after that the peer gets an interval more for each that it
// takes to read, at 4 KiB a second, what was sent since it last answered, as
// far as that is up to 512 KiB. Nor is it due while the reader is outside Read,
// where it may lie unread; pings go on where a kernel holds the answers.
//
// It costs one goroutine for all connections and is safe for concurrent use.
type Heart struct {
	interval time.Duration // fixed

	mu    sync.Mutex
	slots [heartSlots][]*Conn // guarded by mu; one is swept at each tick
	next  int                 // guarded by mu: slot of the next connection
}

// beat is what a Heart knows about a connection.
type beat struct {
	heart  *Heart // nil when in none
	bytes  uint64 // received until the last look
	phase  uint64 // of the reader at the ping
	taken  int64  // by the peer, at the last look since the ping
	asked  int64  // written before the ping
	read   int64  // written before the latest ping that was answered
	index  int32  // within the slot
	slot   int8
	rounds int8 // intervals that the peer got beyond the first
	quiet  int8 // looks that found nothing, since the peer's last word or ping
	pinged bool // and not answered
	waits  bool // at the last look since the ping, something waited for the peer
}

// NewHeart returns a Heart for Run to start. An interval of 0 or less means no
// heartbeats.
func NewHeart(interval time.Duration) *Heart { return &Heart{interval: interval} }

// StartHeartbeat has the Heart of the options watch the connection.
func (c *Conn) StartHeartbeat() {
	if c.opts.Heart != nil {
		c.opts.Heart.Add(c)
	}
}

// StopHeartbeat ends that. It must be called when Read has failed.
func (c *Conn) StopHeartbeat() {
	if c.opts.Heart != nil {
		c.opts.Heart.Remove(c)
	}
}

// Add begins to watch c. It does nothing if h watches c already. A connection
// must not be added to two Hearts, and must be removed when its Read has
// failed.
func (h *Heart) Add(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.beat.heart != nil {
		return
	}
	c.beat = beat{heart: h, slot: int8(h.next), index: int32(len(h.slots[h.next])), bytes: c.bytesIn.Load()}
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

// Run sends the heartbeats until ctx ends. The caller owns the goroutine; one
// Run at a time.
func (h *Heart) Run(ctx context.Context) {
	if h.interval <= 0 {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(max(h.interval/(heartSlots*heartLooks), 1))
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
			c.Abort(ErrPingTimeout)
		}
		clear(dead)
	}
}

// sweep looks at the connections of a slot, pings those that are due, and
// appends those that did not answer to dead.
func (h *Heart) sweep(slot int, dead []*Conn) []*Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.slots[slot] {
		if c.beat.look(c) {
			dead = append(dead, c)
		}
	}
	return dead
}

// look reports whether the peer of c is gone.
func (b *beat) look(c *Conn) (gone bool) {
	bytes := c.bytesIn.Load()
	received := bytes - b.bytes
	b.bytes = bytes
	if received > 0 && !(b.pinged && received == pongBytes) {
		b.quiet, b.pinged = 1, false
		return false
	}
	if received > 0 {
		b.pinged, b.read = false, b.asked
	}
	b.quiet++
	if b.pinged {
		waits, taken := c.backlog()
		if b.waits && taken > b.taken {
			b.quiet, b.rounds = 0, 0
		}
		b.waits, b.taken = waits, max(b.taken, taken)
	}
	if b.quiet < heartLooks {
		return false
	}
	phase := c.phase.Load()
	reading := phase%2 == 1
	switch {
	case b.pinged && reading && phase == b.phase:
		if b.rounds >= b.moreRounds() {
			return true
		}
		b.rounds++
		b.quiet = 0
		c.sendPing()
		return false
	case !reading && !c.buffers():
		b.quiet = heartLooks - 1 // the peer that answered would wait for the reader
		return false
	}
	b.quiet, b.rounds, b.phase = 0, 0, phase
	b.pinged, b.waits, b.taken = true, false, math.MinInt64
	b.asked = c.sendPing()
	return false
}

// moreRounds returns how many intervals more a peer needs that reads what it
// may not have read, at the least rate that counts.
func (b *beat) moreRounds() int8 {
	unread := time.Duration(min(b.taken-b.read, maxUnread))
	return int8(min(unread*time.Second/minRate/b.heart.interval, math.MaxInt8))
}
