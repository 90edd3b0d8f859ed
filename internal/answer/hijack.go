package answer

import (
	"bufio"
	"errors"
	"net"
	"net/http"
)

// hijackable is a response whose connection can be hijacked.
type hijackable struct{ *response }

// Hijack hands the connection over. It first sends the output so far, such as a
// status 101. It also waits until the object's writes are durable, since
// nothing holds back what is written to the connection: it ends the
// transaction, and keeps the turn while it waits for the disk.
func (h hijackable) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	r := h.response
	r.mu.Lock()
	err, holds := r.takenLocked(), r.holds
	r.mu.Unlock()
	if err == nil && !holds {
		err = r.host.Settle(r.event)
	}
	if err != nil {
		return nil, nil, err
	}
	err = r.patiently(r.takeOver) // sending the output waits for the client
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.network.Conn == nil {
		return nil, nil, err
	}
	return r.network.Conn, r.network.rw, nil // even if it was hijacked at the moment when the wait was abandoned
}

// connection is a connection that has been hijacked.
type connection struct {
	net.Conn
	rw *bufio.ReadWriter
}

// takeOver sends the output so far and hijacks the connection. If the handler
// has stopped waiting for that, takeOver closes the connection.
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
	err := r.guard.Call(func() (err error) {
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
		return errors.Join(late, r.guard.Call(taken.Close))
	}
	return err
}

// takenLocked returns an error if the connection cannot be hijacked. The caller
// must hold mu.
func (r *response) takenLocked() error {
	switch {
	case r.over:
		return errFinished
	case r.hijacked:
		return http.ErrHijacked
	}
	return nil
}

func (r *response) setHolds(holds bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds = holds
}

// hijacks reports whether [http.ResponseController] can hijack the connection
// of w.
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
