package main

import (
	_ "embed"
	"net/http"

	"github.com/godurable/dog"
)

//go:embed page.html
var page []byte

// newServer returns the chat room's HTTP handler; a replica holds limit people.
func newServer(rt *dog.Runtime, limit int) (http.Handler, error) {
	lobbies, err := dog.RegisterGroup(rt, "lobby", func(l *Lobby) { l.Limit = limit })
	if err != nil {
		return nil, err
	}
	rooms, err := dog.RegisterReplica(rt, "room", func(r *Room) { r.limit = limit })
	if err != nil {
		return nil, err
	}
	chat := dog.Link(lobbies, rooms)
	lobby := lobbies.Named("chat")

	return readOnly(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/" {
			servePage(w)
			return
		}
		user := req.URL.Query().Get("u")
		if user == "" {
			user = "anon"
		}
		room, err := dog.Identify(req.Context(), lobby, user, chat)
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		room.ServeHTTP(w, req)
	})), nil
}

func servePage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// The page is one file: whatever else a browser would load or run is none of ours.
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
