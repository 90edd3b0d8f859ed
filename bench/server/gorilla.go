package main

import (
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/godurable/dog/bench/internal/wire"
)

// The values of the chat example.
const (
	gorillaPongWait   = 60 * time.Second
	gorillaPingPeriod = gorillaPongWait * 9 / 10
	gorillaQueue      = 256 // messages that may wait for a client
)

type gorillaClient struct {
	conn *websocket.Conn
	out  chan *gorillaMessage
}

// A gorillaMessage is for all, prepared, or for one client, as data: to prepare
// it would cost more than it saves.
type gorillaMessage struct {
	prepared *websocket.PreparedMessage
	data     []byte
}

// serveGorilla is gorilla's chat example with what its documentation offers for
// speed: a PreparedMessage for a fan-out, and a pool of write buffers.
func serveGorilla(l net.Listener) (func() int, error) {
	var all rooms[*gorillaClient]
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: &sync.Pool{}}
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		c := &gorillaClient{conn: conn, out: make(chan *gorillaMessage, gorillaQueue)}
		clients := all.of(r)
		clients.add(c)
		done := make(chan struct{})
		go c.write(done)
		go func() {
			defer close(done)
			defer clients.remove(c)
			c.read(clients)
		}()
	})
	return all.size, nil
}

func (c *gorillaClient) read(clients *crowd[*gorillaClient]) {
	await := func(string) error { return c.conn.SetReadDeadline(time.Now().Add(gorillaPongWait)) }
	c.conn.SetPongHandler(await)
	if await("") != nil {
		return
	}
	for {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		if data[0] != wire.FanOut {
			c.send(&gorillaMessage{data: data})
			continue
		}
		prepared, err := websocket.NewPreparedMessage(websocket.BinaryMessage, data)
		if err != nil {
			return
		}
		m := &gorillaMessage{prepared: prepared}
		for _, to := range clients.all() {
			to.send(m)
		}
	}
}

// send queues a message; a client that cannot keep up is closed.
func (c *gorillaClient) send(m *gorillaMessage) {
	select {
	case c.out <- m:
	default:
		_ = c.conn.Close()
	}
}

func (c *gorillaClient) write(done <-chan struct{}) {
	defer func() { _ = c.conn.Close() }()
	ping := time.NewTicker(gorillaPingPeriod)
	defer ping.Stop()
	for {
		var err error
		select {
		case m := <-c.out:
			switch err = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); {
			case err != nil:
			case m.prepared != nil:
				err = c.conn.WritePreparedMessage(m.prepared)
			default:
				err = c.conn.WriteMessage(websocket.BinaryMessage, m.data)
			}
		case <-ping.C:
			err = c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout))
		case <-done:
			return
		}
		if err != nil {
			return
		}
	}
}
