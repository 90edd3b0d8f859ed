package dog

import (
	"context"
	"fmt"
	"net/http"

	"github.com/godurable/dog/internal/object"
)

// This file defines the handlers of user types. Each handler is optional unless
// its documentation states otherwise, takes one turn of its object (see
// [Object]), and is checked when the type is registered. Registration refuses a
// method that is nearly a handler, by name or by signature. It also refuses any
// other exported method whose name begins with On as handlers' names do, such
// as OnConnect, because it would never be called. The context of a handler
// belongs to its goroutine. It ends when the object is stopped, not when a
// client goes away. An error that a handler returns is logged and changes
// nothing else, unless the handler's documentation states otherwise. A panic
// resets the object (see [ErrReset]).

// A Receiver handles the HTTP requests that reach an object through a stub.
// Without it, a Replica, or an Object that has a handler of sockets or
// [Presence], treats each request as [Object.Connect] does, and refuses one
// that asks for no WebSocket or comes from a page of another origin before it
// starts an object or takes a place. Any other type responds with 404. The
// place that the request takes on a replica is free again when Receive has
// returned, unless Connect passed it on to a socket.
//
// If Receive returns an error and has not responded yet, [WriteError] responds.
// A redirect is a response and no error: call [http.Redirect] and return nil.
// If RollbackOnError is set, the error also undoes the handler's writes. The
// response to a panic is 500.
//
// w and r behave as those of net/http: statuses, lengths, trailers,
// informational responses and [http.ResponseController] have the same effects
// and errors. An invalid status causes a panic in the handler. w is an
// [http.Hijacker] where the connection can be taken over.
//
// r's context carries the [UID]. It does not end when the client goes away (see
// [ClientGone]). A body of up to 64 KiB whose length the client gave has been
// read when Receive begins. If such a body is cut short, the response is 400.
// Reading any other body waits for the client. It takes no context and so keeps
// the turn: read it in [Await].
//
// A response of up to a megabyte is written after the turn. A longer response,
// flushed output, informational responses, and output before a Hijack are
// written to the client while Receive runs. In [Await] these writes wait as
// long as the client takes. While the handler holds the turn they wait for ten
// seconds in total. Then they fail with [ErrSlowConsumer] and the response is
// aborted. After a write to storage a response cannot leave before the turn has
// ended, so one of more than 16 MiB is refused: see [ErrHeldBack].
//
// If a middleware has put its own ResponseWriter or body in front of the
// object, a panic in it does not count as the handler's. The handler's writes
// and reads on it fail, the data that the handler stores is kept, and ServeHTTP
// continues the panic when Receive has returned.
//
// A panic with [http.ErrAbortHandler] aborts the response, as in net/http.
// Otherwise it is treated like an error: the object keeps running, and the
// handler's writes are kept unless RollbackOnError is set. The client sees the
// abort at the time at which it could have received a response.
//
// Hijack of w (see [http.Hijacker]) ends the handler's transaction. It keeps
// the turn until the object's writes are durable, since writes to the
// connection are not held afterwards. Call [Storage.Sync] before sending
// anything that depends on a later write. Inside a Transaction, Hijack returns
// ErrInTransaction.
type Receiver interface {
	Receive(w http.ResponseWriter, r *http.Request) error
}

// A Starter prepares an object before its first event, and again after a reset
// or a hibernation. OnStart keeps its turn, even while it waits, and runs in a
// goroutine of its own.
//
// An error resets the object. All events that have waited for the start fail
// with [ErrReset]. The next event tries again, at once. The same happens when a
// start takes longer than Options.StartTimeout, or is ended by [Stub.Abort].
// The exception is an object that wakes from hibernation
// (ObjectOptions.Hibernate) with open sockets. Then OnStart is retried after 1
// s, and again 2 s later, while the events wait. If it still fails, the sockets
// are closed with 1011.
//
// A group cannot Identify on itself in OnStart: that is ErrDeadlock.
type Starter interface {
	OnStart(ctx context.Context) error
}

// A Gateway is a Group that finds the uid of each request and passes the
// request to that uid's replica. Its stub serves an HTTP request by calling
// Identify, which runs in the group's turn, so a slow lookup belongs in
// [Await]. The response to an error is that of [WriteError]. A [StatusError] is
// the program's own answer and is not logged above Debug, unless its status is
// 500. For an error that carries no status the response is 403, and a warning
// is logged once a minute. If RollbackOnError is set, the error also undoes
// Identify's writes. The group's Receive is never called.
type Gateway interface {
	Identify(r *http.Request) (uid string, err error)
}

// An AlarmHandler runs when an alarm is due (see [Alarms]). If it returns an
// error or panics, it runs again later, as described there.
type AlarmHandler interface {
	OnAlarm(ctx context.Context, alarm Alarm) error
}

// A Stopper runs before its object is dropped from memory, because the object
// is idle or the runtime shuts down. OnStop is the last event of this value. It
// keeps the turn, and its writes are kept. It is not called when the object is
// reset or when the process dies, so do not rely on it for anything that
// matters. At most 64 OnStop handlers run at a time. Those that have run for
// more than a second do not count, so none delays others for longer.
type Stopper interface {
	OnStop(ctx context.Context, reason StopReason) error
}

// A Clusterizer names the next replica of a Group. Clusterize is called when
// all other replicas are full. uid is one of the uids that wait for the new
// replica. The name must not be that of a live replica of the group.
//
// An error fails the waiting Identify calls. So does a reset of the group while
// Clusterize runs, by [Stub.Abort] for example: the calls do not wait for a
// Clusterize that hangs, and the next Identify calls it again. Without
// Clusterize, or when it returns "", replicas have random IDs and no name.
//
// Do not name the replica after the client that uid stands for: the replica
// serves other clients too, and the next one would get its data (see
// [Replica]).
type Clusterizer interface {
	Clusterize(ctx context.Context, uid string) (name string, err error)
}

// An OpenHandler of an Object or a Replica runs when a socket has joined,
// before the socket's first message. An error closes the socket with 1011.
// OnOpen does not run if the object has to start for it and the start fails or
// is ended by a reset. The socket is then closed with 1011, and OnClose runs.
type OpenHandler interface {
	OnOpen(ctx context.Context, s *Socket) error
}

// A MessageHandler of an Object or a Replica runs for each message of each
// socket. The next message of a socket is handled after the handler of the
// previous one has returned.
type MessageHandler interface {
	OnMessage(ctx context.Context, s *Socket, m Message) error
}

// A CloseHandler of an Object or a Replica runs exactly once for each socket
// that had joined, after the socket has left. code and reason are those of the
// side that closed first. code is 1006 when the connection was lost. OnClose
// also runs if OnOpen has not run or has failed, so it must not assume that
// OnOpen has done its work. There is one exception: OnClose does not run if the
// object was reset before and the start that must precede OnClose fails or is
// ended by another reset, for example because the store has failed.
type CloseHandler interface {
	OnClose(ctx context.Context, s *Socket, code int, reason string) error
}

// An ErrorHandler of an Object or a Replica runs before OnClose when the
// connection failed instead of being closed: it was lost, silent, too slow, or
// broke the protocol. cause is a *[CloseError].
type ErrorHandler interface {
	OnError(ctx context.Context, s *Socket, cause error) error
}

// A GossipHandler of a Replica replies to the gossip of its siblings and its
// group. The result travels as JSON.
type GossipHandler interface {
	OnGossip(ctx context.Context, m Message) (any, error)
}

// A PresenceHandler of an Object or a Group runs when the members of the object
// or group have changed, if its options have [Presence]. It gets the changes
// within Presence.Every together, up to 1,000 members or 64 KiB of uids and
// values. If there are more, the next change follows at once. A change is
// delivered when OnPresence has returned for the previous one.
//
// OnPresence gets the same change again, with the same Seq, if it returns an
// error or panics, if the object is reset or cannot start, and if the handler's
// writes cannot be made durable. Later changes wait for that. The first pause
// is Presence.Every. Each further pause is twice as long, up to a minute. So
// each change arrives at least once, and in order. To apply each change exactly
// once, store the last Seq together with the handler's writes, and skip changes
// whose Seq is not greater. No change is delivered after Shutdown has begun:
// the next process delivers it, if there is a store.
type PresenceHandler interface {
	OnPresence(ctx context.Context, change PresenceChange) error
}

// StopReason is the reason why an object is dropped from memory.
type StopReason int

// The stop reasons.
const (
	StopIdle     = StopReason(object.StopIdle)     // the object was idle for a while, or there are too many objects
	StopShutdown = StopReason(object.StopShutdown) // the runtime shuts down
)

func (r StopReason) String() string {
	switch r {
	case StopIdle:
		return "idle"
	case StopShutdown:
		return "shutdown"
	}
	return fmt.Sprintf("StopReason(%d)", int(r))
}
