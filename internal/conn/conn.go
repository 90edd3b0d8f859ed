// Package conn is the server's side of WebSocket connections.
//
// The handshake, the reading of frames and the checks of the protocol are those of github.com/coder/websocket. Everything
// written goes through this package: coder/websocket is handed a [net.Conn] whose Write only queues, so that messages framed
// once, pongs, pings and close frames of one connection have one order and one writer.
//
// A goroutine that writes exists only while something waits to be written. The goroutine that reads is the caller's: it calls
// [Conn.Read] until that fails, then [Conn.Wait].
//
// Locks are taken in this order: [Set] or [Heart], then Conn. No lock is held while the network is read or written.
package conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Errors of sending and closing, and causes found in [CloseError].Err.
var (
	// ErrClosed is returned by Send when the connection is closing or has ended.
	ErrClosed = errors.New("dog: socket is closed")
	// ErrSlow means that the peer took its messages too slowly: the queue overflowed, or a write made no progress.
	ErrSlow = errors.New("dog: slow consumer")
	// ErrTooBig means that the peer sent a message over Options.MaxMessage.
	ErrTooBig = errors.New("dog: message is too big")
	// ErrInvalidUTF8 means that the peer sent a text or a close reason that is not UTF-8.
	ErrInvalidUTF8 = errors.New("dog: invalid UTF-8")
	// ErrProtocol means that the peer broke the WebSocket protocol.
	ErrProtocol = errors.New("dog: WebSocket protocol error")
	// ErrHeartbeat means that the peer did not answer a ping.
	ErrHeartbeat = errors.New("dog: no answer to a ping")
)

// Conn is one WebSocket connection that was accepted. Its methods are safe for concurrent use, except Read and Wait.
// Its owner must call Read until it returns an error, also after Close or Abort: only then is everything released.
type Conn struct {
	// Owner says who the connection belongs to, for the exception of Set.Send. Fixed before Set.Add.
	Owner string
	// Data is the caller's own handle. Fixed before Set.Add.
	Data any

	// Fixed by Accept.
	ws   *websocket.Conn
	wire *wire
	nc   net.Conn
	tcp  *net.TCPConn // nc if it is bare TCP, else nil
	opts Options

	err *CloseError // owned by the reader: what Read has failed with

	// phase is odd while the reader is inside Read; it changes each time the reader comes or goes.
	phase      atomic.Uint64
	bytesIn    atomic.Uint64
	bytesOut   atomic.Uint64
	messagesIn atomic.Uint64
	lastAuto   atomic.Int64 // Unix nanoseconds; 0: never

	beat beat // guarded by Heart.mu

	writers sync.WaitGroup // the writing goroutine, at most one at a time

	mu         sync.Mutex
	out        queue       // guarded by mu: data that waits
	inflight   int         // guarded by mu: bytes of data that the writer has taken
	pong       []byte      // guarded by mu: answer to the latest ping, nil when none waits
	ping       bool        // guarded by mu: a heartbeat waits
	answer     []byte      // guarded by mu: the 101 answer, until the writer has it
	closeFrame []byte      // guarded by mu: set once when closing begins; follows the queued data
	closeTaken bool        // guarded by mu: the writer has the close frame; nothing may follow
	deadline   time.Time   // guarded by mu: when closing must be over; zero until it begins
	local      *CloseError // guarded by mu: how our side began to close; nil when it did not
	cause      error       // guarded by mu: the first failure that was not the peer's doing on the wire
	severed    bool        // guarded by mu: cut off by Abort or by a write that made no progress
	dead       bool        // guarded by mu: nothing can be written any more
	readCut    bool        // guarded by mu: reads must fail at once
	readDone   bool        // guarded by mu: Read has failed; the writer hangs up when nothing is left
	linger     bool        // guarded by mu: the peer may still be sending when we hang up
	writing    bool        // guarded by mu: the writing goroutine exists
	sent       uint64      // guarded by mu: data frames accepted by the kernel
	dropped    uint64      // guarded by mu
	coalesced  uint64      // guarded by mu
	lost       uint64      // guarded by mu
}

// Stats are the counters of one connection. Bytes are those of the WebSocket frames, headers and control frames included.
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
		QueuedBytes: c.out.bytes + c.inflight,
		MessagesIn:  c.messagesIn.Load(),
		MessagesOut: c.sent,
		BytesIn:     c.bytesIn.Load(),
		BytesOut:    c.bytesOut.Load(),
		Dropped:     c.dropped,
		Coalesced:   c.coalesced,
		Lost:        c.lost,
	}
}

// Start sends the answer of the handshake. It does not wait. Call it once, before Read.
func (c *Conn) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startWriterLocked()
}

// discardLocked gives up what waits. The caller must hold mu.
func (c *Conn) discardLocked() {
	c.lost += uint64(c.out.len())
	c.out.clear()
}

// Subprotocol returns the negotiated subprotocol, "" when there is none.
func (c *Conn) Subprotocol() string { return c.ws.Subprotocol() }

// LastAuto returns when the latest automatic request arrived, the zero time when none did.
func (c *Conn) LastAuto() time.Time {
	if ns := c.lastAuto.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// Send queues f and never blocks. A non-empty key names what f is the latest value of, for policy Coalesce. f may be sent to
// any number of connections. The error is nil (queued, or dropped and counted under DropOldest), [ErrSlow] (f did not fit:
// what waited was dropped and the connection is being closed with 1008) or [ErrClosed].
func (c *Conn) Send(f *Frame, key string) error {
	_, err := c.send(f, key)
	return err
}

// send is Send; queued says whether f itself joined the queue.
func (c *Conn) send(f *Frame, key string) (queued bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.readDone || c.closeFrame != nil {
		return false, ErrClosed
	}
	res := c.out.offer(f, key, c.opts.Slow, c.opts.QueueBytes-c.inflight)
	c.dropped += uint64(res.dropped)
	c.coalesced += uint64(res.coalesced)
	if res.overflow {
		c.discardLocked()
		c.local = &CloseError{Code: 1008, Reason: "slow consumer", Err: ErrSlow}
		c.beginCloseLocked(c.local.frame())
		return false, ErrSlow
	}
	if res.queued {
		c.startWriterLocked()
	}
	return res.queued, nil
}

// sendPong queues the answer to a ping. Only the latest one waits, so a flood of pings costs no memory.
func (c *Conn) sendPong(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.readDone || c.closeTaken {
		return
	}
	c.pong = append(c.pong[:0], frame...)
	c.startWriterLocked()
}

// sendPing queues a heartbeat unless the connection is closing.
func (c *Conn) sendPing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.readDone || c.closeFrame != nil {
		return
	}
	c.ping = true
	c.startWriterLocked()
}

// Close begins the closing handshake and never blocks: the close frame is queued behind what waits, further Sends return
// [ErrClosed], messages that still arrive are discarded, and the peer gets Options.CloseTimeout to take what waits and to
// answer. Read then returns a [CloseError] with this code and reason. Closing twice, or after the end, does nothing.
// The error is [ErrCloseCode] or [ErrCloseReason] when the arguments are not allowed.
func (c *Conn) Close(code int, reason string) error {
	if err := checkClose(code, reason); err != nil {
		return err
	}
	c.closeWith(&CloseError{Code: code, Reason: reason}, appendClose(nil, code, reason))
	return nil
}

// closeWith is Close with arguments that were checked; frame is shared, how is copied.
func (c *Conn) closeWith(how *CloseError, frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.readDone || c.closeFrame != nil {
		return
	}
	local := *how
	local.Local = true
	c.local = &local
	c.beginCloseLocked(frame)
}

// beginCloseLocked queues the close frame and bounds what is left to do by CloseTimeout. The caller must hold mu.
// Deadlines are set under mu so that the writer, which sets its own, cannot lengthen them.
func (c *Conn) beginCloseLocked(frame []byte) {
	c.closeFrame = frame
	c.deadline = time.Now().Add(c.opts.CloseTimeout)
	if !c.readCut {
		c.nc.SetReadDeadline(c.deadline)
	}
	c.nc.SetWriteDeadline(c.deadline)
	c.startWriterLocked()
}

// Abort drops the connection now: what waits is lost, and Read returns a [CloseError] with code 1006 and err ([ErrClosed]
// when nil). If closing had begun, the code and reason of that remain. It never waits for the peer.
func (c *Conn) Abort(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.mu.Lock()
	c.severLocked(err)
	c.mu.Unlock()
	c.cut()
}

// severLocked gives up the connection for cause, without closing it yet. The caller must hold mu.
func (c *Conn) severLocked(cause error) {
	if c.cause == nil {
		c.cause = cause
	}
	c.severed = true
	c.dead = true
	c.discardLocked()
}

// cut closes the transport without a farewell. TLS would write an alert, and wait for a peer that may be gone; without the
// linger option the kernel would keep unsent data of a dead peer for minutes.
func (c *Conn) cut() {
	raw := c.nc
	if t, ok := raw.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = raw.Close() // whatever it says, the connection is gone
}

// Wait returns when no goroutine of the connection is left and the network connection is closed. Until then what was queued
// and the close frame have up to Options.CloseTimeout to leave. It must be called after Read has returned its error.
func (c *Conn) Wait() { c.writers.Wait() }

// Closing reports whether our side has begun to close, so that what the peer sends no longer counts.
func (c *Conn) Closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closeFrame != nil
}

// muted reports whether nothing that arrives is of interest any more.
func (c *Conn) muted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.severed || c.closeFrame != nil
}

// finish ends the reader's part: err is what stopped it. It decides how the connection closed, queues the close frame if one
// is due and leaves the rest to the writer.
func (c *Conn) finish(err error) *CloseError {
	_ = c.ws.CloseNow() // releases coder's finalizer, which keeps it in memory

	var peer websocket.CloseError
	answered := errors.As(err, &peer)
	violation := c.violation(err, answered, peer.Reason)

	c.mu.Lock()
	defer c.mu.Unlock()
	var end *CloseError
	switch {
	case c.local != nil:
		end = c.local
		if end.Err == nil && !(answered && violation == nil) {
			end.Err = c.failureLocked(violation)
		}
		c.linger = violation != nil
	case c.severed:
		end = &CloseError{Code: 1006, Err: c.cause}
	case violation != nil:
		end = violation
		c.discardLocked()
		c.linger = true
		c.beginCloseLocked(end.frame())
	case answered:
		end = &CloseError{Code: int(peer.Code), Reason: peer.Reason}
		c.beginCloseLocked(end.frame())
	default:
		end = &CloseError{Code: 1006, Err: c.failureLocked(nil)}
		c.discardLocked()
		c.dead = true
	}
	c.readDone = true
	c.startWriterLocked()
	return end
}

// violation returns how to close because of what the peer sent, nil if that was legal or the network failed.
func (c *Conn) violation(err error, answered bool, reason string) *CloseError {
	switch {
	case answered && !utf8.ValidString(reason), errors.Is(err, ErrInvalidUTF8):
		return &CloseError{Code: 1007, Reason: "invalid UTF-8", Err: ErrInvalidUTF8}
	case answered || c.wire.err != nil:
		return nil
	case errors.Is(err, websocket.ErrMessageTooBig):
		return &CloseError{Code: 1009, Reason: "message too big", Err: ErrTooBig}
	default:
		return &CloseError{Code: 1002, Reason: "protocol error", Err: fmt.Errorf("%w: %w", ErrProtocol, err)}
	}
}

// failureLocked returns the first reason why no closing handshake was completed. The caller must hold mu.
func (c *Conn) failureLocked(violation *CloseError) error {
	switch {
	case c.cause != nil:
		return c.cause
	case violation != nil:
		return violation.Err
	default:
		return c.wire.err
	}
}

// hangUp closes the network connection after the reader has ended and everything was written or given up.
func (c *Conn) hangUp() {
	c.mu.Lock()
	dead, linger, deadline := c.dead, c.linger, c.deadline
	c.mu.Unlock()
	if dead {
		c.cut()
		return
	}
	if linger {
		// Closing with unread bytes resets a TCP connection, and the peer could lose the close frame.
		if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // what fails here fails in the copy too
		}
		c.nc.SetReadDeadline(deadline)
		_, _ = io.Copy(io.Discard, c.nc) // until the peer hangs up or the deadline passes
	}
	_ = c.nc.Close()
}

// writeFailed records that nothing can be written any more.
func (c *Conn) writeFailed(err error) {
	stalled := errors.Is(err, os.ErrDeadlineExceeded)
	c.mu.Lock()
	if stalled {
		if c.closeFrame == nil {
			err = fmt.Errorf("%w: %w", ErrSlow, err)
		}
		c.severLocked(err)
	} else {
		// The peer's close frame may be on its way here: let the reader find out.
		if c.cause == nil {
			c.cause = err
		}
		c.dead = true
		c.discardLocked()
		if !c.readCut && c.deadline.IsZero() {
			c.nc.SetReadDeadline(time.Now().Add(c.opts.CloseTimeout))
		}
	}
	c.mu.Unlock()
	if stalled {
		c.cut()
	}
}
