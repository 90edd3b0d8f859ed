package conn

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/godurable/dog/internal/tally"
)

// Options configure Accept. A nil *Options and zero fields mean the defaults.
// Options must not be modified after Accept.
type Options struct {
	// Subprotocols lists the subprotocols that may be negotiated, in order of
	// preference. Matching ignores case. The response repeats the client's
	// spelling, because browsers accept no other.
	Subprotocols []string
	// OriginPatterns lists the hosts ("*.example.com", matched by path.Match)
	// or origins ("https://example.com") that may connect from a browser, in
	// addition to the request's own host.
	OriginPatterns []string

	// MaxMessage is the maximum size of an incoming message in bytes, summed
	// over all fragments. A longer message closes the connection with 1009.
	// Default 64 KiB.
	MaxMessage int64
	// QueueBytes is the maximum number of bytes of outgoing messages, headers
	// included, that have been sent but not yet accepted by the kernel because
	// the peer does not read them. A message longer than QueueBytes never fits.
	// Up to 8 MiB more may be queued for a peer that keeps reading, or that has
	// had less than a Moment to read. Default 1 MiB.
	QueueBytes int
	// Moment is how long a peer must have read nothing before it is blamed for
	// the bytes queued beyond QueueBytes. It is extended if the peer may still
	// be reading what its full kernel buffer holds (see pace.go). Under
	// DropOldest, Moment is how long the queue must have been over QueueBytes
	// without ever being empty. Default 1 s.
	Moment time.Duration
	// Slow is the policy for a message that does not fit. Default Disconnect.
	Slow Policy

	// WriteTimeout is how long a peer may read nothing while something is
	// queued for it. It is extended in the same way as Moment. The connection
	// is dropped when it has passed, at most a sixteenth of it later. Default
	// 10 s.
	WriteTimeout time.Duration
	// CloseTimeout bounds closing: the peer must read everything queued and
	// answer the close frame within it. Default 5 s.
	CloseTimeout time.Duration

	// Last is called when Read is about to fail, so that pending sends can
	// still reach Send or Set.Send. If the peer ends the connection, by a close
	// frame, a protocol violation or the end of its stream, messages are still
	// accepted and the close frame is not queued until [Conn.Depart] is called,
	// by Last or later, from any goroutine. Close and Abort also call it.
	// CloseTimeout starts then. Last must not block. If it is nil, Depart is
	// called at once.
	Last func(*Conn)

	// A text message equal to AutoRequest is answered with the text AutoReply,
	// and Read does not return it. Both must be set, otherwise this is off.
	AutoRequest, AutoReply string

	// Compression enables permessage-deflate with peers that offer it. Off by
	// default.
	Compression bool

	// Poller parks the connection while it is silent. If nil, it is never
	// parked. Wake starts a goroutine that calls Read on a parked connection.
	// Wake is called with locks held: it must not block or call into this
	// package itself.
	Poller *Poller
	Wake   func(*Conn)

	// Marked writes messages with the headers of dog.v1.
	Marked bool

	// Traffic counts what the connection sends and receives, with others. It is
	// the same for all members of a Set. If nil, only the connection itself
	// counts.
	Traffic *tally.Traffic

	// Heart watches the connection between StartHeartbeat and StopHeartbeat. If
	// nil, there are no heartbeats.
	Heart *Heart
}

// WithDefaults returns the options with defaults filled in. It copies them only
// if something is missing. A caller with many connections calls it once, so
// that they share the options.
func (o *Options) WithDefaults() *Options {
	if o != nil && o.MaxMessage > 0 && o.QueueBytes > 0 && o.Moment > 0 &&
		o.WriteTimeout > 0 && o.CloseTimeout > 0 {
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
	opts.Moment = cmp.Or(max(opts.Moment, 0), time.Second)
	opts.WriteTimeout = cmp.Or(max(opts.WriteTimeout, 0), 10*time.Second)
	opts.CloseTimeout = cmp.Or(max(opts.CloseTimeout, 0), 5*time.Second)
	return opts
}

// HandshakeError is the reason why a request was not upgraded.
type HandshakeError struct {
	// Status is the HTTP status of the response, 0 if the connection failed
	// before a response could be written.
	Status int
	// Err is the reason, for the log. The response does not contain it.
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

// Accept upgrades the request to a WebSocket connection. Headers set on w
// become part of the response. After Accept returns, neither w nor r may be
// used, and the HTTP handler may return. Accept does not wait for the network.
// The client receives the response, and has a connection, only after
// [Conn.Start], so that the caller can put the connection in place before that.
// Messages sent and a close begun earlier are queued until then.
//
// If the request is refused, the response has been written and the error is a
// [*HandshakeError]: 405 if the method is not GET, 426 if no upgrade is
// requested, 400 for a bad key or version, 403 for the origin, 501 if w cannot
// be hijacked.
func Accept(w http.ResponseWriter, r *http.Request, o *Options) (*Conn, error) {
	return AcceptIf(w, r, o, func() error { return nil })
}

// AcceptIf is like Accept, but calls admit for a request that asks for a
// WebSocket and may have one, before it takes the connection over. If admit
// returns an error, AcceptIf returns that error, and has not written a
// response.
func AcceptIf(w http.ResponseWriter, r *http.Request, o *Options, admit func() error) (*Conn, error) {
	if err := checkMethod(w, r); err != nil {
		return nil, err
	}
	opts := o.WithDefaults()
	c := &Conn{opts: opts, stripe: opts.Traffic.Stripe()}
	c.in.limit, c.in.active = opts.MaxMessage, true
	c.replied = 1 // no even phase
	c.unstarted, c.writing = true, true
	c.parts = 1
	c.ended.Add(1)
	up := &upgrade{verdict: verdict{header: w.Header().Clone()}, w: w, conn: c, admit: admit}
	up.negotiate(r.Header)
	ws, err := websocket.Accept(up, r, opts.origins())
	switch {
	case up.denied != nil:
		return nil, up.denied
	case err != nil:
		return nil, up.refuse(r, err)
	}
	_ = ws.CloseNow() // coder/websocket is no longer needed; this releases its finalizer
	opts.Poller.watch(c)
	return c, nil
}

// Check returns the error of [Accept] for a request that Accept would refuse
// because of its method, its header or its origin, and has then written the
// response. Otherwise it writes nothing and leaves the connection alone.
func Check(w http.ResponseWriter, r *http.Request, o *Options) error {
	if err := checkMethod(w, r); err != nil {
		return err
	}
	v := &verdict{header: make(http.Header)}
	_, err := websocket.Accept(v, r, o.WithDefaults().origins())
	if v.status == http.StatusNotImplemented { // there is nothing to hijack, which is looked at last
		return nil
	}
	return refuseUpgrade(w, r, v.status, err)
}

// origins returns the options of coder/websocket, which checks the origin.
func (o *Options) origins() *websocket.AcceptOptions {
	return &websocket.AcceptOptions{OriginPatterns: o.OriginPatterns}
}

// verdict is a ResponseWriter that records the status with which
// coder/websocket responds. It drops the responses, because their bodies reveal
// too much.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(p []byte) (int, error) { return len(p), nil }

// checkMethod refuses all methods but GET.
func checkMethod(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet {
		return nil
	}
	w.Header().Set("Allow", http.MethodGet)
	return refuse(w, http.StatusMethodNotAllowed, fmt.Errorf("method %q", r.Method))
}

// refuseUpgrade writes the response for a status of coder/websocket.
func refuseUpgrade(w http.ResponseWriter, r *http.Request, status int, err error) error {
	switch status {
	case http.StatusUpgradeRequired:
		if r.ProtoMajor == 1 { // only HTTP/1 has headers of the connection
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
		}
	case http.StatusBadRequest:
		w.Header().Set("Sec-WebSocket-Version", "13")
	}
	return refuse(w, status, err)
}

// refuse writes a plain response with the status and returns the error of
// Accept.
func refuse(w http.ResponseWriter, status int, err error) error {
	http.Error(w, http.StatusText(status), status)
	return &HandshakeError{Status: status, Err: err}
}

// upgrade is a verdict that also hands out a connection whose writes are
// queued. Its header is kept apart from that of w, so that headers of a failed
// upgrade do not leak into a refusal.
type upgrade struct {
	verdict
	w      http.ResponseWriter
	conn   *Conn
	admit  func() error // see AcceptIf
	denied error        // what admit has returned
}

// negotiate sets the response headers for the client's offers.
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
	if c.in.deflate = answer != ""; c.in.deflate {
		c.form |= deflated
	}
	set(extensionHeader, answer)
	if c.opts.Marked {
		c.form |= marked
	}
}

// refuse writes the response that coder/websocket intended for err.
func (u *upgrade) refuse(r *http.Request, err error) error {
	if u.conn.nc != nil {
		u.conn.cut()
		return &HandshakeError{Err: err}
	}
	if errors.Is(err, http.ErrNotSupported) {
		u.status = http.StatusNotImplemented
	}
	return refuseUpgrade(u.w, r, u.status, err)
}

// Hijack takes over the connection and keeps the 101 response for Start. The
// request has been verified.
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if u.denied = u.admit(); u.denied != nil {
		return nil, nil, u.denied
	}
	nc, brw, err := http.NewResponseController(u.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := u.conn
	c.nc = nc
	c.direct = directly(nc)
	if brw != nil && brw.Reader.Buffered() > 0 {
		early, _ := brw.Reader.Peek(brw.Reader.Buffered())
		c.in.rest = bytes.Clone(early) // copied to release net/http's buffer
		c.bytesIn.Store(uint64(len(early)))
		c.opts.Traffic.BytesIn(c.stripe, uint64(len(early)))
	}

	var answer bytes.Buffer
	answer.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = u.header.WriteSubset(
		&answer, map[string]bool{"Content-Length": true, "Content-Type": true, "Transfer-Encoding": true},
	)
	answer.WriteString("\r\n")
	c.begun, c.answerLeft = answer.Bytes(), answer.Len()
	nc.SetDeadline(time.Time{}) // clears the deadlines of the HTTP server
	return noConn{}, bufio.NewReadWriter(bufio.NewReader(noConn{}), bufio.NewWriter(noConn{})), nil
}

// noConn is the connection passed to coder/websocket, which does not need it
// for the handshake.
type noConn struct{ net.Conn }

func (noConn) Read([]byte) (int, error)    { return 0, io.EOF }
func (noConn) Write(p []byte) (int, error) { return len(p), nil }
func (noConn) Close() error                { return nil }
