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
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

// The errors that programs tell apart, for [errors.Is]. What is returned may
// wrap them with details.

// Why a request is refused. [WriteError] answers each with a status of its own.
var (
	// ErrInvalidName: a uid or the name of an object is empty, over 1,024 bytes
	// long, not UTF-8, or has control characters.
	ErrInvalidName = errors.New("dog: invalid name")

	// ErrForeignID: not the ID of an object of this namespace.
	ErrForeignID = errors.New("dog: foreign ID")

	// ErrTooBig: a key, a value, an alarm's name or payload is over its limit.
	ErrTooBig = errors.New("dog: over a storage limit")

	// ErrGroupFull: every replica of the group has Limit connections, held
	// places among them, or is locked or draining, and there are MaxReplicas of
	// them.
	ErrGroupFull = errors.New("dog: group is full")

	// ErrSocketsFull: the object has ObjectOptions.MaxSockets sockets.
	ErrSocketsFull = errors.New("dog: the object has no room for another socket")

	// ErrOverloaded: Options.MaxWaiting events wait for the object already, or
	// there is no room for another object (Options.MaxObjects).
	ErrOverloaded = turn.ErrOverloaded

	// ErrShutdown: the runtime is shutting down or has shut down.
	ErrShutdown = errors.New("dog: shut down")
)

// What callers of objects and groups are told.
var (
	// ErrReplicaFull: a further request through the same stub found no room on
	// its replica, or found it locked; its client is answered with 503.
	// Identify again.
	ErrReplicaFull = errors.New("dog: replica is full")

	// ErrReplicaGone: the replica is being drained or has been retired.
	// Identify again.
	ErrReplicaGone = errors.New("dog: replica is draining or gone")

	// ErrReset: the object was reset while it handled the call. See
	// [ResetError].
	ErrReset = errors.New("dog: object was reset")

	// ErrDeleted: [Stub.Delete] deleted the object, which is the cause of the
	// [ResetError] that calls under way get.
	ErrDeleted = errors.New("dog: object was deleted")

	// ErrNotEmpty: [Stub.Import] was asked to replace what an object has
	// stored. Delete that first.
	ErrNotEmpty = errors.New("dog: the object has stored something already")
)

// What senders are told.
var (
	// ErrNoTarget: a whisper found no socket of the uid.
	ErrNoTarget = errors.New("dog: no socket of this uid")

	// ErrSocketClosed: the socket is closed or closing.
	ErrSocketClosed = conn.ErrClosed

	// ErrSlowConsumer: the client takes its messages too slowly. Its outbound
	// queue is full, then what was queued is dropped and the socket is closed
	// with 1008; or a write took too long, then the connection is cut (1006),
	// whatever the policy.
	ErrSlowConsumer = conn.ErrSlow

	// ErrPingTimeout: the client did not answer a ping in time.
	ErrPingTimeout = conn.ErrPingTimeout

	// ErrHeldBack: more than may wait is held back already until what the
	// object has stored is durable (see [SocketOptions].QueueBytes), because
	// the disk is slow or the handler says so much after it has stored
	// something. What was to be sent is not. Say less, or store,
	// [Storage.Sync], and go on.
	ErrHeldBack = errors.New("dog: too much is held back until what the object has stored is durable: " +
		"say less, or call Storage.Sync before")
)

// What statements of SQL fail with.
var (
	// ErrConstraint: a constraint of the schema was violated.
	ErrConstraint = store.ErrConstraint

	// ErrSQLRefused: a statement that an object may not run, or at which SQLite
	// itself failed.
	ErrSQLRefused = store.ErrRefused

	// ErrSQLLimit: over a limit of SQL, in size, steps or time.
	ErrSQLLimit = store.ErrLimit
)

// Mistakes in the use of turns, which a program may want to tell apart from
// others (see [UsageError]).
var (
	// ErrDeadlock: the call could never have returned: it waits for the turn of
	// an object that is kept (see [BlockConcurrencyWhile]) until the call
	// returns.
	ErrDeadlock = turn.ErrDeadlock

	// ErrOutsideTurn: a handler's context was used after the handler returned,
	// or in a goroutine that is not the handler's. See [Go].
	ErrOutsideTurn = turn.ErrOutside

	// ErrInTransaction: what waits cannot be called inside Storage.Transaction.
	ErrInTransaction = errors.New("dog: cannot wait inside a transaction")

	// ErrPastGate: a handler whose object has stored something that is not
	// durable yet, or may still be undone, said something that this object's
	// output gate does not see: it called with a context other than its own, or
	// used a socket, or a Go pointer, that belongs to another object. Pass the
	// handler's context, call the other object ([Call]), or do it in [Await].
	// Only [Options].CheckTurns finds that.
	ErrPastGate = errors.New("dog: said past the output gate of an object that has stored something: " +
		"pass the handler's own context, use what belongs to the object, or do it in dog.Await")
)

// What the operator has to see to.
var (
	// ErrNoStore: Options.Store is nil, or has no SQL.
	ErrNoStore = store.ErrNoStore

	// ErrStoreFull: the disk has less space left than the store needs for
	// itself (MinFree of package disk), also after it has given back what it
	// could, or none at all. Nothing is stored until there is more, and what
	// waits to be durable goes on waiting; reading goes on. [New] fails with it
	// too. A single transaction fails with it, and everything else goes on,
	// when three times its size, for its ways through the store, is not free
	// besides MinFree: on an empty volume, when it is larger than about a
	// quarter of that.
	ErrStoreFull = store.ErrFull

	// ErrStoreStalled: the disk has not answered for 10 s, or has not written
	// tables for 2 minutes. Nothing is stored until it does; what waits to be
	// durable goes on waiting, and reading goes on.
	ErrStoreStalled = store.ErrStalled

	// ErrStoreFailed: a write to the disk failed, or the data directory was
	// removed, replaced, renamed or unmounted. Nothing more is stored until the
	// program is started anew; reading goes on, of what is durable.
	ErrStoreFailed = store.ErrFailed

	// ErrStoreLocked: another process, or another runtime of this one, has the
	// data directory open.
	ErrStoreLocked = store.ErrLocked

	// ErrStoreCorrupt: stored data is damaged.
	ErrStoreCorrupt = store.ErrCorrupt

	// ErrStoreTooNew: the data directory, or the file to be imported, was
	// written by a later version of the library. Nothing is wrong with it, and
	// nothing has been changed. Go back to that version, or to a backup that
	// this one has made.
	ErrStoreTooNew = store.ErrTooNew

	// ErrStoreForeign: the data directory has files of something else, which a
	// store would overwrite. Nothing has been changed. Name another directory.
	ErrStoreForeign = store.ErrForeign
)

// A UsageError is a mistake of the program, which no retry mends: a value that
// no runtime has made, an argument that means nothing, an alarm of a type
// without OnAlarm. Find it with [errors.As].
type UsageError struct {
	Op      string // what was called, such as "Socket.Close"
	Problem string // and what is wrong with that
}

func (e *UsageError) Error() string { return "dog: " + e.Op + ": " + e.Problem }

// misuse returns a [UsageError].
func misuse(op, format string, args ...any) error {
	return &UsageError{op, fmt.Sprintf(format, args...)}
}

// notRunning returns the error for a zero Group, Replica, Stub, Socket ...
func notRunning(op string) error { return misuse(op, "the value was not made by a runtime") }

// noAlarms returns the error for an alarm of a type that does not handle any.
func (ns *namespace) noAlarms(op string) error {
	return misuse(op, "%s has no OnAlarm", ns.typ.Elem())
}

// rowsEnded returns the error for rows that are read after they have ended.
func rowsEnded() error {
	return misuse("SQL.Query",
		"the rows were read on after a wait or the end of their transaction, or in a second loop")
}

// checkClose returns why a socket cannot be closed like this, or nil.
func checkClose(op string, code int, reason string) error {
	if err := conn.CheckClose(code, reason); err != nil {
		return misuse(op, "%v", err)
	}
	return nil
}

// A ResetError says that an object was reset, and why: its memory is gone, the
// next event starts it anew. It is [ErrReset] and wraps the cause.
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

// A RegistrationError says why a type cannot be registered.
type RegistrationError struct {
	Namespace string
	Type      string
	Problem   string
}

func (e *RegistrationError) Error() string {
	return fmt.Sprintf("dog: cannot register %s as %q: %s", e.Type, e.Namespace, e.Problem)
}

// A MigrationError says which of Options.Migrations contradicts the others or
// the store, and why. The store was not changed.
type MigrationError struct {
	Tag     string // "" when it has none
	Problem string
}

func (e *MigrationError) Error() string {
	return fmt.Sprintf("dog: migration %q refused: %s", e.Tag, e.Problem)
}

// A StatusError is an error with the HTTP answer that [WriteError] gives for
// it: what [Receiver], [Gateway] and methods that are called return to refuse a
// request.
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

// retryAfter is what clients are told to wait when there is no room: long
// enough for places to fall free, short for a person.
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

// HTTPStatus returns the status with which [WriteError] answers an error: that
// of a [StatusError], or of a refused upgrade; 400 for [ErrInvalidName], 404
// for [ErrForeignID], 413 for [ErrTooBig], 503 when there is no room or the
// service is stopping, and 500 for everything else. It is 200 for nil.
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
// [HTTPStatus], and with Retry-After where a later try may help. The body is
// the text of a [StatusError], or the standard text of the status: what else
// err says stays here.
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
