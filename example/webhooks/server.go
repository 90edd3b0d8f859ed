package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"

	"github.com/godurable/dog"
)

const (
	maxBody = 256 << 10 // bytes of a delivery
	maxURL  = 2 << 10   // bytes of an endpoint
)

// newServer returns the HTTP handler that accepts deliveries. transport sends
// them.
func newServer(rt *dog.Runtime, policy Policy, transport http.RoundTripper) (http.Handler, error) {
	client := &http.Client{
		Transport: transport,
		// redirects count as a refusal
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	customers, err := dog.RegisterObject(rt, "customer", &dog.ObjectOptions[Customer]{
		New: func() *Customer { return &Customer{policy: policy, client: client} },
	})
	if err != nil {
		return nil, err
	}
	s := &server{customers}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{customer}/endpoint", s.setEndpoint)
	mux.HandleFunc("POST /{customer}", s.accept)
	mux.HandleFunc("GET /{customer}/dead", s.dead)
	mux.HandleFunc("POST /{customer}/dead/{id}", s.revive)
	return mux, nil
}

type server struct{ customers *dog.Namespace[Customer] }

var customerName = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// customer returns the customer in a request. If the name is invalid, it
// responds with an error.
func (s *server) customer(w http.ResponseWriter, r *http.Request) (stub dog.Stub[Customer], ok bool) {
	name := r.PathValue("customer")
	if !customerName.MatchString(name) {
		http.Error(w, "a customer has 1 to 64 letters, digits and underscores", http.StatusBadRequest)
		return stub, false
	}
	return s.customers.Named(name), true
}

func (s *server) setEndpoint(w http.ResponseWriter, r *http.Request) {
	customer, ok := s.customer(w, r)
	if !ok {
		return
	}
	body, ok := read(w, r, maxURL)
	if !ok {
		return
	}
	endpoint, err := url.Parse(string(body))
	if err != nil || endpoint.Host == "" || (endpoint.Scheme != "http" && endpoint.Scheme != "https") {
		http.Error(w, "an endpoint is an http or https URL", http.StatusBadRequest)
		return
	}
	if err := dog.CallErr(r.Context(), customer, (*Customer).SetEndpoint, endpoint.String()); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) accept(w http.ResponseWriter, r *http.Request) {
	customer, ok := s.customer(w, r)
	if !ok {
		return
	}
	body, ok := read(w, r, maxBody)
	if !ok {
		return
	}
	id, err := dog.Call(
		r.Context(), customer, (*Customer).Accept, Delivery{ContentType: r.Header.Get("Content-Type"), Body: body},
	)
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, http.StatusAccepted, map[string]string{"id": id})
}

func (s *server) dead(w http.ResponseWriter, r *http.Request) {
	customer, ok := s.customer(w, r)
	if !ok {
		return
	}
	letters, err := dog.Call(r.Context(), customer, (*Customer).Dead, r.URL.Query().Get("after"))
	if err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, letters)
}

func (s *server) revive(w http.ResponseWriter, r *http.Request) {
	customer, ok := s.customer(w, r)
	if !ok {
		return
	}
	id := r.PathValue("id")
	if err := dog.CallErr(r.Context(), customer, (*Customer).Revive, id); err != nil {
		fail(w, err)
		return
	}
	writeJSON(w, http.StatusAccepted, map[string]string{"id": id})
}

// read returns the body of a request. If the body is too long, it responds with
// an error.
func read(w http.ResponseWriter, r *http.Request, most int64) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err == nil {
		return body, true
	}
	status := http.StatusBadRequest
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		status = http.StatusRequestEntityTooLarge
	}
	http.Error(w, http.StatusText(status), status)
	return nil, false
}

// fail responds to a request that failed. Details go to the log only.
func fail(w http.ResponseWriter, err error) {
	if _, chosen := errors.AsType[*dog.StatusError](err); !chosen {
		slog.Error("request failed", "error", err)
	}
	dog.WriteError(w, err)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Debug("cannot write the response", "error", err) // the client has gone
	}
}
