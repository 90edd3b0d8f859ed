package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/godurable/dog"
)

const (
	shardCount = 64              // for good: with another number pages would be looked for where they are not
	patience   = 5 * time.Second // with a shard that does not answer
	maxPage    = 512             // bytes of a page's name
	maxTop     = 100
)

// newServer returns the HTTP handler that counts views.
func newServer(rt *dog.Runtime) (*server, error) {
	tallies, err := dog.RegisterObject(rt, "tally", func(*Tally) {})
	if err != nil {
		return nil, err
	}
	shards, err := dog.NewShards(tallies, "views", shardCount)
	if err != nil {
		return nil, err
	}
	s := &server{shards: shards}
	s.HandleFunc("POST /hit/{page...}", s.hit)
	s.HandleFunc("GET /top", s.top)
	s.HandleFunc("GET /total", s.total)
	return s, nil
}

type server struct {
	http.ServeMux
	shards *dog.Shards[Tally]
}

func (s *server) hit(w http.ResponseWriter, r *http.Request) {
	page := r.PathValue("page")
	if page == "" || len(page) > maxPage {
		http.Error(w, "a page has a name of at most 512 bytes", http.StatusBadRequest)
		return
	}
	count, err := dog.Call(r.Context(), s.shards.For(page), (*Tally).Hit, page)
	if err != nil {
		slog.Error("cannot count a view", "page", page, "error", err)
		dog.WriteError(w, err)
		return
	}
	writeJSON(w, Views{page, count})
}

// A report covers the shards that have answered; Missing are the others, whose errors are for the log and not for the client.
type report struct {
	Total   int     `json:"total,omitempty"`
	Top     []Views `json:"top,omitempty"`
	Shards  int     `json:"shards"`
	Missing []int   `json:"missing,omitempty"`
}

func (s *server) total(w http.ResponseWriter, r *http.Request) {
	results, err := query(r.Context(), s.shards, func(ctx context.Context, shard dog.Stub[Tally]) (int, error) {
		return dog.Call0(ctx, shard, (*Tally).Total)
	})
	if err != nil {
		dog.WriteError(w, err)
		return
	}
	answer := report{Shards: s.shards.Len(), Missing: missing(results)}
	for _, result := range results {
		answer.Total += result.Value
	}
	writeJSON(w, answer)
}

func (s *server) top(w http.ResponseWriter, r *http.Request) {
	n := 10
	if r.URL.Query().Has("n") {
		var err error
		if n, err = strconv.Atoi(r.URL.Query().Get("n")); err != nil || n < 1 || n > maxTop {
			http.Error(w, "n is from 1 to 100", http.StatusBadRequest)
			return
		}
	}
	// The first n of all pages are among the first n of each shard.
	results, err := query(r.Context(), s.shards, func(ctx context.Context, shard dog.Stub[Tally]) ([]Views, error) {
		return dog.Call(ctx, shard, (*Tally).Top, n)
	})
	if err != nil {
		dog.WriteError(w, err)
		return
	}
	var all []Views
	for _, result := range results {
		all = append(all, result.Value...)
	}
	writeJSON(w, report{Top: top(all, n), Shards: s.shards.Len(), Missing: missing(results)})
}

// query asks all shards, each for as long as patience lasts.
func query[R any](
	ctx context.Context, shards *dog.Shards[Tally], ask func(context.Context, dog.Stub[Tally]) (R, error),
) ([]dog.ShardResult[R], error) {
	patiently := func(ctx context.Context, shard dog.Stub[Tally]) (R, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return ask(ctx, shard)
	}
	return dog.QueryShards(ctx, shards, dog.ShardQuery{Concurrency: 16}, patiently)
}

// missing returns which shards have failed, and logs why.
func missing[R any](results []dog.ShardResult[R]) []int {
	var failed []int
	for _, result := range results {
		if result.Err != nil {
			failed = append(failed, result.Shard)
			slog.Error("a shard does not answer", "shard", result.Shard, "error", result.Err)
		}
	}
	return failed
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Debug("cannot answer", "error", err) // the client has gone
	}
}
