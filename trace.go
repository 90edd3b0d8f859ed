package dog

import (
	"fmt"
	"time"
)

// Trace has functions that are called at points of interest, for metrics and tracing of one's own. Any may be nil. They are
// called in the goroutine in which it happens, must return at once and must not panic.
type Trace struct {
	// ObjectStarted is called when OnStart has returned without error.
	ObjectStarted func(ObjectInfo)
	// ObjectStopped is called when an object was reset (cause is a [ResetError]) or retired (cause is nil).
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

func (t *Trace) eventDone(o *object, kind EventKind, method string, queued, began time.Time, err error) {
	if t.EventDone != nil {
		t.EventDone(EventInfo{Object: o.info(), Kind: kind, Method: method, Wait: began.Sub(queued), Run: time.Since(began), Err: err})
	}
}

func (t *Trace) objectStarted(o *object) {
	if t.ObjectStarted != nil {
		t.ObjectStarted(o.info())
	}
}

func (t *Trace) objectStopped(o *object, cause error) {
	if t.ObjectStopped != nil {
		t.ObjectStopped(o.info(), cause)
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
