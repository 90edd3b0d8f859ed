package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/godurable/dog"
)

const (
	maxName = 200 // bytes
	maxList = 100
)

// newServer returns the HTTP handler of the counters.
func newServer(rt *dog.Runtime) (http.Handler, error) {
	counters, err := dog.RegisterObject(rt, "counter", func(*Counter) {})
	if err != nil {
		return nil, err
	}
	s := &server{counters}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.list)
	mux.HandleFunc("GET /{name}", s.number)
	mux.HandleFunc("POST /{name}", s.add)
	return mux, nil
}

type server struct{ counters *dog.Namespace[Counter] }

// A state is how far a counter is.
type state struct {
	Name   string `json:"name"`
	Number int64  `json:"number"`
}

func (s *server) number(w http.ResponseWriter, r *http.Request) {
	name, ok := nameOf(w, r)
	if !ok {
		return
	}
	number, err := dog.Call0(r.Context(), s.counters.Named(name), (*Counter).Number)
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, state{name, number})
}

func (s *server) add(w http.ResponseWriter, r *http.Request) {
	name, ok := nameOf(w, r)
	if !ok {
		return
	}
	by := int64(1)
	if r.URL.Query().Has("by") {
		var err error
		if by, err = strconv.ParseInt(r.URL.Query().Get("by"), 10, 32); err != nil {
			http.Error(w, "by is a whole number of at most 32 bits", http.StatusBadRequest)
			return
		}
	}
	number, err := dog.Call(r.Context(), s.counters.Named(name), (*Counter).Add, by)
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, state{name, number})
}

// list answers with names, in order. A counter that was looked at and has never counted is no counter.
func (s *server) list(w http.ResponseWriter, r *http.Request) {
	names := []string{}
	for counter, err := range s.counters.List(r.Context(), dog.ListObjects{After: r.URL.Query().Get("after")}) {
		if err != nil {
			fail(w, err)
			return
		}
		if !counter.Stored {
			continue
		}
		if names = append(names, counter.Name); len(names) == maxList {
			break
		}
	}
	writeJSON(w, names)
}

// nameOf returns the name of the counter that a request is about, or answers it when there can be no such counter.
func nameOf(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	name = r.PathValue("name")
	if name == "" || len(name) > maxName {
		http.Error(w, "a counter has a name of at most 200 bytes", http.StatusBadRequest)
		return "", false
	}
	return name, true
}

func fail(w http.ResponseWriter, err error) {
	slog.Error("request failed", "error", err) // the client learns only that it did
	dog.WriteError(w, err)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Debug("cannot answer", "error", err) // the client has gone
	}
}
