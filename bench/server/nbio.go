package main

import (
	"net"
	"net/http"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"

	"github.com/godurable/dog/bench/internal/wire"
)

// nbioRoom is the room of a connection, which is its session.
func nbioRoom(c *websocket.Conn) *crowd[*websocket.Conn] {
	return c.Session().(*crowd[*websocket.Conn])
}

func nbioUpgrader() *websocket.Upgrader {
	logging.SetLevel(logging.LevelError)
	u := websocket.NewUpgrader()
	u.KeepaliveTime = 0 // it would close sockets that only listen
	u.OnClose(func(c *websocket.Conn, _ error) {
		if room := nbioRoom(c); room != nil {
			room.remove(c)
		}
	})
	u.OnMessage(func(c *websocket.Conn, kind websocket.MessageType, data []byte) {
		if data[0] != wire.FanOut {
			_ = c.WriteMessage(kind, data)
			return
		}
		for _, to := range nbioRoom(c).all() {
			_ = to.WriteMessage(kind, data)
		}
	})
	return u
}

// nbioUpgrade upgrades a request. The load generator sends nothing before all
// are in their rooms.
func nbioUpgrade(u *websocket.Upgrader, w http.ResponseWriter, r *http.Request, all *rooms[*websocket.Conn]) {
	c, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	room := all.of(r)
	c.SetSession(room)
	room.add(c)
}

// serveNBIO is nbio's own engine: all connections non-blocking, on epoll.
func serveNBIO(l net.Listener) (func() int, error) {
	var all rooms[*websocket.Conn]
	u := nbioUpgrader()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) { nbioUpgrade(u, w, r, &all) })
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network:                 "tcp",
		Addrs:                   []string{l.Addr().String()},
		Listen:                  func(string, string) (net.Listener, error) { return l, nil },
		Handler:                 mux,
		IOMod:                   nbhttp.IOModNonBlocking,
		ReleaseWebsocketPayload: true,
	})
	u.Engine = engine
	return all.size, engine.Start()
}

// serveNBIOStd is nbio over net/http: a goroutine to read for each connection,
// one to write as long as there is something.
func serveNBIOStd(l net.Listener) (func() int, error) {
	var all rooms[*websocket.Conn]
	u := nbioUpgrader()
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) { nbioUpgrade(u, w, r, &all) })
	return all.size, nil
}
