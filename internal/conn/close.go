package conn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/godurable/dog/internal/frame"
)

// Errors of Close for arguments that a server must not send.
var (
	// ErrCloseCode means that the code is not one of 1000-1003, 1007-1014 and
	// 3000-4999.
	ErrCloseCode = errors.New("a server may not send the close code")
	// ErrCloseReason means that the reason is over 123 bytes or not UTF-8.
	ErrCloseReason = errors.New("the close reason is over 123 bytes or not UTF-8")
)

const (
	maxCloseReason = 123
	noStatus       = 1005 // a close frame without a code; never sent
)

// CloseError describes how a connection ended.
type CloseError struct {
	// Code and Reason are those of the side that began to close. Code is 1006
	// if neither side did, and 1005 if the peer's close frame had no code.
	Code   int
	Reason string
	// Local is true if Close or Set.Close began to close.
	Local bool
	// Err is nil if the closing handshake was completed normally. Otherwise it
	// is the first cause: ErrTooBig, ErrInvalidUTF8, ErrProtocol, ErrSlow,
	// ErrPingTimeout, the argument of Abort, or a network error, which is
	// io.ErrUnexpectedEOF if the peer's stream ended without a close frame.
	Err error
}

// Error describes the end for a log.
func (e *CloseError) Error() string {
	s := fmt.Sprintf("conn: closed with %d", e.Code)
	if e.Reason != "" {
		s += fmt.Sprintf(" %q", e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

func (e *CloseError) frame() []byte { return appendClose(nil, e.Code, e.Reason) }

// A Farewell is how any number of connections are closed. It is safe to share.
type Farewell struct {
	how   CloseError
	plain []byte // the close frame
	whole []byte // for peers that speak dog.v1: a message and the close frame
}

// NewFarewell returns a farewell with a code and a reason. last is a frame of
// dog.v1, which peers that speak it get before the close frame, even if they
// are slow. nil: none. The error is [ErrCloseCode] or [ErrCloseReason] if the
// arguments are not allowed.
func NewFarewell(code int, reason string, last []byte) (*Farewell, error) {
	if err := CheckClose(code, reason); err != nil {
		return nil, err
	}
	f := &Farewell{how: CloseError{Code: code, Reason: reason}}
	f.plain = f.how.frame()
	f.whole = f.plain
	if last != nil {
		f.whole = append(frame.Append(nil, finBit|byte(Text), last), f.plain...)
	}
	return f, nil
}

// ending is the state of a closing connection.
type ending struct {
	frame []byte      // fixed; the farewell, sent after the queued data; nil: none
	local *CloseError // fixed; how our side began to close; nil if the peer did

	// set under Conn.mu when closing has begun and the connection has started
	deadline time.Time   // when closing must be finished
	late     *time.Timer // runs Conn.late at the deadline

	left bool // guarded by Conn.mu; everything was written to the network
}

// Close begins the closing handshake. It never blocks. The close frame is
// queued behind pending messages, further Sends return [ErrClosed], and
// messages that still arrive are discarded. The peer has Options.CloseTimeout
// to read what is queued and to answer, counted from Start if that comes later.
// Read then returns a [CloseError] with this code and reason. Closing twice, or
// after the end, does nothing. The error is [ErrCloseCode] or [ErrCloseReason]
// if the arguments are not allowed.
func (c *Conn) Close(code int, reason string) error {
	f, err := NewFarewell(code, reason, nil)
	if err == nil {
		c.Leave(f)
	}
	return err
}

// Leave is like Close, with a farewell.
func (c *Conn) Leave(f *Farewell) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.departLocked()
	c.catchUpLocked()
	if c.overLocked() {
		return
	}
	local, frame := f.how, f.plain
	local.Local = true
	if c.form&marked != 0 {
		frame = f.whole
	}
	c.beginCloseLocked(frame, &local)
	c.wakeLocked()
}

// beginCloseLocked queues the close frame, if there is one, and bounds the rest
// of closing. The caller must hold mu, and must have the frame written.
func (c *Conn) beginCloseLocked(frame []byte, local *CloseError) {
	c.ending = &ending{frame: frame, local: local}
	c.cursor = noLog
	c.closing.Store(true)
	c.rouseLocked()
	if !c.unstarted {
		c.limitCloseLocked()
	}
}

// limitCloseLocked bounds the rest of closing by CloseTimeout. It sets
// deadlines, which end waits for the network, and a timer, because there may be
// no such wait or the network may not support deadlines. The caller must hold
// mu, so that the writer, which sets deadlines of its own, cannot extend them.
func (c *Conn) limitCloseLocked() {
	c.ending.deadline = time.Now().Add(c.opts.CloseTimeout)
	c.ending.late = time.AfterFunc(c.opts.CloseTimeout, c.late)
	c.nc.SetDeadline(c.ending.deadline)
}

// Abort drops the connection immediately. Queued messages are lost, and Read
// returns a [CloseError] with code 1006 and err ([ErrClosed] if nil). If
// closing had begun, its code and reason remain. Abort never waits for the
// peer.
func (c *Conn) Abort(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.mu.Lock()
	c.startLocked()
	c.hard = true
	c.severLocked(err)
	c.departLocked()
	c.mu.Unlock()
	c.cut()
}

// Part ends a closing handshake without waiting for the peer's answer, or for
// the peer to hang up. It does nothing and returns false until the close frame
// has been written to the network.
func (c *Conn) Part() bool {
	c.mu.Lock()
	over := c.dead || c.gone || c.ending != nil && c.ending.left
	c.mu.Unlock()
	if over {
		c.late()
	}
	return over
}

// late cuts a connection whose time is up, even if something is still waiting.
func (c *Conn) late() {
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return
	}
	c.severLocked(os.ErrDeadlineExceeded)
	c.mu.Unlock()
	c.cut()
}

// severLocked gives up the connection because of cause, without closing it yet.
// The caller must hold mu.
func (c *Conn) severLocked(cause error) {
	if c.cause == nil {
		c.cause = cause
	}
	c.severed = true
	c.hard = c.hard || c.ending == nil
	c.closing.Store(true)
	c.dead = true
	c.discardLocked()
	c.rouseLocked()
}

// Closing reports whether our side has begun to close or the connection was
// cut. After that, messages from the peer are discarded.
func (c *Conn) Closing() bool { return c.closing.Load() }

// Over reports whether it is too late to send.
func (c *Conn) Over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.overLocked() || c.leaving
}

// finish ends the reader, which was stopped by err. It decides how the
// connection closed, and queues the close frame if one is due, by way of
// Options.Last if set. The writer does the rest. Messages sent earlier are
// written first, whatever the peer has done: they are lost only if the peer is
// gone.
func (c *Conn) finish(err error) *CloseError {
	end := c.stop(err)
	if c.opts.Last != nil {
		c.opts.Last(c)
	} else {
		c.Depart()
	}
	return end
}

// Leaving reports whether the connection is waiting for Depart.
func (c *Conn) Leaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving
}

// Depart ends the wait described at Options.Last. It does nothing if the
// connection is not waiting.
func (c *Conn) Depart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.departLocked()
}

// departLocked is Depart. The caller must hold mu, which may be released
// temporarily.
func (c *Conn) departLocked() {
	if !c.leaving {
		return
	}
	c.leaving = false
	c.catchUpLocked()
	if !c.dead && c.ending == nil {
		c.beginCloseLocked(c.parting, nil)
	}
	c.endLocked()
}

// endLocked leaves the rest to the writer. The caller must hold mu, which may
// be released temporarily.
func (c *Conn) endLocked() {
	c.readDone = true
	c.hurryLocked()
}

// stop returns how the connection closed, and begins to leave if the peer ended
// it.
func (c *Conn) stop(err error) *CloseError {
	var peer *closing
	answered := errors.As(err, &peer)
	violation := violationOf(err)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUpLocked()
	var end *CloseError
	switch {
	case c.ending != nil && c.ending.local != nil:
		end = c.ending.local
		if end.Err == nil && !answered {
			end.Err = c.failureLocked(err)
		}
	case c.severed:
		end = &CloseError{Code: 1006, Err: c.cause}
	case violation != nil:
		end = violation
		c.leaveLocked(end.frame())
	case answered:
		end = &CloseError{Code: peer.code, Reason: peer.reason}
		c.leaveLocked(end.frame())
	case errors.Is(err, io.ErrUnexpectedEOF) && !c.dead: // perhaps only the peer's side has ended
		end = &CloseError{Code: 1006, Err: c.failureLocked(err)}
		c.leaveLocked(nil)
	default:
		end = &CloseError{Code: 1006, Err: c.failureLocked(err)}
		c.dead = true
		c.discardLocked()
	}
	if !c.leaving {
		c.endLocked()
	}
	return end
}

// leaveLocked records the close frame for Depart to queue, nil for none. The
// caller must hold mu.
func (c *Conn) leaveLocked(frame []byte) {
	c.leaving, c.parting = true, frame
	c.closing.Store(true)
}

// violationOf returns how to close because of what the peer sent. It returns
// nil if that was legal or the network failed.
func violationOf(err error) *CloseError {
	switch {
	case errors.Is(err, ErrInvalidUTF8):
		return &CloseError{Code: 1007, Reason: "invalid UTF-8", Err: ErrInvalidUTF8}
	case errors.Is(err, ErrTooBig):
		return &CloseError{Code: 1009, Reason: "message too big", Err: ErrTooBig}
	case errors.Is(err, ErrProtocol):
		return &CloseError{Code: 1002, Reason: "protocol error", Err: err}
	}
	return nil
}

// failureLocked returns the first reason why the closing handshake was not
// completed. The caller must hold mu.
func (c *Conn) failureLocked(err error) error {
	if c.cause != nil {
		return c.cause
	}
	return err
}

// CheckClose validates the arguments of a close requested by the application.
// The error is ErrCloseCode or ErrCloseReason.
func CheckClose(code int, reason string) error {
	if !allowedCode(code) {
		return fmt.Errorf("%w %d", ErrCloseCode, code)
	}
	if len(reason) > maxCloseReason || !utf8.ValidString(reason) {
		return ErrCloseReason
	}
	return nil
}

// allowedCode reports whether code is allowed in a close frame (RFC 6455,
// section 7.4, and the IANA registry).
func allowedCode(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// appendClose appends a close frame to b. reason must be at most maxCloseReason
// bytes.
func appendClose(b []byte, code int, reason string) []byte {
	if code == noStatus {
		return append(b, finBit|opClose, 0)
	}
	b = append(b, finBit|opClose, byte(2+len(reason)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}
