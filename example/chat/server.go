package main

import (
	_ "embed"
	"net/http"

	"github.com/godurable/dog"
)

//go:embed page.html
var page []byte

// register makes the chat's types known; a replica holds limit people.
func register(rt *dog.Runtime, limit int) (lobby dog.GroupStub[Lobby, Room], err error) {
	rooms, err := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[Room]{
		New: func() *Room { return &Room{limit: limit} },
	})
	if err != nil {
		return lobby, err
	}
	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[Lobby]{Limit: limit})
	return lobbies.Named("chat"), err
}

// newServer returns the chat room's HTTP handler; a replica holds limit people.
func newServer(rt *dog.Runtime, limit int) (http.Handler, error) {
	lobby, err := register(rt, limit)
	if err != nil {
		return nil, err
	}
	return handler(lobby), nil
}

func handler(lobby dog.GroupStub[Lobby, Room]) http.Handler {
	return readOnly(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/" {
			servePage(w)
			return
		}
		user := req.URL.Query().Get("u")
		if user == "" {
			user = "anon"
		}
		room, err := lobby.Identify(req.Context(), user)
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		room.ServeHTTP(w, req)
	}))
}

func servePage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// The page is one file: whatever else a browser would load or run is none
	// of ours.
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "+
			"base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	_, _ = w.Write(page) // a client that is gone needs no page
}

// readOnly lets only GET and HEAD requests through.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, req)
	})
}
