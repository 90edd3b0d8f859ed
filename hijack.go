package dog

import (
	"bufio"
	"errors"
	"net"
	"net/http"
)

// hijackable is a response whose connection can be taken over.
type hijackable struct{ *response }

// Hijack hands the connection over. What has been written before, a status 101
// for example, is sent first. What the object has stored is durable then, since
// nothing holds back what is written to the connection: the transaction ends,
// and Hijack keeps the turn while it waits for the disk.
func (h hijackable) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	r := h.response
	r.mu.Lock()
	err, holds := r.takenLocked(), r.holds
	r.mu.Unlock()
	if err == nil && !holds {
		err = settle(r.event)
	}
	if err != nil {
		return nil, nil, err
	}
	err = r.patiently(r.takeOver) // what is sent first waits for the client
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.network.Conn == nil {
		return nil, nil, err
	}
	return r.network.Conn, r.network.rw, nil // also when it came in the very moment in which it was given up
}

// connection is one that has been taken over.
type connection struct {
	net.Conn
	rw *bufio.ReadWriter
}

// takeOver sends what there is and takes the connection over, or closes it when
// the handler has stopped waiting for that.
func (r *response) takeOver() error {
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	if err := r.takenLocked(); err != nil {
		r.mu.Unlock()
		return err
	}
	if err := r.sendLocked(r.markLocked(), false); err != nil {
		return err
	}
	var taken connection
	err := r.alien.call(func() (err error) {
		taken.Conn, taken.rw, err = http.NewResponseController(r.w).Hijack()
		return err
	})
	r.mu.Lock()
	r.hijacked = err == nil
	late := r.failed
	if err == nil && late == nil {
		r.network = taken
	}
	r.mu.Unlock()
	if err == nil && late != nil {
		return errors.Join(late, r.alien.call(taken.Close))
	}
	return err
}

// takenLocked returns why the connection cannot be had. The caller must hold
// mu.
func (r *response) takenLocked() error {
	switch {
	case r.over:
		return errAnswered
	case r.hijacked:
		return http.ErrHijacked
	}
	return nil
}

// handshake calls accept, which hijacks the connection and holds back itself
// what it writes.
func (r *response) handshake(accept func()) {
	r.setHolds(true)
	defer r.setHolds(false)
	accept()
}

func (r *response) setHolds(holds bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds = holds
}

// hijacks reports whether [http.ResponseController] can take the connection of
// w over.
func hijacks(w http.ResponseWriter) bool {
	for {
		switch t := w.(type) {
		case http.Hijacker:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
}
