package conn

import (
	"context"
	"math"
	"sync"
	"time"
)

const (
	// heartSlots is the number of parts into which the connections are divided,
	// so that pings do not leave all at once.
	heartSlots = 8
	// heartLooks is the number of checks of a connection per interval.
	heartLooks = 8
	// maxUnread bounds the unread bytes for which a peer gets more time to
	// answer.
	maxUnread = 512 << 10
	// pongBytes is the length of the answer to a ping.
	pongBytes = 2 + 4
)

// Heart detects peers that are gone. It checks each connection eight times per
// interval. A silent peer is pinged between seven eighths of an interval and
// one interval after its last data, and then every interval, whether or not it
// answers. A connection that has received nothing at all for an interval after
// a ping is aborted with [ErrPingTimeout]. Any byte counts as a sign of life.
//
// The answer is not due while the ping may be queued behind data that the peer
// is still reading, that is, as long as checks find that data is pending for
// the peer and that the peer has read more. After that, the peer gets
// additional intervals: as many as it needs to read, at 4 KiB a second, the
// data sent since its last answer, up to 512 KiB. The answer is also not due
// while the reader is outside Read, where the answer may be unread. Pings
// continue if a kernel buffers the answers.
//
// A Heart uses one goroutine for all connections and is safe for concurrent
// use.
type Heart struct {
	interval time.Duration // fixed

	mu    sync.Mutex
	slots [heartSlots][]*Conn // guarded by mu; one slot is swept per tick
	next  int                 // guarded by mu: slot of the next connection
}

// beat is a Heart's state of a connection.
type beat struct {
	heart  *Heart // nil if in none
	bytes  uint64 // received until the last check
	phase  uint64 // of the reader at the ping
	taken  int64  // by the peer, at the last check since the ping
	partly int    // further bytes that the peer may have read by then
	asked  int64  // written before the ping
	read   int64  // written before the latest ping that was answered
	index  int32  // within the slot
	slot   int8
	rounds int8 // intervals granted to the peer beyond the first
	quiet  int8 // checks that found nothing since the peer's last data or ping
	pinged bool // and the ping is not answered
	waits  bool // at the last check since the ping, data was pending for the peer
}

// NewHeart returns a Heart, to be started by Run. An interval of 0 or less
// disables heartbeats.
func NewHeart(interval time.Duration) *Heart { return &Heart{interval: interval} }

// StartHeartbeat adds the connection to Options.Heart.
func (c *Conn) StartHeartbeat() {
	if c.opts.Heart != nil {
		c.opts.Heart.Add(c)
	}
}

// StopHeartbeat removes the connection from Options.Heart. It must be called
// when Read has failed.
func (c *Conn) StopHeartbeat() {
	if c.opts.Heart != nil {
		c.opts.Heart.Remove(c)
	}
}

// Add starts watching c. It does nothing if h already watches c. A connection
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

// Remove stops watching c. It does nothing if h does not watch c.
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

// Run sends heartbeats until ctx is done. It runs in the caller's goroutine.
// There must be only one Run at a time.
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

// sweep checks the connections of a slot, pings those that are due, and appends
// those that did not answer to dead.
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
		waits, taken, partly := c.backlog()
		if b.waits && taken > b.taken {
			b.quiet, b.rounds = 0, 0
		}
		b.waits, b.taken, b.partly = waits, max(b.taken, taken), partly
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
		b.quiet = heartLooks - 1 // the answer would be unread until the reader returns
		return false
	}
	b.quiet, b.rounds, b.phase = 0, 0, phase
	b.pinged, b.waits, b.taken = true, false, math.MinInt64
	b.asked = c.sendPing()
	return false
}

// moreRounds returns the number of additional intervals for a peer to read its
// possibly unread data at minRate.
func (b *beat) moreRounds() int8 {
	unread := time.Duration(min(b.taken-b.read+int64(b.partly), maxUnread))
	return int8(min(unread*time.Second/minRate/b.heart.interval, math.MaxInt8))
}
