package dog

import (
	"bufio"
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
	r.pump.Lock()
	defer r.pump.Unlock()
	r.mu.Lock()
	if err := r.takenLocked(); err != nil {
		r.mu.Unlock()
		return nil, nil, err
	}
	if err := r.sendLocked(r.markLocked(), false); err != nil {
		return nil, nil, err
	}
	err = r.alien.call(func() (err error) {
		c, rw, err = http.NewResponseController(r.w).Hijack()
		return err
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hijacked = err == nil
	return c, rw, err
}

// takenLocked returns why the connection cannot be had. The caller must hold mu.
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
