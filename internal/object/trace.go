package object

import (
	"context"
	"fmt"
	"time"

	"github.com/godurable/dog/internal/hookqueue"
	"github.com/godurable/dog/internal/turn"
)

// Trace has the hooks for points of interest. Any of them may be nil. Each but
// EventBegin is called without the turn of any object, one at a time for each
// object.
type Trace struct {
	Started func(*Object)              // OnStart has returned without error
	Stopped func(o *Object, err error) // a life has ended; err is that of the reset, or nil
	// A handler is about to run, in the turn in which the hook is called. It
	// gets the values of the context that the hook returns.
	EventBegin func(context.Context, *Object, EventInfo) context.Context
	// A handler has returned. The context is the one that EventBegin has
	// returned.
	EventDone func(context.Context, *Object, EventInfo)
}

// EventInfo describes one run of a handler.
type EventInfo struct {
	Kind      EventKind
	Method    string        // of a call, otherwise ""
	Began     time.Time     // when the event got its turn
	Wait, Run time.Duration // for the turn, and of the handler with its waits
	Err       error         // the handler's, or that of the reset
	From      *Object       // whose handler waits for the event, or nil
	// values of the handler that started the event and does not wait for it;
	// nil: there is none
	Starter context.Context
}

// EventKind is the kind of handler that an event runs.
type EventKind int

// The kinds of events. The package itself runs those of Start, Go, Timer,
// Alarm, Stop and Admin. Of the others it knows only the names.
const (
	EventStart EventKind = iota + 1
	EventReceive
	EventIdentify
	EventClusterize
	EventOpen
	EventMessage
	EventClose
	EventError
	EventGossip
	EventPresence
	EventGo
	EventTimer
	EventCall
	EventAlarm
	EventStop
	EventAdmin
)

var eventNames = [...]string{
	EventStart: "OnStart", EventReceive: "Receive", EventIdentify: "Identify", EventClusterize: "Clusterize",
	EventOpen: "OnOpen", EventMessage: "OnMessage", EventClose: "OnClose", EventError: "OnError",
	EventGossip: "OnGossip", EventPresence: "OnPresence", EventGo: "Go", EventTimer: "timer", EventCall: "Call",
	EventAlarm: "OnAlarm", EventStop: "OnStop", EventAdmin: "admin",
}

// String returns the name of the handler.
func (k EventKind) String() string {
	if k < EventStart || k > EventAdmin {
		return fmt.Sprintf("EventKind(%d)", int(k))
	}
	return eventNames[k]
}

// Starter returns the values of a handler's context for [EventInfo], or nil if
// ctx is no handler's or no hook wants them.
func (h *Host) Starter(ctx context.Context) context.Context {
	if !h.traced || turn.From(ctx) == nil {
		return nil
	}
	return turn.Apart(turn.Values(ctx))
}

// eventDone queues the EventDone hook, which must not be nil. It must be called
// before an event gives up its turn, since that decides the order of hooks.
// ends reports whether the event ends now or goes on. before is the call that
// the caller already has, for an event that ended in a reset. The caller calls
// the result when the event has ended.
func (life *Life) eventDone(
	e *turn.Event, h *handling, began time.Time, err error, ends bool, before *hookqueue.Call,
) *hookqueue.Call {
	o := life.obj
	host := o.host()
	if closed := life.turn.Closed(); ends && closed != nil {
		err = closed
	}
	info := h.info(began)
	info.Run, info.Err = time.Since(began), err
	ctx := h.traced
	if ctx == nil {
		ctx = turn.Apart(e.Values())
	}
	if before != nil {
		before.Then(func() { host.Trace.EventDone(ctx, o, info) })
		return before
	}
	return host.hooks.Add(o.ID, ends && !e.Pinned(), func() { host.Trace.EventDone(ctx, o, info) })
}

// eventBegin calls the EventBegin hook, if there is one, and returns the
// context of the handler. It also notes what eventDone passes on.
func (life *Life) eventBegin(e *turn.Event, h *handling, began time.Time) context.Context {
	if by := e.CausedBy(); by != nil {
		h.from = LifeOf(by).obj
	}
	hook := life.obj.host().Trace.EventBegin
	if hook == nil {
		return e
	}
	given := turn.Apart(e.Values())
	h.traced = given // if the hook panics
	if values := hook(given, life.obj, h.info(began)); values != nil {
		h.traced = values
	}
	return e.With(h.traced, given)
}

// info describes the handling before its handler runs.
func (h *handling) info(began time.Time) EventInfo {
	return EventInfo{
		Kind: h.kind, Method: h.method, Began: began, Wait: began.Sub(h.queued), From: h.from, Starter: h.starter,
	}
}

// traceStart counts the start of the object and queues the hook for it.
func (o *Object) traceStart() {
	o.Class.counts.starts.Add(1)
	o.Class.counts.awake.Add(1)
	if h := o.host(); h.Trace.Started != nil {
		h.hooks.Add(o.ID, false, func() { h.Trace.Started(o) })
	}
}

// traceStop counts the orderly end of a life and queues the hook for it. Its
// callers cannot wait for a hook.
func (o *Object) traceStop() {
	o.Class.counts.stops.Add(1)
	o.Class.counts.awake.Add(-1)
	if h := o.host(); h.Trace.Stopped != nil {
		h.hooks.Add(o.ID, false, func() { h.Trace.Stopped(o, nil) })
	}
}

// traceReset queues the hook for a reset. e is the event that the caller runs,
// or nil. The caller calls the result when the event has ended.
func (o *Object) traceReset(e *turn.Event, err error) *hookqueue.Call {
	h := o.host()
	if h.Trace.Stopped == nil {
		return nil
	}
	return h.hooks.Add(o.ID, e != nil && !e.Pinned(), func() { h.Trace.Stopped(o, err) })
}
