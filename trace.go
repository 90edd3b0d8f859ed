package dog

import (
	"fmt"
	"time"

	"github.com/godurable/dog/internal/hookqueue"
	"github.com/godurable/dog/internal/turn"
)

// Trace has hooks that are called at points of interest, for metrics and
// tracing. Any of them may be nil. They must not panic, and should return
// quickly.
//
// Hooks are called without the turn of any object, not even their caller's, so
// they may use objects. The exceptions are SocketOpened and SocketClosed, since
// their socket waits for them. A handler that calls other objects with a
// context that is not its own keeps its turn during the call, and hooks cannot
// detect that.
//
// The other hooks are called one at a time for each object, in the order of its
// events, even if the object has left memory in between. A hook is called by
// the goroutine that caused the event, if that goroutine may wait and no other
// hook is running for the object. Otherwise another goroutine calls it soon. A
// hook that hangs delays what it is called for: the caller of an event, a
// socket, further hooks for this object. It delays no other object, and no
// eviction. If more than 1,000 hook calls of an object wait because of a hook
// that hangs, further hooks are called at once, out of order, and hold up their
// callers too.
type Trace struct {
	// ObjectStarted is called when OnStart has returned without error.
	ObjectStarted func(ObjectInfo)
	// ObjectStopped is called when an object was reset (cause is a
	// [ResetError]), also by a failed start. It is also called when an object
	// that had started has left memory or hibernates (cause is nil).
	ObjectStopped func(o ObjectInfo, cause error)
	// EventDone is called when a handler has returned.
	EventDone func(EventInfo)
	// SocketOpened is called when a socket has joined its object, before
	// OnOpen.
	SocketOpened func(*Socket)
	// SocketClosed is called when a socket has left its object, before
	// OnClose.
	SocketClosed func(s *Socket, cause *CloseError)
}

// EventInfo describes one run of a handler.
type EventInfo struct {
	Object ObjectInfo
	Kind   EventKind
	Method string        // of a call, otherwise ""
	Wait   time.Duration // for the turn, and for the start of the object if this was its first event
	Run    time.Duration // including waits of the handler
	Err    error         // the handler's error, or a [ResetError]
}

// EventKind is the kind of handler that an event runs.
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
	EventTimer                           // a function given to After or Every
	EventCall                            // a method given to Call
	EventAlarm                           // OnAlarm
	EventStop                            // OnStop
	EventAdmin                           // operations of the library: export, import, deletion
)

var eventNames = [...]string{
	EventStart: "OnStart", EventReceive: "Receive", EventIdentify: "Identify", EventClusterize: "Clusterize", EventOpen: "OnOpen",
	EventMessage: "OnMessage", EventClose: "OnClose", EventError: "OnError", EventGossip: "OnGossip", EventGo: "Go", EventTimer: "timer",
	EventCall: "Call", EventAlarm: "OnAlarm", EventStop: "OnStop", EventAdmin: "admin",
}

// String returns the name of the handler.
func (k EventKind) String() string {
	if k < EventStart || k > EventAdmin {
		return fmt.Sprintf("EventKind(%d)", int(k))
	}
	return eventNames[k]
}

// clock returns the time if a hook needs it, otherwise the zero time.
func (t *Trace) clock() time.Time {
	if t.EventDone == nil {
		return time.Time{}
	}
	return time.Now()
}

// eventDone queues the EventDone hook. It must be called before an event gives
// up its turn, since that decides the order of hooks. ends reports whether the
// event ends now or goes on. before is the call that the caller already has,
// for an event that ended in a reset. The caller calls the result when the
// event has ended.
func (t *Trace) eventDone(
	inst *instance, e *turn.Event, kind EventKind, method string, queued, began time.Time, err error, ends bool,
	before *hookqueue.Call,
) *hookqueue.Call {
	if t.EventDone == nil {
		return before
	}
	if closed := inst.turn.Closed(); ends && closed != nil {
		err = closed
	}
	o := inst.obj
	info := EventInfo{Object: o.info(), Kind: kind, Method: method, Wait: began.Sub(queued), Run: time.Since(began), Err: err}
	if before != nil {
		before.Then(func() { t.EventDone(info) })
		return before
	}
	return o.runtime().hooks.Add(o.id, ends && !e.Pinned(), func() { t.EventDone(info) })
}

// objectStarted queues the hook for the start of an object.
func (t *Trace) objectStarted(o *object) {
	if t.ObjectStarted != nil {
		o.runtime().hooks.Add(o.id, false, func() { t.ObjectStarted(o.info()) })
	}
}

// objectStopped queues the hook for the orderly end of an object. Its callers
// cannot wait for a hook.
func (t *Trace) objectStopped(o *object) {
	if t.ObjectStopped != nil {
		o.runtime().hooks.Add(o.id, false, func() { t.ObjectStopped(o.info(), nil) })
	}
}

// objectReset queues the hook for a reset. e is the event that the caller runs,
// or nil. The caller calls the result when the event has ended.
func (t *Trace) objectReset(o *object, e *turn.Event, cause error) *hookqueue.Call {
	if t.ObjectStopped == nil {
		return nil
	}
	return o.runtime().hooks.Add(o.id, e != nil && !e.Pinned(), func() { t.ObjectStopped(o.info(), cause) })
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
