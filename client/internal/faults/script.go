package faults

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// verdict waits for the end of the scenario.
func (r *run) verdict(ctx context.Context) Verdict {
	select {
	case <-r.done:
	case <-ctx.Done():
		return Verdict{Wrong: []string{"nobody waited for the verdict"}}
	case <-time.After(r.patience()):
		r.mu.Lock()
		next := r.next
		r.mu.Unlock()
		return Verdict{Wrong: []string{fmt.Sprintf("not over: %d connections so far", next)}}
	}
	if quiet := r.after(r.scenario.Quiet); quiet > 0 {
		time.Sleep(quiet)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return Verdict{OK: len(r.wrong) == 0, Wrong: r.wrong}
}

// errLeft is returned by what waits for a client that has left.
var errLeft = errors.New("the client has left")

// A peer is the client's side of a connection.
type peer struct {
	run     *run
	ws      *websocket.Conn
	network *cutConn
	frames  chan []byte    // what the client sent, without p; closed when it has left
	pings   chan time.Time // when p arrived
	reading sync.WaitGroup

	mu     sync.Mutex
	silent bool      // guarded by mu
	spoken bool      // the client got something besides the handshake. guarded by mu
	heard  time.Time // when the client last got something. guarded by mu
}

// script does the steps of a connection. After the last one it waits for the
// client to leave.
func (r *run) script(w http.ResponseWriter, request *http.Request, i int) error {
	hijack := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(hijack, request, &websocket.AcceptOptions{
		Subprotocols: []string{"dog.v1"}, InsecureSkipVerify: true,
	})
	if err != nil {
		return err
	}
	if ws.Subprotocol() != "dog.v1" {
		return errors.Join(errors.New("the client did not offer dog.v1"), ws.CloseNow())
	}
	ws.SetReadLimit(-1)
	p := &peer{
		run: r, ws: ws, network: hijack.network,
		frames: make(chan []byte, 4096), pings: make(chan time.Time, 64), heard: time.Now(),
	}
	p.reading.Go(p.read)
	defer p.reading.Wait()
	defer p.cut()
	for n, step := range r.scenario.Connections[i].Steps {
		if err := p.do(step); err != nil {
			return fmt.Errorf("step %d: %w", n+1, err)
		}
		if step.ends() {
			return nil
		}
	}
	r.last(i)
	for range p.frames { // nobody checks these any more
	}
	return nil
}

// read takes what the client sends until it leaves.
func (p *peer) read() {
	defer close(p.frames)
	for {
		_, data, err := p.ws.Read(context.Background())
		if err != nil {
			return
		}
		if string(data) != "p" {
			p.frames <- data
			continue
		}
		p.mu.Lock()
		silent := p.silent
		p.mu.Unlock()
		at := time.Now()
		if !silent {
			_ = p.send(websocket.MessageText, "q") // fails if the client has left
		}
		p.pings <- at // behind the answer, from which the next silence counts
	}
}

func (p *peer) send(t websocket.MessageType, text string) error {
	p.mu.Lock()
	p.heard = time.Now()
	p.spoken = true
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), p.run.patience())
	defer cancel()
	return p.ws.Write(ctx, t, []byte(text))
}

// cut ends the connection without a close frame.
func (p *peer) cut() {
	_ = p.network.Close()
	_ = p.ws.CloseNow()
}

func (p *peer) do(s Step) error {
	switch {
	case s.Hello != nil, s.Send != "", s.Binary != nil, s.Ack != "":
		return p.write(s)
	case s.Receive != "":
		return p.receive(s.Receive)
	case s.Nothing > 0:
		return p.nothing(s.Nothing)
	case s.Delay > 0:
		time.Sleep(p.run.after(s.Delay))
	case s.Silent:
		p.mu.Lock()
		p.silent = true
		p.mu.Unlock()
	case s.Ping > 0:
		return p.ping(s.Ping)
	case s.Drop:
		p.run.ending()
		p.cut()
	case s.Close != 0:
		p.run.ending()
		// The client may cut the connection instead.
		_ = p.ws.Close(websocket.StatusCode(s.Close), cmp.Or(s.Reason, "faults"))
	case s.Lost > 0:
		return p.lost(s.Lost)
	default:
		return fmt.Errorf("an empty step")
	}
	return nil
}

// write sends the message of a step, or its beginning.
func (p *peer) write(s Step) error {
	p.run.mu.Lock()
	text := s.text(p.run.numbers)
	p.run.mu.Unlock()
	t := websocket.MessageText
	if s.Binary != nil {
		t = websocket.MessageBinary
	}
	if s.Cut == nil {
		return p.send(t, text)
	}
	p.run.ending()
	p.network.limit(s.Cut.Bytes)
	if p.send(t, text) == nil {
		return fmt.Errorf("the frame is shorter than %d bytes", s.Cut.Bytes)
	}
	return nil
}

// receive waits for a numbered message.
func (p *peer) receive(payload string) error {
	var data []byte
	select {
	case frame, open := <-p.frames:
		if !open {
			return fmt.Errorf("waiting for %q: %w", payload, errLeft)
		}
		data = frame
	case <-time.After(p.run.patience()):
		return fmt.Errorf("waiting for %q: it did not come", payload)
	}
	header, got, _ := strings.Cut(string(data), "\n")
	number, err := strconv.ParseUint(strings.TrimPrefix(header, "m"), 10, 64)
	if err != nil || header[0] != 'm' || number == 0 {
		return fmt.Errorf("waiting for %q: got %q", payload, data)
	}
	if got != payload {
		return fmt.Errorf("waiting for %q: got %q with the number %d", payload, got, number)
	}
	r := p.run
	r.mu.Lock()
	defer r.mu.Unlock()
	known, again := r.numbers[payload]
	switch {
	case again && known != number:
		return fmt.Errorf("%q has the number %d now, and had %d", payload, number, known)
	case !again && number <= r.highest:
		return fmt.Errorf("%q has the number %d, after %d", payload, number, r.highest)
	}
	r.numbers[payload] = number
	r.highest = max(r.highest, number)
	return nil
}

// nothing waits, and fails if the client sends something.
func (p *peer) nothing(ms int) error {
	select {
	case frame, open := <-p.frames:
		if !open {
			return errLeft
		}
		return fmt.Errorf("the client sent %q", frame)
	case <-time.After(p.run.after(ms)):
		return nil
	}
}

// ping waits for p.
func (p *peer) ping(ms int) error {
	p.mu.Lock()
	before := p.heard
	p.mu.Unlock()
	select {
	case at := <-p.pings:
		return p.run.near("the silence before p", at.Sub(before), ms)
	case <-time.After(p.run.patience()):
		return fmt.Errorf("the client sent no p")
	}
}

// lost waits for the client to leave.
func (p *peer) lost(ms int) error {
	limit := time.After(p.run.patience())
	for {
		select {
		case frame, open := <-p.frames:
			if !open {
				return p.left(ms)
			}
			return fmt.Errorf("the client sent %q", frame)
		case <-limit:
			return fmt.Errorf("the client has not left")
		}
	}
}

// left checks when the client has left, which is now.
func (p *peer) left(ms int) error {
	p.mu.Lock()
	heard, spoken := p.heard, p.spoken
	p.mu.Unlock()
	if !spoken {
		return p.run.nearAttempt("leaving", time.Since(heard), ms)
	}
	return p.run.near("leaving", time.Since(heard), ms)
}

// A hijacker makes the connections of a server cutConns.
type hijacker struct {
	http.ResponseWriter
	network *cutConn
}

func (h *hijacker) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	network, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.network = &cutConn{Conn: network, left: -1}
	return h.network, bufio.NewReadWriter(rw.Reader, bufio.NewWriter(h.network)), nil
}

// A cutConn can be cut in the middle of a write.
type cutConn struct {
	net.Conn
	mu   sync.Mutex
	left int // bytes that may still be written; negative: any number. guarded by mu
}

func (c *cutConn) limit(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = n
}

func (c *cutConn) Write(data []byte) (int, error) {
	c.mu.Lock()
	left := c.left
	if left >= 0 {
		c.left = max(0, left-len(data))
	}
	c.mu.Unlock()
	if left < 0 || left >= len(data) && left > 0 {
		return c.Conn.Write(data)
	}
	n, err := c.Conn.Write(data[:left])
	return n, errors.Join(err, c.Conn.Close(), net.ErrClosed)
}
