package main

import (
	"net/http"
	"sync"
)

// rooms are the crowds of a server by the name of their room; "" is that of
// cells with a single one.
type rooms[T comparable] struct {
	mu   sync.Mutex
	byID map[string]*crowd[T]
}

// of returns the crowd of the room that a request names.
func (r *rooms[T]) of(req *http.Request) *crowd[T] {
	name := req.FormValue("room")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = make(map[string]*crowd[T])
	}
	c := r.byID[name]
	if c == nil {
		c = &crowd[T]{}
		r.byID[name] = c
	}
	return c
}

func (r *rooms[T]) size() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.byID {
		n += c.size()
	}
	return n
}

// A crowd is the open sockets of a server whose library keeps no such list. A
// fan-out walks a snapshot, without a lock.
type crowd[T comparable] struct {
	mu      sync.Mutex
	members map[T]struct{}
	list    []T // the members; nil when it has to be made again
}

func (c *crowd[T]) add(m T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members == nil {
		c.members = make(map[T]struct{})
	}
	c.members[m] = struct{}{}
	c.list = nil
}

func (c *crowd[T]) remove(m T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.members, m)
	c.list = nil
}

// all returns the members; the caller must not change the slice.
func (c *crowd[T]) all() []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.list == nil {
		c.list = make([]T, 0, len(c.members))
		for m := range c.members {
			c.list = append(c.list, m)
		}
	}
	return c.list
}

func (c *crowd[T]) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.members)
}
