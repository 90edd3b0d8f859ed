// Package faults is a WebSocket server that misbehaves as a table says, and
// judges how a client of dog.v1 gets through. Clients in every language are
// tested by the same table, client/testdata/faults.json.
package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A Server serves each scenario of a table:
//
//	GET  /              the table, with each scenario by its own name
//	GET  /NAME          the WebSocket of a scenario
//	GET  /NAME/verdict  waits for the end of the scenario and returns a Verdict
//	POST /NAME/reset    makes the scenario as if it had never run
type Server struct {
	table Table
	scale float64

	mu   sync.Mutex
	runs map[string]*run // by the name of the scenario. guarded by mu
}

// A Verdict is what the server found wrong with the client.
type Verdict struct {
	OK    bool     `json:"ok"`
	Wrong []string `json:"wrong,omitempty"`
}

// New returns a server that multiplies its times by scale. With the scale 1,
// which is for virtual time, it measures to the millisecond.
func New(table Table, scale float64) *Server {
	table.Scale = scale
	s := &Server{table: table, scale: scale, runs: make(map[string]*run)}
	for _, scenario := range table.Scenarios {
		s.runs[scenario.Name] = newRun(scenario, scale)
	}
	return s
}

func (s *Server) run(name string) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[name]
}

func (s *Server) reset(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[name] = newRun(s.runs[name].scenario, s.scale)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*") // for tests in a browser
	name, action, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if name == "" {
		writeJSON(w, s.table)
		return
	}
	run := s.run(name)
	switch {
	case run == nil:
		http.NotFound(w, r)
	case action == "":
		run.serve(w, r)
	case action == "verdict":
		writeJSON(w, run.verdict(r.Context()))
	case action == "reset" && r.Method == http.MethodPost:
		s.reset(name)
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

// A run is one execution of a scenario.
type run struct {
	scenario Scenario
	scale    float64
	done     chan struct{} // closed at the end of the last step, or when something is wrong

	mu      sync.Mutex
	next    int               // the connection that comes next. guarded by mu
	over    chan struct{}     // closed when the connection before is over. guarded by mu
	ended   time.Time         // when the server ended the connection before. guarded by mu
	session string            // guarded by mu
	numbers map[string]uint64 // of the client's messages by payload. guarded by mu
	highest uint64            // the greatest number so far. guarded by mu
	wrong   []string          // guarded by mu
}

func newRun(s Scenario, scale float64) *run {
	over := make(chan struct{})
	close(over)
	return &run{
		scenario: s, scale: scale, done: make(chan struct{}), over: over, numbers: make(map[string]uint64),
	}
}

// after returns a time of the table in milliseconds as a duration.
func (r *run) after(ms int) time.Duration {
	return time.Duration(float64(ms) * r.scale * float64(time.Millisecond))
}

// near returns an error unless a time that passed is the expected one. In real
// time, the client may be late.
func (r *run) near(what string, passed time.Duration, ms int) error {
	expected := r.after(ms)
	early, late := time.Millisecond, time.Millisecond
	if r.scale != 1 {
		early, late = 3*time.Millisecond, 5*time.Second
	}
	return between(what, passed, expected, early, late)
}

// nearAttempt is near for a time that the client counts from the beginning of
// its attempt. In real time, some of it passes before the server knows of it.
func (r *run) nearAttempt(what string, passed time.Duration, ms int) error {
	if r.scale == 1 {
		return r.near(what, passed, ms)
	}
	expected := r.after(ms)
	return between(what, passed, expected, expected/2, 5*time.Second)
}

func between(what string, passed, expected, early, late time.Duration) error {
	if passed < expected-early || passed > expected+late {
		return fmt.Errorf("%s took %v, not %v", what, passed, expected)
	}
	return nil
}

// patience is how long the server waits for what the client should do.
func (r *run) patience() time.Duration { return r.after(10*60*1000) + 5*time.Second }

// fail ends the scenario.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, err.Error())
	r.finish()
}

// finish ends the scenario. r.mu is held.
func (r *run) finish() {
	select {
	case <-r.done:
	default:
		close(r.done)
	}
}

var sessionForm = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)

// begin checks an attempt of the client and returns what to do with it.
func (r *run) begin(request *http.Request) (i int, over chan struct{}, err error) {
	r.mu.Lock()
	before := r.over
	r.mu.Unlock()
	arrived := time.Now()
	select {
	case <-before: // the client may have left before this server noticed
	case <-time.After(r.after(1000) + time.Second):
		return 0, nil, fmt.Errorf("a connection although the one before is still open")
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	i = r.next
	if i == len(r.scenario.Connections) {
		return 0, nil, fmt.Errorf("connection %d, which is one too many", i+1)
	}
	r.next++
	over = make(chan struct{})
	r.over = over
	c := r.scenario.Connections[i]
	if c.Wait != nil {
		if err := r.near("the wait before it", arrived.Sub(r.ended), *c.Wait); err != nil {
			return 0, nil, fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	query := request.URL.Query()
	switch after, has := query.Get("after"), query.Has("after"); {
	case c.After == nil && has:
		return 0, nil, fmt.Errorf("connection %d: after=%s, though the client has no position", i+1, after)
	case c.After != nil && !has:
		return 0, nil, fmt.Errorf("connection %d: no after, not after=%s", i+1, *c.After)
	case c.After != nil && *c.After != after:
		return 0, nil, fmt.Errorf("connection %d: after=%s, not after=%s", i+1, after, *c.After)
	}
	session := query.Get("session")
	switch {
	case !sessionForm.MatchString(session):
		return 0, nil, fmt.Errorf("connection %d: the session %q", i+1, session)
	case r.session != "" && r.session != session:
		return 0, nil, fmt.Errorf("connection %d: another session", i+1)
	}
	r.session = session
	return i, over, nil
}

// serve runs the script of one connection.
func (r *run) serve(w http.ResponseWriter, request *http.Request) {
	i, over, err := r.begin(request)
	if err != nil {
		r.fail(err)
		http.Error(w, err.Error(), http.StatusNotFound) // final, so that the client stops
		return
	}
	defer close(over)
	c := r.scenario.Connections[i]
	switch {
	case c.Hang > 0:
		err = r.hang(request, c.Hang)
	case c.Refuse != nil:
		if c.Refuse.RetryAfter != "" {
			w.Header().Set("Retry-After", c.Refuse.RetryAfter)
		}
		r.ending()
		w.WriteHeader(c.Refuse.Status)
	default:
		err = r.script(w, request, i)
	}
	if err != nil {
		r.fail(fmt.Errorf("connection %d: %w", i+1, err))
		return
	}
	r.last(i)
}

// last ends the scenario if the connection is the last one.
func (r *run) last(i int) {
	if i == len(r.scenario.Connections)-1 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.finish()
	}
}

// ending notes that the server ends the connection now.
func (r *run) ending() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = time.Now()
}

// hang does not answer a request.
func (r *run) hang(request *http.Request, ms int) error {
	began := time.Now()
	select {
	case <-request.Context().Done():
		return r.nearAttempt("giving up a handshake", time.Since(began), ms)
	case <-time.After(r.patience()):
		return fmt.Errorf("the client still waits for the handshake")
	}
}
