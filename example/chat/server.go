package main

import (
	_ "embed"
	"net/http"

	"github.com/godurable/dog"
)

//go:embed page.html
var page []byte

// sockets are the options of all sockets.
var sockets = dog.SocketOptions{
	MaxMessage:  16 << 10, // enough for 2,000 characters, in any escaped form
	QueueBytes:  4 << 20,  // enough for a page of the longest lines
	Compression: true,
	AutoRequest: "ping", AutoReply: "pong", // for a page that checks its connection
}

// register registers the three types and returns the only chat.
func register(rt *dog.Runtime, limit int) (chat dog.GroupStub[Lobby, Room], err error) {
	logs, err := dog.RegisterObject(rt, "log", &dog.ObjectOptions[Log]{Schema: schema})
	if err != nil {
		return chat, err
	}
	rooms, err := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[Room]{
		New: func() *Room { return &Room{log: logs.Named("chat")} },
	})
	if err != nil {
		return chat, err
	}
	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[Lobby]{
		Limit: limit, New: func() *Lobby { return &Lobby{limit: limit} },
	})
	return lobbies.Named("chat"), err
}

// handler serves the page and its WebSockets.
func handler(chat dog.GroupStub[Lobby, Room]) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /ws", chat) // Lobby.Identify names the person; the group picks a room
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'") // the page has the rest of the policy
		_, _ = w.Write(page)                                                // an error means that the client has gone
	})
	return mux
}
