// Package conn implements the server side of WebSocket connections.
//
// The handshake is done by github.com/coder/websocket. Everything after it is
// read and written here (RFC 6455), so that a message to many connections is
// framed once, pending data of a connection is written in one system call, and
// an idle connection costs almost nothing.
//
// The caller provides the goroutine that reads: it calls [Conn.Read] until that
// fails, then [Conn.Wait]. A connection needs no goroutine for writing as long
// as its peer keeps up.
//
// Where to begin: conn.go, close.go and hangup.go contain a connection's state
// and its end. send.go and queue.go queue messages, write.go and batch.go write
// them, and shard.go, set.go and writers.go write to many connections at once.
// read.go and parse.go read, and poller.go waits without a goroutine. pace.go
// finds slow peers, heart.go dead peers. Files named after a platform contain
// the differences.
//
// Locks are acquired in this order: [Set] or [Heart], then Conn, then a shard
// or the [Poller], then [Writers]. No lock is held during network reads and
// writes.
//
// The package does not know objects, groups or uids. What its caller keeps with
// a connection, it passes on unread.
package conn

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/frame"
)

// Errors of sending and closing, and causes in [CloseError].Err.
var (
	// ErrClosed is returned by Send if the connection is closing or has ended.
	ErrClosed = errors.New("dog: socket is closed")
	// ErrSlow means that the peer read its messages too slowly: the queue
	// overflowed, or a write made no progress.
	ErrSlow = errors.New("dog: slow consumer")
	// ErrTooBig means that the peer sent a message longer than
	// Options.MaxMessage.
	ErrTooBig = errors.New("dog: message is too big")
	// ErrInvalidUTF8 means that the peer sent a text message or a close reason
	// that is not valid UTF-8.
	ErrInvalidUTF8 = errors.New("dog: invalid UTF-8")
	// ErrProtocol means that the peer violated the WebSocket protocol.
	ErrProtocol = errors.New("dog: WebSocket protocol error")
	// ErrPingTimeout means that the peer did not answer a ping.
	ErrPingTimeout = errors.New("dog: no answer to a ping")
)

// Conn is an accepted WebSocket connection. Its methods are safe for concurrent
// use, except Read and Wait. The owner must call Read until it returns a
// [*CloseError], even after Close or Abort, because only then are all resources
// released.
type Conn struct {
	// Owner identifies the owner of the connection, for Except.Owner in
	// Set.Send. Fixed before Set.Add.
	Owner string
	// Data is for use by the caller. Fixed before Set.Add.
	Data any

	// Fixed by Accept.
	nc          net.Conn
	direct      direct   // nonblocking form, if there is one
	opts        *Options // with defaults; shared
	subprotocol string
	form        form  // in which messages are written
	stripe      uint8 // of opts.Traffic

	in input // owned by the reader

	// phase is odd while the reader is inside Read or the connection is parked.
	// It changes each time the reader enters or leaves Read.
	phase      atomic.Uint64
	bytesIn    atomic.Uint64
	messagesIn atomic.Uint64
	lastAuto   atomic.Int64 // Unix nanoseconds; 0: never
	closing    atomic.Bool  // set under mu; incoming messages are discarded

	beat    beat    // guarded by Heart.mu
	parking parking // guarded by Poller.mu
	slot    int     // guarded by Set.mu: index in shard.members

	ended sync.WaitGroup // done when the connection has been hung up

	discarded int  // owned by discard; bytes that arrived after the end
	mute      bool // owned by discard; the peer cannot see that our side has ended

	mu sync.Mutex // guards all fields below

	shard *shard // within the Set
	// log entries of the shard before this position have been handled; noLog if
	// none count any more
	cursor uint64

	out    queue   // queued data
	replay *replay // nil: the peer is not behind
	// the rest of a partly written frame; at first the handshake response
	begun         []byte
	beganMessages int    // messages that begun completes
	answerLeft    int    // bytes of the response not yet written
	inflight      int    // bytes of data claimed by a writer
	pong          []byte // answer to the latest ping; nil if none is pending
	replied       uint64 // the phase in which Send last wrote immediately

	pace *pace // nil until a goroutine has waited for the network

	ending *ending // set once, when closing begins
	// the peer has ended its side, but pending sends may still arrive: see
	// Options.Last
	leaving bool
	parting []byte // the close frame to send after leaving; nil: none
	cause   error  // the first failure not caused by what the peer sent

	unstarted  bool // claimed by Accept until Start or Abort
	writing    bool // a goroutine has claimed the connection for writing
	backedUp   bool // and that goroutine waits for the network
	watched    bool // the timer of pace runs, and is counted in ended
	dirty      bool // is in shard.dirty
	ping       bool // a heartbeat is pending
	closeTaken bool // a writer has the close frame; nothing may follow
	severed    bool // cut off by Abort or by a stalled write
	dead       bool // nothing can be written any more
	readDone   bool // Read has failed; the next goroutine to release the connection hangs up
	parked     bool // no goroutine reads; the Poller waits for input
	parkAsked  bool // the reader was asked to park
	hard       bool // nothing in the kernel's buffer is worth delivering
	gone       bool // the network connection has been closed, or is about to be
	resting    bool // the Poller waits for the peer to hang up

	parts int    // goroutines that must end before the connection is over
	onEnd func() // called then

	sent, bytesOut           uint64 // data frames, and bytes, accepted by the kernel
	dropped, coalesced, lost uint64 // data frames
}

// noLog is a position that no log reaches.
const noLog = 1<<64 - 1

// Stats are the counters of one connection. Bytes are counted as transferred,
// including frame headers and control frames. QueuedBytes counts frames before
// compression.
type Stats struct {
	QueuedBytes int    // bytes of data frames not yet accepted by the kernel
	MessagesIn  uint64 // complete data messages received, including automatic requests
	MessagesOut uint64 // data messages accepted by the kernel
	BytesIn     uint64
	BytesOut    uint64
	Dropped     uint64 // data messages dropped by DropOldest
	Coalesced   uint64 // data messages replaced by a later one with the same key
	// data messages that were queued or being written when the connection ended
	// early
	Lost uint64
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

// loggedLocked returns the number of bytes pending in the shard's log,
// including messages that leave out c. The caller must hold mu.
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

// Start sends the handshake response and what has been queued behind it. It
// does not block. Start or Abort must be called before Read.
func (c *Conn) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startLocked()
	c.hurryLocked()
}

// startLocked ends the claim of Accept, so that others can write. The caller
// must hold mu.
func (c *Conn) startLocked() {
	if !c.unstarted {
		return
	}
	c.unstarted, c.writing = false, false
	if c.ending != nil {
		c.limitCloseLocked()
	}
}

// hurryLocked writes pending data, or schedules the write if it might block.
// The caller must hold mu, which may be released temporarily.
func (c *Conn) hurryLocked() {
	if c.canWriteDirectlyLocked() && !c.writing {
		c.flushLocked()
	} else {
		c.wakeLocked()
	}
}

// discardLocked drops pending messages. The caller must hold mu.
func (c *Conn) discardLocked() {
	for _, it := range c.out.items[c.out.head:] {
		c.lostLocked(uint64(it.frame.messages))
	}
	c.out.clear()
	c.replay = nil
	if c.shard != nil {
		c.shard.mu.Lock()
		entries, end := c.shard.sinceLocked(c.cursor)
		for i := range entries {
			if !entries[i].leavesOut(c) {
				c.lostLocked(1)
			}
		}
		c.cursor = end
		c.shard.mu.Unlock()
	}
	if c.dead {
		c.cursor = noLog
	}
	if c.dead && c.begun != nil { // otherwise it must be completed, so that the peer understands the close frame
		if c.beganMessages > 0 {
			c.lostLocked(uint64(c.beganMessages))
			c.inflight = 0
		}
		c.begun, c.beganMessages = nil, 0
	}
}

// CloseTimeout returns the time limit of closing.
func (c *Conn) CloseTimeout() time.Duration { return c.opts.CloseTimeout }

// QueueBytes returns the limit of the bytes queued for a slow peer.
func (c *Conn) QueueBytes() int { return c.opts.QueueBytes }

// Subprotocol returns the negotiated subprotocol as spelled in Options, or ""
// if there is none.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// LastAuto returns when the latest automatic request arrived, or the zero time
// if there was none.
func (c *Conn) LastAuto() time.Time {
	if ns := c.lastAuto.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// sendPong answers a ping. Only the latest answer is kept, so a flood of pings
// costs no memory.
func (c *Conn) sendPong(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.readDone || c.closeTaken {
		return
	}
	c.pong = frame.Append(c.pong[:0], finBit|opPong, payload)
	c.hurryLocked()
}

// sendPing queues a heartbeat unless the connection is closing. It returns the
// number of bytes written before it.
func (c *Conn) sendPing() (written int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.overLocked() {
		c.ping = true
		c.wakeLocked()
	}
	return int64(c.writtenLocked())
}
