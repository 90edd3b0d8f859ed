package dog

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Trace has functions that are called at points of interest, for metrics and
// tracing of one's own. Any may be nil. They must not panic, and should return at
// once.
//
// They are called without the turn of any object, so they may use objects, except
// for SocketOpened and SocketClosed, which their socket waits for. Those about one
// object come in the order in which things happened there. One that hangs holds up
// what it is called for: the caller of an event, a socket, the further calls about
// this object. It holds up no other object, and no eviction.
type Trace struct {
	// ObjectStarted is called when OnStart has returned without error.
	ObjectStarted func(ObjectInfo)
	// ObjectStopped is called when an object was reset (cause is a [ResetError]), also by a start that has failed, and when an
	// object that had started has left memory or hibernates (cause is nil).
	ObjectStopped func(o ObjectInfo, cause error)
	// EventDone is called when a handler has returned.
	EventDone func(EventInfo)
	// SocketOpened is called when a socket has joined its replica, before OnOpen.
	SocketOpened func(*Socket)
	// SocketClosed is called when a socket has left its replica, before OnClose.
	SocketClosed func(s *Socket, cause *CloseError)
}

// EventInfo describes a run of a handler.
type EventInfo struct {
	Object ObjectInfo
	Kind   EventKind
	Method string        // of a call, else ""
	Wait   time.Duration // for the turn, and for the start of the object if it was the first event
	Run    time.Duration // waits of the handler included
	Err    error         // what the handler returned, or a [ResetError]
}

// EventKind says which handler an event runs.
type EventKind int

// The events of an object.
const (
	EventStart      EventKind = iota + 1 // OnStart
	EventReceive                         // Receive
	EventIdentify                        // a gateway's Identify
	EventClusterize                      // Clusterize
	EventOpen                            // OnOpen
	EventMessage                         // OnMessage
	EventClose                           // OnClose
	EventError                           // OnError
	EventGossip                          // OnGossip
	EventGo                              // a function given to Go
	EventCall                            // a method given to Call
	EventAlarm                           // OnAlarm
	EventStop                            // OnStop
	EventAdmin                           // the library's own: export, import, deletion
)

var eventNames = [...]string{
	EventStart: "OnStart", EventReceive: "Receive", EventIdentify: "Identify", EventClusterize: "Clusterize", EventOpen: "OnOpen",
	EventMessage: "OnMessage", EventClose: "OnClose", EventError: "OnError", EventGossip: "OnGossip", EventGo: "Go",
	EventCall: "Call", EventAlarm: "OnAlarm", EventStop: "OnStop", EventAdmin: "admin",
}

// String returns the name of the handler.
func (k EventKind) String() string {
	if k < EventStart || k > EventAdmin {
		return fmt.Sprintf("EventKind(%d)", int(k))
	}
	return eventNames[k]
}

// clock returns the time if anybody wants to know it.
func (t *Trace) clock() time.Time {
	if t.EventDone == nil {
		return time.Time{}
	}
	return time.Now()
}

// eventDone tells of an event. free says that it has ended; else it still has the
// turn.
func (t *Trace) eventDone(
	inst *instance, kind EventKind, method string, queued, began time.Time, err error, free bool,
) {
	if t.EventDone == nil {
		return
	}
	o := inst.obj
	info := EventInfo{Object: o.info(), Kind: kind, Method: method, Wait: began.Sub(queued), Run: time.Since(began), Err: err}
	switch {
	case free && o.runtime().hooks.none():
		t.EventDone(info)
	case !free && kind == EventStart:
		inst.untold = append(inst.untold, func() { t.EventDone(info) })
	default:
		o.runtime().hooks.tell(o, free, func() { t.EventDone(info) })
	}
}

// objectStarted tells, once the turn is free, that an object has started.
func (t *Trace) objectStarted(inst *instance) {
	if t.ObjectStarted != nil {
		inst.untold = append(inst.untold, func() { t.ObjectStarted(inst.obj.info()) })
	}
}

// objectStopped tells that an object has ended in good order. Its caller may be
// anybody, who must not wait for a hook.
func (t *Trace) objectStopped(o *object) {
	if t.ObjectStopped != nil {
		o.runtime().hooks.tell(o, false, func() { t.ObjectStopped(o.info(), nil) })
	}
}

func (t *Trace) objectReset(o *object, cause error) {
	if t.ObjectStopped != nil {
		o.runtime().hooks.tell(o, true, func() { t.ObjectStopped(o.info(), cause) })
	}
}

func (t *Trace) socketOpened(s *Socket) {
	if t.SocketOpened != nil {
		t.SocketOpened(s)
	}
}

func (t *Trace) socketClosed(s *Socket, cause *CloseError) {
	if t.SocketClosed != nil {
		t.SocketClosed(s, cause)
	}
}

// maxTold bounds the calls that wait because a hook hangs, those aside whose caller
// must not wait.
const maxTold = 1000

// hooks calls the functions of a Trace about one object in order: in the
// goroutine in which things happen if that may wait and nothing else waits to be
// told, else in one of the object's own.
type hooks struct {
	rt      *Runtime     // fixed
	waiting atomic.Int64 // objects in told. changed under mu

	mu   sync.Mutex
	told map[*object][]func() // what is still to be called, beside what is being called. guarded by mu
}

// none reports whether nothing waits to be told.
func (h *hooks) none() bool { return h.waiting.Load() == 0 }

// tell calls a hook: in this goroutine, or soon. free says that the caller may
// wait for it, which it also does when too much waits already.
func (h *hooks) tell(o *object, free bool, hook func()) {
	h.mu.Lock()
	waits, busy := h.told[o]
	if free && (!busy || len(waits) >= maxTold) {
		h.mu.Unlock()
		hook()
		return
	}
	h.told[o] = append(waits, hook)
	if !busy {
		h.waiting.Add(1)
	}
	h.mu.Unlock()
	if busy {
		return
	}
	h.rt.spawn(func() { h.run(o) })
}

// run calls what waits to be told of an object.
func (h *hooks) run(o *object) {
	for {
		h.mu.Lock()
		waits := h.told[o]
		if len(waits) == 0 {
			delete(h.told, o)
			h.waiting.Add(-1)
			h.mu.Unlock()
			return
		}
		h.told[o] = waits[1:]
		h.mu.Unlock()
		waits[0]()
	}
}
