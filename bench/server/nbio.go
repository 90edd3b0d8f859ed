package main

import (
	"net"
	"net/http"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"

	"github.com/godurable/dog/bench/internal/wire"
)

func nbioUpgrader(conns *crowd[*websocket.Conn]) *websocket.Upgrader {
	logging.SetLevel(logging.LevelError)
	u := websocket.NewUpgrader()
	u.KeepaliveTime = 0 // it would close sockets that only listen
	u.OnOpen(conns.add)
	u.OnClose(func(c *websocket.Conn, _ error) { conns.remove(c) })
	u.OnMessage(func(c *websocket.Conn, kind websocket.MessageType, data []byte) {
		if data[0] != wire.FanOut {
			_ = c.WriteMessage(kind, data)
			return
		}
		for _, to := range conns.all() {
			_ = to.WriteMessage(kind, data)
		}
	})
	return u
}

// serveNBIO is nbio's own engine: all connections non-blocking, on epoll.
func serveNBIO(l net.Listener) (func() int, error) {
	var conns crowd[*websocket.Conn]
	u := nbioUpgrader(&conns)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) { _, _ = u.Upgrade(w, r, nil) })
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network:                 "tcp",
		Addrs:                   []string{l.Addr().String()},
		Listen:                  func(string, string) (net.Listener, error) { return l, nil },
		Handler:                 mux,
		IOMod:                   nbhttp.IOModNonBlocking,
		ReleaseWebsocketPayload: true,
	})
	u.Engine = engine
	return conns.size, engine.Start()
}

// serveNBIOStd is nbio over net/http: a goroutine to read for each connection, one to write as long as there is something.
func serveNBIOStd(l net.Listener) (func() int, error) {
	var conns crowd[*websocket.Conn]
	u := nbioUpgrader(&conns)
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) { _, _ = u.Upgrade(w, r, nil) })
	return conns.size, nil
}
