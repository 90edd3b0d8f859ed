package main

import (
	_ "embed"
	"io"
	"net/http"
	"strings"

	"github.com/godurable/dog"
)

//go:embed page.html
var page string

// newServer returns the HTTP handler of the documents. steps are the schema of
// this release.
func newServer(rt *dog.Runtime, steps dog.Schema) (http.Handler, error) {
	documents, err := dog.RegisterObject(rt, "document", &dog.ObjectOptions[Document]{
		New:              func() *Document { return &Document{authors: len(steps) > 1} },
		Schema:           steps,
		AllowNewerSchema: true, // the previous release may come back
		Hibernate:        true,
		RollbackOnError:  true,
		MaxSockets:       200,
		Sockets:          dog.SocketOptions{AutoRequest: "ping", AutoReply: "pong"},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler("/readme", http.StatusFound))
	mux.HandleFunc("GET /{name}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("GET /{name}/text", func(w http.ResponseWriter, r *http.Request) {
		paragraphs, err := dog.Call0(r.Context(), documents.Named(r.PathValue("name")), (*Document).Paragraphs)
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for _, p := range paragraphs {
			_, _ = io.WriteString(w, p.Text+"\n\n")
		}
	})
	mux.HandleFunc("GET /{name}/open", func(w http.ResponseWriter, r *http.Request) {
		writer := strings.TrimSpace(r.FormValue("writer"))
		if writer == "" {
			dog.WriteError(w, &dog.StatusError{Status: http.StatusUnauthorized, Text: "a writer is missing"})
			return
		}
		documents.Named(r.PathValue("name")).WithUID(writer).ServeHTTP(w, r)
	})
	return mux, nil
}
