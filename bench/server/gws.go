package main

import (
	"net"
	"net/http"

	"github.com/lxzan/gws"

	"github.com/godurable/dog/bench/internal/wire"
)

type gwsHandler struct {
	gws.BuiltinEventHandler
	all rooms[*gws.Conn]
}

// gwsRoom is the key of a session's room.
const gwsRoom = "room"

func gwsRoomOf(c *gws.Conn) *crowd[*gws.Conn] {
	room, _ := c.Session().Load(gwsRoom)
	return room.(*crowd[*gws.Conn])
}

func (h *gwsHandler) OnOpen(c *gws.Conn) { gwsRoomOf(c).add(c) }

func (h *gwsHandler) OnClose(c *gws.Conn, _ error) { gwsRoomOf(c).remove(c) }

func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	if m.Bytes()[0] != wire.FanOut {
		_ = c.WriteMessage(m.Opcode, m.Bytes())
		return
	}
	b := gws.NewBroadcaster(m.Opcode, m.Bytes())
	for _, to := range gwsRoomOf(c).all() {
		_ = b.Broadcast(to)
	}
	_ = b.Close()
}

// serveGWS is gws as its README has it: parallel handling of messages, and a
// Broadcaster, which frames once.
func serveGWS(l net.Listener) (func() int, error) {
	h := &gwsHandler{}
	upgrader := gws.NewUpgrader(h, &gws.ServerOption{ParallelEnabled: true, Recovery: gws.Recovery})
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		c.Session().Store(gwsRoom, h.all.of(r))
		go c.ReadLoop()
	})
	return h.all.size, nil
}
