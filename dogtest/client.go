package dogtest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/godurable/dog"
)

// Client is a WebSocket client of a test. Its methods fail the test when
// something goes wrong. Methods that can do so must be called from the test's
// goroutine. The connection is cut at the end of the test. "Soon" means within
// 10 seconds, which pass in a bubble only when nothing else can happen.
type Client struct {
	t       testing.TB
	ws      *websocket.Conn
	network net.Conn
	demand  bool

	arrived chan struct{} // has a token when something may have changed
	mu      sync.Mutex
	queue   []dog.Message // messages read and not yet taken. guarded by mu
	err     error         // how the connection ended. guarded by mu
}

// DialOptions configure a client.
type DialOptions struct {
	Header       http.Header // of the handshake
	Subprotocols []string    // offered by the client

	// OnDemand makes the client read from the connection only in Receive and
	// Closed, so that the server sees a slow client. Otherwise the client reads
	// all the time, like a browser.
	OnDemand bool

	// Compress makes the client offer compression (see
	// [dog.SocketOptions].Compression).
	Compress bool
}

// Dial connects to a path.
func (s *Server) Dial(path string) *Client {
	s.t.Helper()
	return s.DialWith(path, DialOptions{})
}

// DialWith connects to a path with options.
func (s *Server) DialWith(path string, options DialOptions) *Client {
	s.t.Helper()
	c, answer, err := s.TryDial(path, options)
	if err != nil {
		status := "no answer"
		if answer != nil {
			status = answer.Status
		}
		s.t.Fatalf("dogtest: dial %s: %s: %v", path, status, err)
	}
	return c
}

// TryDial connects to a path. If the server refuses, TryDial returns the
// server's response, with its body closed, and an error. TryDial may be called
// from any goroutine.
func (s *Server) TryDial(path string, options DialOptions) (*Client, *http.Response, error) {
	ctx, cancel := deadline()
	defer cancel()
	c := &Client{t: s.t, demand: options.OnDemand, arrived: make(chan struct{}, 1)}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		network, err := s.listener.Dial(ctx)
		c.network = network
		return network, err
	}}
	compression := websocket.CompressionDisabled
	if options.Compress {
		compression = websocket.CompressionContextTakeover
	}
	ws, answer, err := websocket.Dial(ctx, URL+path, &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: transport},
		HTTPHeader:      options.Header,
		Subprotocols:    options.Subprotocols,
		CompressionMode: compression,
	})
	if err != nil {
		transport.CloseIdleConnections()
		return nil, answer, err
	}
	c.ws = ws
	ws.SetReadLimit(-1)
	var reading sync.WaitGroup
	if !c.demand {
		reading.Go(func() {
			for c.read(context.Background()) {
			}
		})
	}
	s.t.Cleanup(func() {
		c.Vanish()
		reading.Wait()
	})
	return c, answer, nil
}

// read reads the next message and reports whether the connection is still open.
func (c *Client) read(ctx context.Context) bool {
	typ, data, err := c.ws.Read(ctx)
	c.mu.Lock()
	if err != nil {
		if c.err == nil {
			c.err = err
		}
	} else {
		m := dog.Message{Type: dog.Text, Data: data}
		if typ == websocket.MessageBinary {
			m.Type = dog.Binary
		}
		c.queue = append(c.queue, m)
	}
	c.mu.Unlock()
	select {
	case c.arrived <- struct{}{}:
	default:
	}
	return err == nil
}

// Send sends v, encoded as by [dog.Encode].
func (c *Client) Send(v any) {
	c.t.Helper()
	m, err := dog.Encode(v)
	if err == nil {
		err = c.write(m)
	}
	if err != nil {
		c.t.Fatalf("dogtest: send: %v", err)
	}
}

// write sends a message.
func (c *Client) write(m dog.Message) error {
	typ := websocket.MessageText
	if m.Type == dog.Binary {
		typ = websocket.MessageBinary
	}
	ctx, cancel := deadline()
	defer cancel()
	return c.ws.Write(ctx, typ, m.Data)
}

// SendRaw writes bytes to the connection as they are, bypassing the WebSocket.
func (c *Client) SendRaw(frame []byte) {
	c.t.Helper()
	if _, err := c.network.Write(frame); err != nil {
		c.t.Fatalf("dogtest: send: %v", err)
	}
}

// Receive returns the next message. It fails the test if none arrives soon.
func (c *Client) Receive() dog.Message {
	c.t.Helper()
	m, err := c.next()
	if err != nil {
		c.t.Fatalf("dogtest: receive: %v", err)
	}
	return m
}

// ReceiveJSON decodes the next message, which must arrive soon and be JSON,
// into the value that v points at.
func (c *Client) ReceiveJSON(v any) {
	c.t.Helper()
	m := c.Receive()
	if err := m.Decode(v); err != nil {
		c.t.Fatalf("dogtest: receive %q: %v", m, err)
	}
}

// Received returns the messages that have arrived and have not been taken yet,
// without waiting. In a bubble, after synctest.Wait, these are all messages
// sent so far. A client that reads on demand has none.
func (c *Client) Received() []dog.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.queue
	c.queue = nil
	return all
}

// Closed waits for the server to close the connection, which must happen soon,
// and returns the server's code and reason. The code is 1006 if the server cut
// the connection. Messages that arrive before are dropped.
func (c *Client) Closed() (code int, reason string) {
	c.t.Helper()
	for {
		_, err := c.next()
		if err == nil {
			continue
		}
		if errors.Is(err, context.DeadlineExceeded) {
			c.t.Fatal("dogtest: the connection was not closed")
		}
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			return int(closed.Code), closed.Reason
		}
		return 1006, ""
	}
}

// Close closes the connection with a code and a reason and waits for the
// server's side of the handshake.
func (c *Client) Close(code int, reason string) {
	c.t.Helper()
	if err := c.ws.Close(websocket.StatusCode(code), reason); err != nil {
		c.t.Fatalf("dogtest: close: %v", err)
	}
}

// Vanish cuts the connection without a close frame. It may be called from any
// goroutine, and more than once.
func (c *Client) Vanish() {
	_ = c.network.Close()
	_ = c.ws.CloseNow()
}

// Subprotocol returns the negotiated subprotocol.
func (c *Client) Subprotocol() string { return c.ws.Subprotocol() }

// next returns the next message or the error with which the connection ended.
// It returns context.DeadlineExceeded if nothing arrives.
func (c *Client) next() (dog.Message, error) {
	ctx, cancel := deadline()
	defer cancel()
	for {
		c.mu.Lock()
		if len(c.queue) > 0 {
			m := c.queue[0]
			c.queue = c.queue[1:]
			c.mu.Unlock()
			return m, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return dog.Message{}, err
		}
		if c.demand {
			c.read(ctx)
			continue
		}
		select {
		case <-c.arrived:
		case <-ctx.Done():
			return dog.Message{}, ctx.Err()
		}
	}
}
