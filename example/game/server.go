package main

import (
	_ "embed"
	"io"
	"net/http"

	"github.com/godurable/dog"
)

//go:embed page.html
var page string

// newServer returns the HTTP handler of the game.
func newServer(rt *dog.Runtime) (http.Handler, error) {
	arenas, err := dog.RegisterReplica(rt, "arena", &dog.ReplicaOptions[Arena]{
		// A slow client needs only the latest of the states that wait for it.
		Sockets: dog.SocketOptions{Slow: dog.CoalesceSlow},
	})
	if err != nil {
		return nil, err
	}
	lobbies, err := dog.RegisterGroup(rt, "lobby", arenas, &dog.GroupOptions[dog.Group]{
		Limit:      seats,
		Order:      dog.FullestFirst, // so that a match begins soon
		LingerFor:  grace,
		HoldPlaces: true, // for players who come back
	})
	if err != nil {
		return nil, err
	}
	lobby := lobbies.Named("main")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("GET /play", func(w http.ResponseWriter, r *http.Request) {
		arena, err := lobby.Identify(r.Context(), r.FormValue("player"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		arena.ServeHTTP(w, r)
	})
	return mux, nil
}
