package dog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/turn"
)

// The errors that callers tell apart, for [errors.Is]. What is returned may wrap them with details.
var (
	// ErrNotRunning: the value does not belong to a runtime: a zero Group, Replica, Stub, Socket ...
	ErrNotRunning = errors.New("dog: not running: the value was not made by a runtime")

	// ErrShutdown: the runtime is shutting down or has shut down.
	ErrShutdown = errors.New("dog: shut down")

	// ErrRegistration: a type cannot be registered. See [RegistrationError].
	ErrRegistration = errors.New("dog: registration refused")

	// ErrInvalidName: a uid or the name of an object is empty, over 1,024 bytes long,
	// not UTF-8, or has control characters.
	ErrInvalidName = errors.New("dog: invalid name")

	// ErrSocketsFull: the object has ObjectOptions.MaxSockets sockets.
	ErrSocketsFull = errors.New("dog: the object has no room for another socket")

	// ErrGroupFull: every replica of the group has Limit connections, held places
	// among them, or is locked or draining, and there are MaxReplicas of them.
	ErrGroupFull = errors.New("dog: group is full")

	// ErrReplicaFull: a further request through the same stub found no room on its
	// replica, or found it locked; its client is answered with 503. Identify again.
	ErrReplicaFull = errors.New("dog: replica is full")

	// ErrReplicaGone: the replica is being drained or has been retired. Identify again.
	ErrReplicaGone = errors.New("dog: replica is draining or gone")

	// ErrReplicaExists: Clusterize returned a name that a live replica of the group has already.
	ErrReplicaExists = errors.New("dog: a replica of this name exists")

	// ErrNoTarget: a whisper found no socket of the uid.
	ErrNoTarget = errors.New("dog: no socket of this uid")

	// ErrNoGossip: the replica's type has no OnGossip.
	ErrNoGossip = errors.New("dog: replica does not answer gossip")

	// ErrDeadlock: the call could never have returned: it waits for the turn of an object that is kept (see
	// [BlockConcurrencyWhile]) until the call returns.
	ErrDeadlock = turn.ErrDeadlock

	// ErrOutsideTurn: a handler's context was used after the handler returned, or in a goroutine that is not the handler's.
	// See [Go].
	ErrOutsideTurn = turn.ErrOutside

	// ErrPastGate: a handler whose object has stored something that is not
	// durable yet, or may still be undone, said something that this object's
	// output gate does not see: it called with a context other than its own, or
	// used a socket, or a Go pointer, that belongs to another object. Pass the
	// handler's context, call the other object ([Call]), or do it in [Await].
	// Only [Options].CheckTurns finds that.
	ErrPastGate = errors.New("dog: said past the output gate of an object that has stored something: " +
		"pass the handler's own context, use what belongs to the object, or do it in dog.Await")

	// ErrHeldBack: more than may wait is held back already until what the object
	// has stored is durable (see [SocketOptions].QueueBytes), because the disk
	// is slow or the handler says so much after it has stored something. What
	// was to be sent is not. Say less, or store, [Storage.Sync], and go on.
	ErrHeldBack = errors.New("dog: too much is held back until what the object has stored is durable: " +
		"say less, or call Storage.Sync before")

	// ErrOverloaded: Options.MaxWaiting events wait for the object already, or there
	// is no room for another object (Options.MaxObjects). A request is answered with
	// 503.
	ErrOverloaded = turn.ErrOverloaded

	// ErrForeignID: not the ID of an object of this namespace.
	ErrForeignID = errors.New("dog: foreign ID")

	// ErrReset: the object was reset while it handled the call. See [ResetError].
	ErrReset = errors.New("dog: object was reset")

	// ErrSocketClosed: the socket is closed or closing.
	ErrSocketClosed = conn.ErrClosed

	// ErrSlowConsumer: the client takes its messages too slowly. Its outbound queue is full, then what was queued is dropped and the
	// socket is closed with 1008; or a write took too long, then the connection is cut (1006), whatever the policy.
	ErrSlowConsumer = conn.ErrSlow

	// ErrMessageTooBig: the client sent a message over the limit; its socket was closed with 1009.
	ErrMessageTooBig = conn.ErrTooBig

	// ErrInvalidUTF8: text that is not UTF-8. From a client: its socket was closed with 1007.
	ErrInvalidUTF8 = conn.ErrInvalidUTF8

	// ErrProtocol: the client broke the WebSocket protocol; its socket was closed with 1002.
	ErrProtocol = conn.ErrProtocol

	// ErrPingTimeout: the client did not answer a ping in time.
	ErrPingTimeout = conn.ErrPingTimeout

	// ErrCloseCode: a close code that an application must not send.
	ErrCloseCode = conn.ErrCloseCode

	// ErrCloseReason: a close reason over 123 bytes, or not UTF-8.
	ErrCloseReason = conn.ErrCloseReason

	// ErrAttachment: an attachment over 16,384 bytes encoded.
	ErrAttachment = errors.New("dog: attachment is over 16,384 bytes")

	// ErrTags: more than 10 distinct tags, or one over 256 bytes.
	ErrTags = errors.New("dog: at most 10 distinct tags of at most 256 bytes")
)

// A ResetError says that an object was reset, and why: its memory is gone, the next event starts it anew. It is [ErrReset]
// and wraps the cause.
type ResetError struct {
	Object ID
	Cause  error
}

func (e *ResetError) Error() string {
	return fmt.Sprintf("dog: object %s was reset: %v", e.Object, e.Cause)
}

// Is reports that the error is [ErrReset].
func (e *ResetError) Is(target error) bool { return target == ErrReset }

// Unwrap returns the cause.
func (e *ResetError) Unwrap() error { return e.Cause }

// A PanicError is a panic in a handler, as the cause of a [ResetError].
type PanicError struct {
	Value any    // what was given to panic; nil when the handler ended its goroutine (runtime.Goexit)
	Stack []byte // of the panicking goroutine
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return "the handler ended its goroutine (runtime.Goexit)"
	}
	return fmt.Sprintf("panic: %v", e.Value)
}

// Unwrap returns the panic's value when it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A RegistrationError says why a type cannot be registered. It is [ErrRegistration].
type RegistrationError struct {
	Namespace string
	Type      string
	Problem   string
}

func (e *RegistrationError) Error() string {
	return fmt.Sprintf("dog: cannot register %s as %q: %s", e.Type, e.Namespace, e.Problem)
}

// Is reports that the error is [ErrRegistration].
func (e *RegistrationError) Is(target error) bool { return target == ErrRegistration }

// A StatusError is an error with the HTTP answer that [WriteError] gives for it:
// what [Receiver], [Gateway] and methods that are called return to refuse a request.
type StatusError struct {
	Status     int           // 400 to 599; any other is answered with 500
	Text       string        // for the client; "": the standard text of the status
	RetryAfter time.Duration // for the client, in whole seconds, rounded up; 0: nothing
	Err        error         // for the log; may be nil
}

func (e *StatusError) Error() string {
	text := e.text()
	if e.Err != nil {
		return text + ": " + e.Err.Error()
	}
	return text
}

func (e *StatusError) text() string { return cmp.Or(e.Text, http.StatusText(e.Status)) }

// Unwrap returns Err.
func (e *StatusError) Unwrap() error { return e.Err }

// Is reports that target is a StatusError with the same status and text.
func (e *StatusError) Is(target error) bool {
	t, ok := target.(*StatusError)
	return ok && t.Status == e.Status && t.Text == e.Text
}

// retryAfter is what clients are told to wait when there is no room: long enough
// for places to fall free, short for a person.
const retryAfter = 2 * time.Second

// statuses are those with which errors are answered.
var statuses = []struct {
	err    error
	status int
}{
	{ErrInvalidName, http.StatusBadRequest},
	{ErrForeignID, http.StatusNotFound},
	{ErrTooBig, http.StatusRequestEntityTooLarge},
	{ErrGroupFull, http.StatusServiceUnavailable},
	{ErrReplicaFull, http.StatusServiceUnavailable},
	{ErrReplicaGone, http.StatusServiceUnavailable},
	{ErrSocketsFull, http.StatusServiceUnavailable},
	{ErrShutdown, http.StatusServiceUnavailable},
	{ErrOverloaded, http.StatusServiceUnavailable},
	{ErrStoreFull, http.StatusServiceUnavailable},
	{ErrStoreStalled, http.StatusServiceUnavailable},
	{ErrStoreFailed, http.StatusServiceUnavailable},
	{context.Canceled, http.StatusServiceUnavailable},
	{context.DeadlineExceeded, http.StatusServiceUnavailable},
}

// HTTPStatus returns the status with which [WriteError] answers an error: that of
// a [StatusError], or of a refused upgrade; 400 for [ErrInvalidName], 404 for
// [ErrForeignID], 413 for [ErrTooBig], 503 when there is no room or the service is
// stopping, and 500 for everything else. It is 200 for nil.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if s, ok := errors.AsType[*StatusError](err); ok {
		if s.Status < 400 || s.Status > 599 {
			return http.StatusInternalServerError
		}
		return s.Status
	}
	if h, ok := errors.AsType[*conn.HandshakeError](err); ok && h.Status != 0 {
		return h.Status
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// WriteError answers a request that failed with err, with the status of
// [HTTPStatus], and with Retry-After where a later try may help. The body is the
// text of a [StatusError], or the standard text of the status: what else err says
// stays here.
func WriteError(w http.ResponseWriter, err error) {
	status, text, wait := HTTPStatus(err), "", time.Duration(0)
	if s, ok := errors.AsType[*StatusError](err); ok && s.Status == status {
		text, wait = s.Text, s.RetryAfter
	} else if status == http.StatusServiceUnavailable {
		wait = retryAfter
	}
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	}
	http.Error(w, cmp.Or(text, http.StatusText(status)), status)
}
