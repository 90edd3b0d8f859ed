package dog

import (
	"errors"
	"net/http"
	"sync/atomic"
)

// A Stub is the way to an object, whether it is in memory or not: an [http.Handler] for its requests, and an argument of
// [Identify] and the methods of [Family]. Stubs are small values, safe for concurrent use. The zero Stub
// leads nowhere: ErrNotRunning.
type Stub[T any] struct {
	to target
}

// target is what a stub leads to: an *address or an *admission.
type target interface {
	identity() (id ID, name string)
	serveHTTP(w http.ResponseWriter, r *http.Request)
	release()
}

// ID returns the object's ID.
func (s Stub[T]) ID() ID {
	if s.to == nil {
		return ID{}
	}
	id, _ := s.to.identity()
	return id
}

// Name returns the object's name, "" when it has none.
func (s Stub[T]) Name() string {
	if s.to == nil {
		return ""
	}
	_, name := s.to.identity()
	return name
}

// ServeHTTP hands the request to the object. A replica's stub takes a place for it (see [Identify]); a group's stub asks its
// [Gateway] or its [Receiver].
//
// What cannot be handed over is answered as [WriteError] does. The request waits for the object's turn until its context is
// done. When the object fails with its answer half written, ServeHTTP panics with [http.ErrAbortHandler], as net/http wants it, so
// that the client sees that the answer is not whole.
func (s Stub[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.to == nil {
		WriteError(w, ErrNotRunning)
		return
	}
	s.to.serveHTTP(w, r)
}

// Release gives the place back that [Identify] reserved, if no request has used it. Without it the reservation expires by
// itself.
func (s Stub[T]) Release() {
	if s.to != nil {
		s.to.release()
	}
}

// address leads to a named object, in memory or not.
type address struct {
	// fixed
	ns   *namespace
	id   ID
	name string

	known atomic.Pointer[object] // the object when last seen; it may have been retired since
}

func (a *address) identity() (id ID, name string) { return a.id, a.name }

func (a *address) release() {}

// object returns the object, which it makes when there is none.
func (a *address) object() *object {
	if o := a.known.Load(); o != nil {
		return o
	}
	o := a.ns.object(a.id, a.name)
	a.known.Store(o)
	return o
}

// on calls f with the object, again when that turns out to have been retired.
func (a *address) on(f func(*object) error) error {
	for {
		o := a.object()
		err := f(o)
		if !errors.Is(err, errRetired) {
			return err
		}
		a.known.CompareAndSwap(o, nil)
	}
}
