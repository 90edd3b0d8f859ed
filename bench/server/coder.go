package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/godurable/dog/bench/internal/wire"
)

// coderQueue is how many messages may wait for a client. The chat example has
// 16; here 32 are under way in a busy fan-out.
const coderQueue = 64

// writeTimeout bounds a write, as the libraries' own chat examples do.
const writeTimeout = 5 * time.Second

type coderClient struct {
	conn *websocket.Conn
	out  chan []byte
}

// serveCoder is the hub of coder/websocket's chat example: a buffered channel
// for each client, a context with a time-out for each write, and a client that
// cannot keep up is closed.
func serveCoder(l net.Listener) (func() int, error) {
	return coderHub(l, (*http.Request).Context, func(ctx context.Context, c *websocket.Conn, m []byte) error {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		return c.Write(ctx, websocket.MessageBinary, m)
	})
}

// serveCoderBackground is the same with contexts that cannot end, which are the
// fastest, and so without time-outs.
func serveCoderBackground(l net.Listener) (func() int, error) {
	background := func(*http.Request) context.Context { return context.Background() }
	return coderHub(l, background, func(ctx context.Context, c *websocket.Conn, m []byte) error {
		return c.Write(ctx, websocket.MessageBinary, m)
	})
}

func coderHub(l net.Listener, life func(*http.Request) context.Context,
	write func(context.Context, *websocket.Conn, []byte) error) (func() int, error) {
	var clients crowd[*coderClient]
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		c := &coderClient{conn: conn, out: make(chan []byte, coderQueue)}
		clients.add(c)
		defer clients.remove(c)
		ctx := life(r)
		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case m := <-c.out:
					if write(ctx, conn, m) != nil {
						_ = conn.CloseNow()
						return
					}
				case <-done:
					return
				}
			}
		}()
		for {
			_, m, err := conn.Read(ctx)
			if err != nil {
				return
			}
			if m[0] != wire.FanOut {
				if conn.Write(ctx, websocket.MessageBinary, m) != nil {
					return
				}
				continue
			}
			for _, to := range clients.all() {
				select {
				case to.out <- m:
				default:
					// it waits for the client
					go func() { _ = to.conn.Close(websocket.StatusPolicyViolation, "too slow") }()
				}
			}
		}
	})
	return clients.size, nil
}
