package dog

import (
	"context"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/object"
)

// Trace has hooks that are called at points of interest, for metrics and
// tracing. Any of them may be nil. They must not panic, and should return
// quickly.
//
// Hooks do not wait for durability. EventDone is called when a handler has
// returned, whatever becomes of its writes: if they are lost afterwards, no
// EventDone reports that, only ObjectStopped of the reset that follows.
//
// Hooks but EventBegin are called without the turn of any object, not even
// their caller's, so they may use objects. SocketOpened and SocketClosed must
// not wait for events of their socket, since these wait for them. A handler
// that calls other objects with a context that is not its own keeps its turn
// during the call, and hooks cannot detect that.
//
// ObjectStarted, ObjectStopped and EventDone are called one at a time for each
// object, in the order of its events, even if the object has left memory in
// between. A hook is called by the goroutine that caused the event, if that
// goroutine may wait and no other of these hooks is running for the object.
// Otherwise another goroutine calls it soon. A hook that hangs delays the
// caller of the event that it is called for, and further hooks for this object.
// It delays no other object, and no eviction.
//
// If more than 1,000 of these calls wait for an object because of a hook that
// hangs, those that goroutines cause that may wait are made at once, out of
// order, and hold up their callers too. The others are queued without a limit:
// starts and evictions of the object, ends of OnStart and OnStop, resets that
// none of its handlers causes (Abort, lost writes), and ends of handlers for
// which another handler waits and keeps its turn. So a hook that hangs costs a
// few hundred bytes for each of these.
//
// SocketOpened and SocketClosed are called by the goroutine of their socket, at
// the same time as other hooks and as those of other sockets. One that hangs
// delays its socket, and [Runtime.Shutdown].
//
// EventBegin is the exception: its context is that of the handler, so it is
// called just before the handler, by the handler's goroutine and in its turn.
// It must not use objects: one that uses its own waits for itself, which
// Options.CheckTurns turns into [ErrDeadlock]. If it hangs, its object hangs
// like in a handler, and no other does. A panic of it is one of the handler.
// Since it does not wait for other hooks, it may be called before EventDone of
// an earlier event of the object, or at the same time.
type Trace struct {
	// ObjectStarted is called when an object has started, after its OnStart if
	// it has one.
	ObjectStarted func(ObjectInfo)
	// ObjectStopped is called when an object was reset (cause is a
	// [ResetError]), also by a failed start. It is also called when an object
	// that had started has left memory or hibernates (cause is nil).
	ObjectStopped func(o ObjectInfo, cause error)
	// EventBegin is called when a handler is about to run. It returns ctx or a
	// context derived from it, or nil for ctx. The handler's context gets the
	// values of that context, and so do the contexts of the events that it
	// waits for: calls, requests and gossip of the handler. Nothing else of it
	// counts: the handler's context ends when it would end without the hook.
	//
	// ctx has the values of the context with which the event was caused, such
	// as that of a call or a request. Events of sockets, timers and alarms have
	// no such context, so ctx has no values. ctx never ends, and belongs to no
	// handler.
	//
	// Err and Run of the event are zero.
	EventBegin func(ctx context.Context, e EventInfo) context.Context
	// EventDone is called when a handler has returned, once for each call of
	// EventBegin. Its writes may not be durable yet. ctx is what EventBegin has
	// returned for the event, or the ctx that it would have got.
	EventDone func(ctx context.Context, e EventInfo)
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
	Began  time.Time     // when the event got its turn, just before EventBegin; the same in both hooks
	Wait   time.Duration // for the turn, and for the start of the object if this was its first event
	Run    time.Duration // from Began until the handler has returned, including its waits
	Err    error         // the handler's error, or a [ResetError]

	// From is the object whose handler waits for the event: it has made the
	// call, sent the request, gossiped. OnStart has that of the event that
	// starts the object. From is zero if no handler waits: the event comes from
	// outside of objects, from a socket, a timer or an alarm, or from Go.
	From ObjectInfo
	// Starter is for [Go] and Clusterize, which run while the handler that
	// caused them goes on: the context that EventBegin has returned for that
	// handler, or one derived from it. ctx of the hooks has only the values
	// that were there before that EventBegin. Otherwise events that keep
	// starting each other would keep the contexts of all of them in memory.
	// Starter is nil for other events, and if no handler caused them.
	Starter context.Context
}

// EventKind is the kind of handler that an event runs.
type EventKind int

// The events of an object.
const (
	EventStart      = EventKind(object.EventStart)      // OnStart
	EventReceive    = EventKind(object.EventReceive)    // Receive
	EventIdentify   = EventKind(object.EventIdentify)   // a gateway's Identify
	EventClusterize = EventKind(object.EventClusterize) // Clusterize
	EventOpen       = EventKind(object.EventOpen)       // OnOpen
	EventMessage    = EventKind(object.EventMessage)    // OnMessage
	EventClose      = EventKind(object.EventClose)      // OnClose
	EventError      = EventKind(object.EventError)      // OnError
	EventGossip     = EventKind(object.EventGossip)     // OnGossip
	EventPresence   = EventKind(object.EventPresence)   // OnPresence
	EventGo         = EventKind(object.EventGo)         // a function given to Go
	EventTimer      = EventKind(object.EventTimer)      // a function given to After or Every
	EventCall       = EventKind(object.EventCall)       // a method given to Call
	EventAlarm      = EventKind(object.EventAlarm)      // OnAlarm
	EventStop       = EventKind(object.EventStop)       // OnStop
	EventAdmin      = EventKind(object.EventAdmin)      // operations of the library: export, import, deletion
)

// String returns the name of the handler.
func (k EventKind) String() string { return object.EventKind(k).String() }

// MarshalText returns the name of the handler.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name of a handler.
func (k *EventKind) UnmarshalText(text []byte) error {
	for kind := EventStart; kind <= EventAdmin; kind++ {
		if kind.String() == string(text) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("dog: there is no kind of event %.40q", text)
}

// hooks returns the hooks as package object calls them.
func (t *Trace) hooks() (h object.Trace) {
	if t.ObjectStarted != nil {
		h.Started = func(o *object.Object) { t.ObjectStarted(stateOf(o).info()) }
	}
	if t.ObjectStopped != nil {
		h.Stopped = func(o *object.Object, cause error) { t.ObjectStopped(stateOf(o).info(), cause) }
	}
	if t.EventBegin != nil {
		h.EventBegin = func(ctx context.Context, o *object.Object, e object.EventInfo) context.Context {
			return t.EventBegin(ctx, eventInfo(o, &e))
		}
	}
	if t.EventDone != nil {
		h.EventDone = func(ctx context.Context, o *object.Object, e object.EventInfo) {
			t.EventDone(ctx, eventInfo(o, &e))
		}
	}
	return h
}

func eventInfo(o *object.Object, e *object.EventInfo) EventInfo {
	info := EventInfo{
		Object: stateOf(o).info(), Kind: EventKind(e.Kind), Method: e.Method, Began: e.Began, Wait: e.Wait, Run: e.Run,
		Err: e.Err, Starter: e.Starter,
	}
	if e.From != nil {
		info.From = stateOf(e.From).info()
	}
	return info
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
