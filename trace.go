package dog

import (
	"fmt"
	"sync"
	"time"

	"github.com/godurable/dog/internal/turn"
)

// Trace has functions that are called at points of interest, for metrics and
// tracing of one's own. Any may be nil. They must not panic, and should return
// at once.
//
// They are called without the turn of any object, their callers' included, so
// they may use objects, except for SocketOpened and SocketClosed, which their
// socket waits for. A handler that calls others with a context that is not its
// own has its turn meanwhile, and no hook can know.
//
// The others come one at a time for each object, in the order in which things
// happened there, also when it has left memory between. They are called by
// whoever has brought about what they tell of, if it may wait and nothing is
// being told of the object; else by another goroutine, soon. One that hangs
// holds up what it is called for: the caller of an event, a socket, the further
// calls about this object. It holds up no other object, and no eviction. When
// more than 1,000 events of an object wait to be told because of one that
// hangs, further ones are told at once, out of order, which holds up their
// callers too.
type Trace struct {
	// ObjectStarted is called when OnStart has returned without error.
	ObjectStarted func(ObjectInfo)
	// ObjectStopped is called when an object was reset (cause is a
	// [ResetError]), also by a start that has failed, and when an object that
	// had started has left memory or hibernates (cause is nil).
	ObjectStopped func(o ObjectInfo, cause error)
	// EventDone is called when a handler has returned.
	EventDone func(EventInfo)
	// SocketOpened is called when a socket has joined its replica, before
	// OnOpen.
	SocketOpened func(*Socket)
	// SocketClosed is called when a socket has left its replica, before
	// OnClose.
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
	EventTimer                           // a function given to After or Every
	EventCall                            // a method given to Call
	EventAlarm                           // OnAlarm
	EventStop                            // OnStop
	EventAdmin                           // the library's own: export, import, deletion
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

// clock returns the time if anybody wants to know it.
func (t *Trace) clock() time.Time {
	if t.EventDone == nil {
		return time.Time{}
	}
	return time.Now()
}

// eventDone is to be called before an event gives up its turn, which is when
// the order of what is told is decided. ends says that the event ends now; else
// it goes on. before is what the caller tells already: that the event has ended
// in a reset. The caller calls what is returned when the event has ended.
func (t *Trace) eventDone(
	inst *instance, e *turn.Event, kind EventKind, method string, queued, began time.Time, err error, ends bool,
	before *telling,
) *telling {
	if t.EventDone == nil {
		return before
	}
	if closed := inst.turn.Closed(); ends && closed != nil {
		err = closed
	}
	o := inst.obj
	info := EventInfo{Object: o.info(), Kind: kind, Method: method, Wait: began.Sub(queued), Run: time.Since(began), Err: err}
	if before != nil {
		reset := before.hook
		before.hook = func() { reset(); t.EventDone(info) }
		return before
	}
	return o.runtime().hooks.tell(o, ends && !e.Pinned(), func() { t.EventDone(info) })
}

// objectStarted tells that an object has started.
func (t *Trace) objectStarted(o *object) {
	if t.ObjectStarted != nil {
		o.runtime().hooks.tell(o, false, func() { t.ObjectStarted(o.info()) })
	}
}

// objectStopped tells that an object has ended in good order. Its caller may be
// anybody, who must not wait for a hook.
func (t *Trace) objectStopped(o *object) {
	if t.ObjectStopped != nil {
		o.runtime().hooks.tell(o, false, func() { t.ObjectStopped(o.info(), nil) })
	}
}

// objectReset tells of a reset. The caller, which runs the event, or nil, calls
// what is returned when that has ended.
func (t *Trace) objectReset(o *object, e *turn.Event, cause error) *telling {
	if t.ObjectStopped == nil {
		return nil
	}
	return o.runtime().hooks.tell(o, e != nil && !e.Pinned(), func() { t.ObjectStopped(o.info(), cause) })
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

// maxTold bounds the calls that wait because a hook hangs, those aside whose
// caller must not wait.
const maxTold = 1000

// tellers is how many locks the hooks of all objects share.
const tellers = 64

// hooks calls the functions of a Trace about one object in order. It goes by
// the object's ID, which stays when the object leaves memory and comes back.
type hooks struct {
	rt     *Runtime // fixed
	shards [tellers]struct {
		mu sync.Mutex // no other is taken while it is held
		// told has an entry for each object of which something is being told:
		// what is to be told after that. guarded by mu
		told map[ID][]func()
	}
}

// A telling is a hook that whoever has brought it about calls. Nil is none.
type telling struct {
	hooks *hooks
	id    ID
	hook  func()
	alone bool // nothing else is told of the object meanwhile
}

// tell takes the next place in what is told of an object. free says that the
// caller may wait for the hook. Then it may have to call what is returned,
// soon.
func (h *hooks) tell(o *object, free bool, hook func()) *telling {
	shard := &h.shards[o.id[0]%tellers]
	shard.mu.Lock()
	waits, busy := shard.told[o.id]
	switch {
	case busy && free && len(waits) >= maxTold:
		shard.mu.Unlock()
		return &telling{hook: hook}
	case busy:
		shard.told[o.id] = append(waits, hook)
		shard.mu.Unlock()
		return nil
	}
	if shard.told == nil {
		shard.told = make(map[ID][]func())
	}
	shard.told[o.id] = nil
	shard.mu.Unlock()
	t := &telling{h, o.id, hook, true}
	if free {
		return t
	}
	h.rt.spawn(t.callAll)
	return nil
}

// call calls the hook, and has another goroutine call those that have come
// meanwhile.
func (t *telling) call() {
	if t == nil {
		return
	}
	if t.alone {
		defer func() {
			if t.hook = t.hooks.next(t.id); t.hook != nil {
				t.hooks.rt.spawn(t.callAll)
			}
		}()
	}
	t.hook()
}

// callAll calls the hook and those that come meanwhile.
func (t *telling) callAll() {
	for ; t.hook != nil; t.hook = t.hooks.next(t.id) {
		t.hook()
	}
}

// next returns what is to be told of an object next, nil when nothing is.
func (h *hooks) next(id ID) func() {
	shard := &h.shards[id[0]%tellers]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	waits := shard.told[id]
	if len(waits) == 0 {
		delete(shard.told, id)
		return nil
	}
	shard.told[id] = waits[1:]
	return waits[0]
}
