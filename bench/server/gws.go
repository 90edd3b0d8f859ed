package main

import (
	"net"
	"net/http"

	"github.com/lxzan/gws"

	"github.com/godurable/dog/bench/internal/wire"
)

type gwsHandler struct {
	gws.BuiltinEventHandler
	conns crowd[*gws.Conn]
}

func (h *gwsHandler) OnOpen(c *gws.Conn) { h.conns.add(c) }

func (h *gwsHandler) OnClose(c *gws.Conn, _ error) { h.conns.remove(c) }

func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	if m.Bytes()[0] != wire.FanOut {
		_ = c.WriteMessage(m.Opcode, m.Bytes())
		return
	}
	b := gws.NewBroadcaster(m.Opcode, m.Bytes())
	for _, to := range h.conns.all() {
		_ = b.Broadcast(to)
	}
	_ = b.Close()
}

// serveGWS is gws as its README has it: parallel handling of messages, and a Broadcaster, which frames once.
func serveGWS(l net.Listener) (func() int, error) {
	h := &gwsHandler{}
	upgrader := gws.NewUpgrader(h, &gws.ServerOption{ParallelEnabled: true, Recovery: gws.Recovery})
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		go c.ReadLoop()
	})
	return h.conns.size, nil
}
