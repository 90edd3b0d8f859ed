package dog

import (
	"context"
	"net/http"
)

// What a user type may handle. Each handler is optional unless it says
// otherwise, takes one turn of its object (see [Object]), and is checked when
// the type is registered. A method that is nearly one of these, by name or by
// signature, is refused there, and so is any other exported method whose name
// begins with On as handlers' do, such as OnConnect: it would never be called.
// The context of a handler belongs to its goroutine and ends when the object is
// stopped, not when a client goes away. An error that a handler returns is
// logged and, unless it says otherwise here, changes nothing else; a panic
// resets the object (see [ErrReset]).

// A Receiver handles the HTTP requests that reach it through a stub. Without
// it, a Replica, or an Object that has a handler of sockets, does what
// [Object.Connect] does with each request; any other type answers 404. The
// place that the request takes on a replica is free again when Receive has
// returned, unless Connect passed it on to a socket.
//
// An error is answered by [WriteError] if nothing has been answered yet, and
// undoes what was stored if RollbackOnError says so. A panic is answered with
// 500.
//
// w and r behave as those of net/http: statuses, lengths, trailers,
// informational answers and [http.ResponseController] have the same effects and
// errors. An invalid status is a panic of the handler. w is an [http.Hijacker]
// where the connection can be taken over.
//
// r's context does not end when the client goes away (see [ClientGone]); it
// knows the [UID]. A body of up to 64 KiB whose length the client gave
// has been read when Receive begins; one that is cut short is answered with
// 400. Reading any other body waits for the client and, as it takes no context,
// keeps the turn: do it in [Await].
//
// An answer of up to a megabyte is written after the turn. A longer one, what
// is flushed, informational answers, and what comes before a Hijack are written
// to the client while Receive runs. In [Await] these writes wait as long as the
// client takes. With the turn they wait for ten seconds in all, then they fail
// with [ErrSlowConsumer] and the answer is broken off.
//
// A panic of the ResponseWriter or of the body that a middleware has put in
// front of the object is not the handler's: its writes and reads fail, what it
// stores is kept, and the panic goes on from ServeHTTP when Receive has
// returned.
//
// A panic with [http.ErrAbortHandler] breaks the answer off, as in net/http,
// and is no more than an error otherwise: the object goes on, and keeps what
// the handler stored unless RollbackOnError is set. The client learns of it
// when it may learn of an answer.
//
// Hijack of w (see [http.Hijacker]) ends the handler's transaction and keeps
// the turn until what the object has stored is durable, since nothing holds
// back what is written to the connection afterwards: call [Storage.Sync] before
// telling of what is stored later. ErrInTransaction inside of a Transaction.
type Receiver interface {
	Receive(w http.ResponseWriter, r *http.Request) error
}

// A Starter prepares an object before its first event, and again after a reset
// or a hibernation. It keeps its turn, waiting or not, and runs in a goroutine
// of its own. An error resets the object: all events that have waited for the
// start fail with [ErrReset], the next one tries again, at once. So does a
// start that takes longer than Options.StartTimeout, or is ended by
// [Stub.Abort]. Only when a an object wakes whose sockets were open meanwhile
// (ObjectOptions.Hibernate), OnStart is tried again after 1 s and after 2 s
// more, and the events wait; then its sockets are closed with 1011. A group
// cannot Identify on itself in OnStart: that is ErrDeadlock.
type Starter interface {
	OnStart(ctx context.Context) error
}

// Gateway makes a Group a gateway: its stub serves HTTP by asking Identify, in
// the group's turn (a slow look-up belongs in [Await]), who sends the request
// and handing it on to that uid's replica. An error is answered by
// [WriteError], with 403 if it carries no status. The group's Receive is then
// never called.
type Gateway interface {
	Identify(r *http.Request) (uid string, err error)
}

// An AlarmHandler runs when an alarm is due (see [Alarms]). An error, or a
// panic, has it run again later: see there.
type AlarmHandler interface {
	OnAlarm(ctx context.Context, alarm Alarm) error
}

// A Stopper is told that its object is about to be dropped from memory: because
// it is idle, or the runtime shuts down. It is the last event of this value; it
// keeps the turn, and what it stores is kept. It is not called when the object
// is reset, nor when the process dies, so nothing that matters may depend on
// it. OnStop of 64 objects runs at a time, and none keeps others waiting for
// more than a second.
type Stopper interface {
	OnStop(ctx context.Context, reason StopReason) error
}

// A Clusterizer names the next replica of a Group, called when all others are
// full; uid is one of those that wait for it. The name must not be that of a
// live replica of the group. An error fails the Identify calls that wait, and
// so does a reset of the group, by [Stub.Abort] for example, while Clusterize
// runs: they do not wait for one that hangs, and the next Identify asks again.
// Without Clusterize, or when it returns "", replicas have random IDs and no
// name.
type Clusterizer interface {
	Clusterize(ctx context.Context, uid string) (name string, err error)
}

// An OpenHandler of an Object or a Replica runs when a socket has joined and
// before its first message. An error closes the socket with 1011.
type OpenHandler interface {
	OnOpen(ctx context.Context, s *Socket) error
}

// A MessageHandler of an Object or a Replica runs for each message of each
// socket. The next message of a socket starts when the handler of the one
// before has returned.
type MessageHandler interface {
	OnMessage(ctx context.Context, s *Socket, m Message) error
}

// A CloseHandler of an Object or a Replica runs exactly once for each socket
// that had joined, when it has left: with the code and the reason of whoever
// closed first, or 1006 when the connection was lost. The one exception: the
// replica was reset before, and its OnStart fails when it is to start again for
// this.
type CloseHandler interface {
	OnClose(ctx context.Context, s *Socket, code int, reason string) error
}

// An ErrorHandler of an Object or a Replica runs before OnClose when the
// connection failed rather than being closed: lost, silent, too slow, or
// against the protocol. cause is a *[CloseError].
type ErrorHandler interface {
	OnError(ctx context.Context, s *Socket, cause error) error
}

// A GossipHandler of a Replica answers the gossip of its siblings and its
// group. The result travels as JSON.
type GossipHandler interface {
	OnGossip(ctx context.Context, m Message) (any, error)
}
