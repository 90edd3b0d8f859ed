package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// protocol is the WebSocket subprotocol that the client speaks.
const protocol = "dog.v1"

// An ending is the end of a connection or of an attempt to connect.
type ending struct {
	err    error
	final  bool          // the client must not reconnect
	open   time.Duration // since hello
	window *window       // when to reconnect, if the server has sent that

	announced bool // by the frame b
}

// A link is one connection.
type link struct {
	c      *Client
	ws     *websocket.Conn
	hello  hello
	window *window // the last one from the server. owned by read

	ctx    context.Context // ends the connection
	cancel context.CancelCauseFunc

	began    time.Time
	heard    atomic.Int64  // when the server last sent something, since began
	paused   atomic.Bool   // the inbox is full, so nobody reads
	asked    atomic.Bool   // a ping has been sent and not answered
	answered chan struct{} // has a token when something has arrived since
	ask      chan struct{} // has a token when p is to be written
}

// connect makes a connection and returns when it has ended.
func (c *Client) connect() ending {
	l := &link{c: c, began: time.Now(), answered: make(chan struct{}, 1), ask: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	defer l.cancel(nil)
	limit := time.AfterFunc(attemptLimit, func() { l.cancel(errAttempt) })
	defer limit.Stop()
	stop := context.AfterFunc(c.closing, func() { l.cancel(ErrClosed) })
	defer stop()

	if window, err := l.dial(); err != nil {
		return l.failed(err, window)
	}
	defer func() { _ = l.ws.CloseNow() }() // the connection is over: an error does not matter
	if err := l.greet(); err != nil {
		return l.failed(err, nil)
	}
	if !limit.Stop() || !stop() {
		return l.failed(errAttempt, nil)
	}
	opened := time.Now()
	c.outbox.connected(l.hello.In, l.hello.Max)
	c.state(Open, nil)
	var others sync.WaitGroup
	others.Go(l.write)
	others.Go(l.watch)
	err := l.read()
	open := time.Since(opened)
	l.cancel(err)
	others.Wait()
	end := l.failed(err, l.window)
	end.open, end.announced = open, l.window != nil
	return end
}

// failed returns the ending for an error.
func (l *link) failed(err error, w *window) ending {
	var refused *RefusedError
	var closed websocket.CloseError
	switch {
	case errors.As(err, &refused):
		return ending{err: refused, final: true}
	case errors.As(err, &closed):
		if closed.Code >= 4000 && closed.Code <= 4099 {
			return ending{err: &RefusedError{Code: int(closed.Code), Reason: closed.Reason}, final: true}
		}
	case context.Cause(l.ctx) != nil:
		err = context.Cause(l.ctx)
	}
	return ending{err: err, window: w}
}

// dial does the handshake. If the server refuses it with a time to come back,
// dial returns the window.
func (l *link) dial() (*window, error) {
	o := l.c.options
	header := o.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if o.Token != nil {
		token, err := o.Token(l.ctx)
		if err != nil {
			return nil, fmt.Errorf("client: token: %w", err)
		}
		header.Set("Authorization", "Bearer "+token)
	}
	u := *l.c.url
	query := u.Query()
	query.Set("session", o.Session)
	query.Del("after")
	if l.c.resume != nil {
		query.Set("after", *l.c.resume)
	}
	u.RawQuery = query.Encode()
	ws, response, err := websocket.Dial(l.ctx, u.String(), &websocket.DialOptions{
		HTTPClient:   o.HTTPClient,
		HTTPHeader:   header,
		Subprotocols: []string{protocol},
		OnPingReceived: func(context.Context, []byte) bool {
			l.hear()
			return true
		},
	})
	if err != nil {
		if response == nil {
			return nil, err
		}
		switch response.StatusCode {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
			return nil, &RefusedError{Status: response.StatusCode}
		}
		return retryAfter(response.Header, time.Now()), err
	}
	ws.SetReadLimit(o.ReadLimit)
	l.ws = ws
	if ws.Subprotocol() != protocol {
		return nil, errors.Join(malformed("it did not accept the subprotocol"), ws.CloseNow())
	}
	return nil, nil
}

// greet reads hello.
func (l *link) greet() error {
	_, data, err := l.ws.Read(l.ctx)
	if err != nil {
		return err
	}
	l.hear()
	l.hello, err = parseHello(data)
	return err
}

// resumed delivers the position and the gap in hello.
func (l *link) resumed() error {
	a := arrival{position: l.hello.Position}
	if l.hello.Gap != "" {
		gap := Gap{Reason: l.hello.Gap, Position: l.hello.Position}
		if l.c.resume != nil {
			gap.From = *l.c.resume
		}
		a.event = gap
	}
	return l.deliver(a)
}

// deliver passes an arrival to the program, and waits while the inbox is full.
func (l *link) deliver(a arrival) error {
	for !l.c.inbox.offer(a) {
		l.paused.Store(true)
		select {
		case <-l.c.inbox.room:
		case <-l.c.closing.Done():
			return nil // the program no longer receives, but the close frame must be read
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
	if l.paused.Load() {
		l.hear()
		l.paused.Store(false)
	}
	l.c.resume = nil
	if a.position != "" {
		l.c.resume = &a.position
	}
	return nil
}

// hear records that the server has sent something.
func (l *link) hear() {
	l.heard.Store(int64(time.Since(l.began)))
	if l.asked.Load() {
		signal(l.answered)
	}
}

// silence returns how long the server has sent nothing that could be read.
func (l *link) silence() time.Duration {
	if l.paused.Load() {
		return 0
	}
	return time.Since(l.began) - time.Duration(l.heard.Load())
}

// hearing is a reader that records arriving bytes, so that a long message over
// a slow connection does not count as silence.
type hearing struct {
	l *link
	r io.Reader
}

func (h hearing) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.l.hear()
	return n, err
}

// read handles the server's frames until the connection has ended.
func (l *link) read() error {
	if err := l.resumed(); err != nil {
		return err
	}
	for {
		kind, r, err := l.ws.Reader(l.ctx)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(hearing{l, r})
		if err != nil {
			return err
		}
		if err := l.handle(MessageType(kind), data); err != nil {
			return err
		}
	}
}

// handle handles a frame. It ignores unknown kinds.
func (l *link) handle(t MessageType, data []byte) error {
	kind, header, payload := cut(data)
	if kind == 0 {
		return malformed("no kind in %.20q", data)
	}
	switch kind {
	case 'm':
		return l.message(Message{Data: payload, Type: t}, header)
	case 'g':
		gap, err := parseGap(header)
		if err != nil {
			return err
		}
		return l.deliver(arrival{event: gap, position: gap.Position})
	case 'a':
		n, err := parseNumber(header)
		if err != nil {
			return err
		}
		l.c.outbox.acknowledged(n)
	case 'c':
		if l.c.commands.handle == nil {
			return nil
		}
		command, before, err := parseCommand(header, time.Now())
		if err != nil {
			return err
		}
		command.Type, command.Data = t, payload
		l.c.commands.arrived(command, before)
	case 'b':
		var b struct {
			In [2]float64 `json:"in"`
		}
		if err := json.Unmarshal([]byte(header), &b); err != nil {
			return malformed("b: %w", err)
		}
		l.window = windowOf(b.In[0], b.In[1], time.Millisecond)
	}
	return nil
}

// message delivers a message, kept at a place or not kept.
func (l *link) message(m Message, place string) error {
	if l.c.resume != nil {
		m.Position = *l.c.resume
	}
	if place != "" {
		before := m.Position
		if !validPosition(before) {
			return malformed("a place without a history")
		}
		m.Kept, m.Position = true, at(before, place)
		if len(m.Position) > maxPosition || !validPlace(place) {
			return malformed("the place %.80q", place)
		}
		if m.Position <= before {
			return nil // the client has it
		}
	}
	return l.deliver(arrival{event: m, position: m.Position})
}

// write writes responses to commands, messages of the outbox, and pings.
func (l *link) write() {
	l.c.commands.connected()
	for {
		t, data := l.c.commands.next()
		if data == nil {
			t, data = l.c.outbox.next()
		}
		if data == nil {
			select {
			case <-l.c.commands.added:
				continue
			case <-l.c.outbox.added:
				continue
			case <-l.ask:
				t, data = Text, []byte("p")
			case <-l.ctx.Done():
				return
			}
		}
		if err := l.ws.Write(l.ctx, websocket.MessageType(t), data); err != nil {
			// There may be a close frame with the reason to read.
			select {
			case <-l.ctx.Done():
			case <-time.After(closeLimit):
				l.cancel(err)
			}
			return
		}
	}
}

// watch pings the server after silence, ends the connection if there is no
// answer, and leaves when the client is closed.
func (l *link) watch() {
	patience := silenceLimit
	if l.hello.Ping >= 1 {
		patience = windowOf(l.hello.Ping, l.hello.Ping, time.Millisecond).from
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.c.closing.Done():
			l.leave()
			return
		case <-l.answered:
		case <-timer.C:
			if l.asked.Load() && !l.paused.Load() && l.silence() >= answerLimit {
				l.cancel(errSilent)
				return
			}
		}
		silence := l.silence()
		if silence < patience {
			l.asked.Store(false)
			timer.Reset(patience - silence)
			continue
		}
		l.asked.Store(true)
		signal(l.ask)
		timer.Reset(answerLimit)
	}
}

// leave closes the connection with a close frame: the client does not come
// back.
func (l *link) leave() {
	limit := time.AfterFunc(closeLimit, func() { l.cancel(ErrClosed) })
	defer limit.Stop()
	_ = l.ws.Close(websocket.StatusNormalClosure, "") // the client is closed either way
	l.cancel(ErrClosed)
}
