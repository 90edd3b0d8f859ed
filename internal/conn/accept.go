package conn

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// Options configure Accept. A nil *Options and zero fields mean the defaults.
// They must not change after Accept.
type Options struct {
	// Subprotocols that may be negotiated, the preferred one first. The
	// client's may differ in case; it is answered in its own spelling, which is
	// all that browsers take.
	Subprotocols []string
	// OriginPatterns are the hosts ("*.example.com", with path.Match) or
	// origins ("https://example.com") that may connect from a browser besides
	// the request's own host.
	OriginPatterns []string
	// InsecureSkipVerify admits every origin.
	InsecureSkipVerify bool

	// MaxMessage bounds one incoming message in bytes, all its fragments
	// together. A longer one closes with 1009. Default 64 KiB.
	MaxMessage int64
	// QueueBytes bounds the bytes of messages, with their headers, that wait
	// because the peer does not take them: that were sent and that the kernel
	// has not accepted. A longer message never fits. Up to 8 MiB more may wait
	// for a peer that takes what it gets, or has had no more than a Moment to
	// do so. Default 1 MiB; what is over half an int counts as that.
	QueueBytes int
	// Moment is how long a peer must have taken nothing to be blamed for what
	// waits beyond QueueBytes, or longer where it may be reading what its full
	// kernel holds: see pace.go; under DropOldest, for how long the queue must
	// have been over it and never empty. Default 1 s.
	Moment time.Duration
	// Slow says what happens to a message that does not fit. Default
	// Disconnect.
	Slow Policy

	// WriteTimeout is how long a peer may take nothing while something waits
	// for it, or longer as Moment says; the connection is then dropped, a
	// sixteenth later at most. Default 10 s.
	WriteTimeout time.Duration
	// CloseTimeout bounds closing: taking what waits, and the peer's answer.
	// Default 5 s.
	CloseTimeout time.Duration

	// Last is called when Read is about to fail, for sends on their way to Send
	// or Set.Send to get there. When it is the peer that ends the connection,
	// by a close frame, a violation or the end of its stream, messages are
	// still taken and the close frame is not queued until [Conn.Depart] is
	// called, by Last or later, from any goroutine; Close and Abort bring that
	// about, too. CloseTimeout begins then. Last must not wait. nil calls
	// Depart at once.
	Last func(*Conn)

	// A text message equal to AutoRequest is answered with the text AutoReply,
	// without Read returning it. Off unless both are set.
	AutoRequest, AutoReply string

	// Compression agrees on permessage-deflate with peers that offer it. Off by
	// default.
	Compression bool

	// Poller parks the connection when it is silent; nil means never. Wake then
	// starts a goroutine that reads. It is called with locks held: it must not
	// wait, and must not call into this package itself.
	Poller *Poller
	Wake   func(*Conn)

	// Heart watches the connection between StartHeartbeat and StopHeartbeat;
	// nil means that nobody does.
	Heart *Heart
}

// maxQueue leaves room for sums.
const maxQueue = math.MaxInt / 2

// withDefaults returns the options in full. It makes a copy only when something
// is missing, so that connections can share them.
func (o *Options) withDefaults() *Options {
	if o != nil && o.MaxMessage > 0 && o.QueueBytes > 0 && o.QueueBytes <= maxQueue && o.Moment > 0 && o.WriteTimeout > 0 && o.CloseTimeout > 0 {
		return o
	}
	opts := new(Options)
	if o != nil {
		*opts = *o
	}
	if opts.MaxMessage <= 0 {
		opts.MaxMessage = 64 << 10
	}
	if opts.QueueBytes <= 0 {
		opts.QueueBytes = 1 << 20
	}
	opts.QueueBytes = min(opts.QueueBytes, maxQueue)
	opts.Moment = cmp.Or(max(opts.Moment, 0), time.Second)
	opts.WriteTimeout = cmp.Or(max(opts.WriteTimeout, 0), 10*time.Second)
	opts.CloseTimeout = cmp.Or(max(opts.CloseTimeout, 0), 5*time.Second)
	return opts
}

// HandshakeError says why a request was not upgraded.
type HandshakeError struct {
	// Status is the status of the answer that was written, 0 when the
	// connection failed and none could be.
	Status int
	// Err is the reason, for the log: the answer does not repeat it.
	Err error
}

// Error describes the refusal for a log.
func (e *HandshakeError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("conn: handshake failed: %v", e.Err)
	}
	return fmt.Sprintf("conn: handshake refused with %d: %v", e.Status, e.Err)
}

// Unwrap returns Err.
func (e *HandshakeError) Unwrap() error { return e.Err }

// Accept upgrades the request to a WebSocket connection. Headers set on w are
// part of the answer. Afterwards neither w nor r may be used, and the HTTP
// handler may return. It does not wait for the network: the client has its
// answer, and a connection, only after [Conn.Start] or when something is sent,
// so that it can be put where it belongs before.
//
// On refusal the answer has been written and the error is a [*HandshakeError]:
// 405 when the method is not GET, 426 when no upgrade is asked for, 400 for a
// bad key or version, 403 for the origin, 501 when w cannot be hijacked.
func Accept(w http.ResponseWriter, r *http.Request, o *Options) (*Conn, error) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		return nil, refuse(w, http.StatusMethodNotAllowed, fmt.Errorf("method %q", r.Method))
	}
	opts := o.withDefaults()
	c := &Conn{opts: opts}
	c.in.limit, c.in.active = opts.MaxMessage, true
	c.replied = 1 // no even phase
	c.parts = 1
	c.ended.Add(1)
	up := &upgrade{w: w, conn: c, header: w.Header().Clone(), http1: r.ProtoMajor == 1}
	up.negotiate(r.Header)
	ws, err := websocket.Accept(up, r, &websocket.AcceptOptions{
		OriginPatterns:     opts.OriginPatterns,
		InsecureSkipVerify: opts.InsecureSkipVerify,
	})
	if err != nil {
		return nil, up.refuse(err)
	}
	_ = ws.CloseNow() // its part is over; this releases its finalizer
	opts.Poller.watch(c)
	return c, nil
}

// refuse answers with a plain status and returns the error of Accept.
func refuse(w http.ResponseWriter, status int, err error) error {
	http.Error(w, http.StatusText(status), status)
	return &HandshakeError{Status: status, Err: err}
}

// upgrade is the ResponseWriter that coder/websocket sees. It keeps its answers
// to itself, because their bodies tell too much, and hands out a connection
// whose writes are queued.
type upgrade struct {
	w      http.ResponseWriter
	conn   *Conn
	header http.Header // the answer's, so that those of a failed upgrade do not leak into a refusal
	status int
	http1  bool // only there connections have headers of their own
}

// negotiate puts into the answer what becomes of the client's offers.
func (u *upgrade) negotiate(request http.Header) {
	c := u.conn
	set := func(header, value string) {
		if u.header.Del(header); value != "" {
			u.header.Set(header, value)
		}
	}
	ours, theirs := agreeProtocol(request, c.opts.Subprotocols, u.header.Get(protocolHeader))
	c.subprotocol = ours
	set(protocolHeader, theirs)
	var answer string
	if c.opts.Compression {
		answer = agreeDeflate(request)
	}
	c.deflate, c.in.deflate = answer != "", answer != ""
	set(extensionHeader, answer)
}

func (u *upgrade) Header() http.Header         { return u.header }
func (u *upgrade) WriteHeader(status int)      { u.status = status }
func (u *upgrade) Write(p []byte) (int, error) { return len(p), nil }

// refuse gives the answer that coder/websocket meant for err.
func (u *upgrade) refuse(err error) error {
	if u.conn.nc != nil {
		u.conn.cut()
		return &HandshakeError{Err: err}
	}
	if errors.Is(err, http.ErrNotSupported) {
		u.status = http.StatusNotImplemented
	}
	switch u.status {
	case http.StatusUpgradeRequired:
		if u.http1 {
			u.w.Header().Set("Connection", "Upgrade")
			u.w.Header().Set("Upgrade", "websocket")
		}
	case http.StatusBadRequest:
		u.w.Header().Set("Sec-WebSocket-Version", "13")
	}
	return refuse(u.w, u.status, err)
}

// Hijack takes the connection over and keeps the 101 answer for Start.
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw, err := http.NewResponseController(u.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := u.conn
	c.nc = nc
	c.direct = directly(nc)
	if brw != nil && brw.Reader.Buffered() > 0 {
		early, _ := brw.Reader.Peek(brw.Reader.Buffered())
		c.in.rest = bytes.Clone(early) // lets go of net/http's buffer
		c.bytesIn.Store(uint64(len(early)))
	}

	var answer bytes.Buffer
	answer.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = u.header.WriteSubset(&answer, map[string]bool{"Content-Length": true, "Content-Type": true, "Transfer-Encoding": true})
	answer.WriteString("\r\n")
	c.begun, c.answerLeft = answer.Bytes(), answer.Len()
	nc.SetDeadline(time.Time{}) // those of the HTTP server end here
	return noConn{}, bufio.NewReadWriter(bufio.NewReader(noConn{}), bufio.NewWriter(noConn{})), nil
}

// noConn is what coder/websocket gets as its connection, which it does not need
// for the handshake.
type noConn struct{ net.Conn }

func (noConn) Read([]byte) (int, error)    { return 0, io.EOF }
func (noConn) Write(p []byte) (int, error) { return len(p), nil }
func (noConn) Close() error                { return nil }
