// Package conn is the server's side of WebSocket connections.
//
// The handshake is that of github.com/coder/websocket; what follows is read and
// written here (RFC 6455), so that a message to many connections is framed
// once, what is pending for a connection leaves in one system call, and an idle
// connection costs next to nothing.
//
// The goroutine that reads is the caller's: it calls [Conn.Read] until that
// fails, then [Conn.Wait]. Writing needs no goroutine of a connection's own
// while its peer keeps up.
//
// Where to begin: conn.go, close.go and hangup.go are a connection's state and
// its end; send.go and queue.go are what waits, write.go and batch.go are how
// it is written, shard.go, set.go and writers.go how many are written at once;
// read.go and parse.go are how it is read, poller.go how it waits without a
// goroutine; pace.go finds slow peers, heart.go dead ones. The files with the
// name of a platform hold what differs.
//
// Locks are taken in this order: [Set] or [Heart], then Conn, then a shard or
// the [Poller], then [Writers]. No lock is held while the network is read or
// written.
package conn

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of sending and closing, and causes found in [CloseError].Err.
var (
	// ErrClosed is returned by Send when the connection is closing or has
	// ended.
	ErrClosed = errors.New("dog: socket is closed")
	// ErrSlow means that the peer took its messages too slowly: the queue
	// overflowed, or a write made no progress.
	ErrSlow = errors.New("dog: slow consumer")
	// ErrTooBig means that the peer sent a message over Options.MaxMessage.
	ErrTooBig = errors.New("dog: message is too big")
	// ErrInvalidUTF8 means that the peer sent a text or a close reason that is
	// not UTF-8.
	ErrInvalidUTF8 = errors.New("dog: invalid UTF-8")
	// ErrProtocol means that the peer broke the WebSocket protocol.
	ErrProtocol = errors.New("dog: WebSocket protocol error")
	// ErrPingTimeout means that the peer did not answer a ping.
	ErrPingTimeout = errors.New("dog: no answer to a ping")
)

// Conn is one WebSocket connection that was accepted. Its methods are safe for
// concurrent use, except Read and Wait. Its owner must call Read until it
// returns a [*CloseError], also after Close or Abort: only then is everything
// released.
type Conn struct {
	// Owner says who the connection belongs to, for the exception of Set.Send.
	// Fixed before Set.Add.
	Owner string
	// Data is the caller's own handle. Fixed before Set.Add.
	Data any

	// Fixed by Accept.
	nc          net.Conn
	direct      direct   // its form that does not wait, where there is one
	opts        *Options // with defaults; shared
	subprotocol string
	deflate     bool // permessage-deflate was agreed upon

	in input // owned by the reader

	// phase is odd while the reader is inside Read, or parked; it changes each
	// time the reader comes or goes.
	phase      atomic.Uint64
	bytesIn    atomic.Uint64
	messagesIn atomic.Uint64
	lastAuto   atomic.Int64 // Unix nanoseconds; 0: never
	closing    atomic.Bool  // what arrives is of no interest any more. set under mu

	beat    beat    // guarded by Heart.mu
	parking parking // guarded by Poller.mu
	slot    int     // guarded by Set.mu: the place in shard.members

	ended sync.WaitGroup // until the connection has been hung up

	discarded int  // bytes that arrived after the end. owned by discard
	mute      bool // the peer cannot be told that our side has ended. owned by discard

	mu sync.Mutex // guards all that follows

	shard  *shard // of the Set
	cursor uint64 // the entries of the shard's log before this position have been dealt with; deaf when none count any more

	out        queue  // data that waits
	begun      []byte // the rest of something whose beginning has been written; at first the answer of the handshake
	answerLeft int    // bytes of the answer not written yet
	inflight   int    // bytes of data that a writer has taken
	pong       []byte // answer to the latest ping, nil when none waits
	replied    uint64 // the phase in which Send last wrote at once

	pace *pace // nil until a goroutine has waited for the network

	farewell *farewell // set once when closing begins
	leaving  bool      // the peer has ended its part, and what was sent before may still come: see Options.Last
	parting  []byte    // the close frame that follows then; nil: none
	cause    error     // the first failure that was not the peer's doing on the wire

	writing    bool // somebody has claimed the connection for writing
	backedUp   bool // and is a goroutine that waits for the network
	watched    bool // the timer of pace runs, and is counted in ended
	dirty      bool // is in shard.dirty
	beganData  bool // begun is of a data frame
	ping       bool // a heartbeat waits
	closeTaken bool // a writer has the close frame; nothing may follow
	severed    bool // cut off by Abort or by a write that made no progress
	dead       bool // nothing can be written any more
	readDone   bool // Read has failed; whoever releases the connection next hangs up
	parked     bool // no goroutine reads; the Poller waits for something to read
	parkAsked  bool // the reader is to look up and park
	hard       bool // nothing that the kernel holds is worth delivering
	gone       bool // the network connection has been closed, or is about to be
	resting    bool // the Poller waits for the peer to hang up

	parts int    // goroutines that must end before the connection has ended
	onEnd func() // runs then

	sent, bytesOut           uint64 // data frames, and bytes, accepted by the kernel
	dropped, coalesced, lost uint64 // data frames
}

// deaf is a position that no log reaches.
const deaf = 1<<64 - 1

// Stats are the counters of one connection. Bytes are those of the WebSocket
// frames as they went over the wire, headers and control frames included;
// QueuedBytes are those of frames before compression.
type Stats struct {
	QueuedBytes int    // bytes of data frames not yet accepted by the kernel
	MessagesIn  uint64 // whole data messages received, automatic requests included
	MessagesOut uint64 // data messages accepted by the kernel
	BytesIn     uint64
	BytesOut    uint64
	Dropped     uint64 // data messages given up by DropOldest
	Coalesced   uint64 // data messages replaced by a later one with their key
	Lost        uint64 // data messages that waited, or were being written, when the connection ended early
}

// Stats returns a snapshot of the counters.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		QueuedBytes: c.out.bytes + c.inflight + c.loggedLocked(),
		MessagesIn:  c.messagesIn.Load(),
		MessagesOut: c.sent,
		BytesIn:     c.bytesIn.Load(),
		BytesOut:    c.bytesOut,
		Dropped:     c.dropped,
		Coalesced:   c.coalesced,
		Lost:        c.lost,
	}
}

// loggedLocked returns the bytes that wait in the shard's log, whether or not c
// is left out. The caller must hold mu.
func (c *Conn) loggedLocked() (bytes int) {
	if c.shard == nil || c.overLocked() {
		return 0
	}
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if entries, _ := c.shard.sinceLocked(c.cursor); len(entries) > 0 {
		return int(c.shard.sum - entries[0].before)
	}
	return 0
}

// Start sends the answer of the handshake. It does not wait. Call it once,
// before Read.
func (c *Conn) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurryLocked()
}

// hurryLocked writes what waits, if that is possible without waiting, or has it
// written. The caller must hold mu, which may be released meanwhile.
func (c *Conn) hurryLocked() {
	if c.nimbleLocked() && !c.writing {
		c.flushLocked()
	} else {
		c.wakeLocked()
	}
}

// discardLocked gives up what waits. The caller must hold mu.
func (c *Conn) discardLocked() {
	c.lost += uint64(c.out.len())
	c.out.clear()
	if c.shard != nil {
		c.shard.mu.Lock()
		entries, end := c.shard.sinceLocked(c.cursor)
		for i := range entries {
			if !entries[i].leavesOut(c) {
				c.lost++
			}
		}
		c.cursor = end
		c.shard.mu.Unlock()
	}
	if c.dead {
		c.cursor = deaf
	}
	if c.dead && c.begun != nil { // else it must be completed, for the close frame to be understood
		if c.beganData {
			c.lost++
			c.inflight = 0
		}
		c.begun, c.beganData = nil, false
	}
}

// CloseTimeout returns the bound of closing.
func (c *Conn) CloseTimeout() time.Duration { return c.opts.CloseTimeout }

// QueueBytes returns the bound of what waits for a slow peer.
func (c *Conn) QueueBytes() int { return c.opts.QueueBytes }

// Subprotocol returns the negotiated subprotocol as Options has it, "" when
// there is none.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// LastAuto returns when the latest automatic request arrived, the zero time
// when none did.
func (c *Conn) LastAuto() time.Time {
	if ns := c.lastAuto.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// sendPong answers a ping. Only the latest answer waits, so a flood of pings
// costs no memory.
func (c *Conn) sendPong(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.readDone || c.closeTaken {
		return
	}
	c.pong = appendFrame(c.pong[:0], finBit|opPong, payload)
	c.hurryLocked()
}

// sendPing queues a heartbeat unless the connection is closing, and returns the
// bytes written before.
func (c *Conn) sendPing() (written int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.overLocked() {
		c.ping = true
		c.wakeLocked()
	}
	return int64(c.writtenLocked())
}
