package conn

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// Options configure Accept. A nil *Options and zero fields mean the defaults.
type Options struct {
	// Subprotocols that may be negotiated, the preferred one first.
	Subprotocols []string
	// OriginPatterns are the hosts ("*.example.com", with path.Match) or origins ("https://example.com") that may connect
	// from a browser besides the request's own host.
	OriginPatterns []string
	// InsecureSkipVerify admits every origin.
	InsecureSkipVerify bool

	// MaxMessage bounds one incoming message in bytes, all its fragments together. A longer one closes with 1009.
	// Default 64 KiB.
	MaxMessage int64
	// QueueBytes bounds the bytes of messages, with their headers, that were sent and that the kernel has not accepted. A
	// longer message never fits. Default 1 MiB.
	QueueBytes int
	// Slow says what happens to a message that does not fit. Default Disconnect.
	Slow Policy

	// WriteTimeout bounds a write that makes no progress; the connection is then dropped. Default 10 s.
	WriteTimeout time.Duration
	// CloseTimeout bounds closing: taking what waits, and the peer's answer. Default 5 s.
	CloseTimeout time.Duration

	// A text message equal to AutoRequest is answered with the text AutoReply, without Read returning it. Off unless both
	// are set.
	AutoRequest, AutoReply string
}

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.MaxMessage <= 0 {
		opts.MaxMessage = 64 << 10
	}
	if opts.QueueBytes <= 0 {
		opts.QueueBytes = 1 << 20
	}
	opts.WriteTimeout = cmp.Or(max(opts.WriteTimeout, 0), 10*time.Second)
	opts.CloseTimeout = cmp.Or(max(opts.CloseTimeout, 0), 5*time.Second)
	return opts
}

// Sizes of coder/websocket's buffers. Payloads over the reader's size bypass it; a control frame, at most 127 bytes, fits
// into the writer and so arrives as one Write.
const (
	readBuffer  = 512
	writeBuffer = 128
)

// HandshakeError says why a request was not upgraded.
type HandshakeError struct {
	// Status is the status of the answer that was written, 0 when the connection failed and none could be.
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

// Accept upgrades the request to a WebSocket connection. Headers set on w are part of the answer. Afterwards neither w nor r
// may be used, and the HTTP handler may return. It does not wait for the network: the client has its answer, and a connection, only
// after [Conn.Start] or when something is sent, so that it can be put where it belongs before.
//
// On refusal the answer has been written and the error is a [*HandshakeError]: 405 when the method is not GET, 426 when no
// upgrade is asked for, 400 for a bad key or version, 403 for the origin, 501 when w cannot be hijacked.
func Accept(w http.ResponseWriter, r *http.Request, o *Options) (*Conn, error) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		return nil, refuse(w, http.StatusMethodNotAllowed, fmt.Errorf("method %q", r.Method))
	}
	c := &Conn{opts: o.withDefaults()}
	up := &upgrade{w: w, conn: c, header: w.Header().Clone()}
	ws, err := websocket.Accept(up, r, &websocket.AcceptOptions{
		Subprotocols:       c.opts.Subprotocols,
		OriginPatterns:     c.opts.OriginPatterns,
		InsecureSkipVerify: c.opts.InsecureSkipVerify,
	})
	if err != nil {
		return nil, up.refuse(err)
	}
	ws.SetReadLimit(c.opts.MaxMessage)
	c.ws = ws
	return c, nil
}

// refuse answers with a plain status and returns the error of Accept.
func refuse(w http.ResponseWriter, status int, err error) error {
	http.Error(w, http.StatusText(status), status)
	return &HandshakeError{Status: status, Err: err}
}

// upgrade is the ResponseWriter that coder/websocket sees. It keeps its answers to itself, because their bodies tell too
// much, and hands out a connection whose writes are queued.
type upgrade struct {
	w      http.ResponseWriter
	conn   *Conn
	header http.Header // the answer's, so that those of a failed upgrade do not leak into a refusal
	status int
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
		u.w.Header().Set("Connection", "Upgrade")
		u.w.Header().Set("Upgrade", "websocket")
	case http.StatusBadRequest:
		u.w.Header().Set("Sec-WebSocket-Version", "13")
	}
	return refuse(u.w, u.status, err)
}

// Hijack takes the connection over and leaves the 101 answer to the writer, which bounds it in time as net/http would not.
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw, err := http.NewResponseController(u.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := u.conn
	c.nc = nc
	c.tcp, _ = nc.(*net.TCPConn)
	c.wire = &wire{Conn: nc, conn: c}
	if brw != nil && brw.Reader.Buffered() > 0 {
		early, _ := brw.Reader.Peek(brw.Reader.Buffered())
		c.wire.early = bytes.Clone(early) // lets go of net/http's buffer
	}

	var answer bytes.Buffer
	answer.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = u.header.WriteSubset(&answer, map[string]bool{"Content-Length": true, "Content-Type": true, "Transfer-Encoding": true})
	answer.WriteString("\r\n")
	c.answer = answer.Bytes()
	nc.SetDeadline(time.Time{}) // those of the HTTP server end here
	return c.wire, bufio.NewReadWriter(bufio.NewReaderSize(c.wire, readBuffer), bufio.NewWriterSize(c.wire, writeBuffer)), nil
}
