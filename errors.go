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
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// The errors that programs test for with [errors.Is]. Returned errors may wrap
// them with details.

// Errors for a refused request. [WriteError] maps each of them to an HTTP
// status.
var (
	// ErrInvalidName is returned for a uid or the name of an object that is
	// empty, longer than 1,024 bytes, not UTF-8, or has control characters.
	ErrInvalidName = errors.New("dog: invalid name")

	// ErrForeignID is returned for an ID that is not the ID of an object of the
	// namespace.
	ErrForeignID = errors.New("dog: foreign ID")

	// ErrTooBig is returned for a key, a value, or an alarm's name or payload
	// that is over its limit.
	ErrTooBig = errors.New("dog: over a storage limit (store less, or in parts)")

	// ErrGroupFull is returned when the group has MaxReplicas replicas and each
	// of them has Limit connections, including held places, or is locked or
	// draining.
	ErrGroupFull = errors.New("dog: group is full: raise Limit or MaxReplicas, or let the client try again later")

	// ErrSocketsFull is returned when the object has ObjectOptions.MaxSockets
	// sockets.
	ErrSocketsFull = errors.New("dog: the object has no room for another socket: " +
		"raise MaxSockets, or let the client try again later")

	// ErrOverloaded is returned when Options.MaxWaiting events already wait for
	// the object, or there is no room for another object (Options.MaxObjects).
	ErrOverloaded = turn.ErrOverloaded

	// ErrShutdown is returned when the runtime is shutting down or has shut
	// down.
	ErrShutdown = object.ErrShutdown
)

// Errors for callers of objects and groups.
var (
	// ErrReplicaFull is the reason why a further request through the stub of a
	// replica gets 503: the replica has no room, or is locked. Call Identify
	// again.
	ErrReplicaFull = errors.New("dog: replica is full (call Identify again)")

	// ErrReplicaGone is returned when the replica is being drained or has been
	// retired. Call Identify again.
	ErrReplicaGone = errors.New("dog: replica is draining or gone: call Identify again")

	// ErrReset is returned when the object was reset during the call, could not
	// start, or could not make its writes durable. See [ResetError].
	ErrReset = object.ErrReset

	// ErrDeleted is the cause of the [ResetError] that calls in progress get
	// when [Stub.Delete] deletes the object.
	ErrDeleted = object.ErrDeleted

	// ErrNotEmpty is returned by [Stub.Import] if the object has stored data.
	// Delete the data first.
	ErrNotEmpty = errors.New("dog: the object has stored data already: delete it first")
)

// Errors for senders.
var (
	// ErrNoTarget is returned by Whisper and Disconnect if the uid has no
	// socket. A Whisper that a history keeps then returns 0 and no error.
	ErrNoTarget = errors.New("dog: no socket of this uid")

	// ErrSocketClosed is returned if the socket is closed or closing.
	ErrSocketClosed = conn.ErrClosed

	// ErrSlowConsumer is the error for a client that takes its messages too
	// slowly. If its policy ([SocketOptions].Slow) closes the socket, it does
	// so with 1008 and drops what waits. A client that takes nothing for
	// WriteTimeout is cut off (1006) with any policy.
	ErrSlowConsumer = conn.ErrSlow

	// ErrPingTimeout is the error for a client that did not answer a ping in
	// time.
	ErrPingTimeout = conn.ErrPingTimeout

	// ErrHeldBack is returned by a send when the object already holds back the
	// maximum (see [SocketOptions].QueueBytes) until its writes are durable.
	// Either the disk is slow or the handler sends too much after it has stored
	// something. The message is not sent. Send less, or store, call
	// [Storage.Sync], and go on.
	//
	// A handler that has stored something and then writes a response of more
	// than 16 MiB in pieces gets it from Write. From then on the response is
	// broken, whatever the handler returns: the client gets 500, or if it has
	// received a part, the response is broken off. Call Sync before writing the
	// response.
	ErrHeldBack = errors.New("dog: too much output is held until the object's writes are durable: " +
		"send less, or call Storage.Sync first")
)

// Errors for SQL statements.
var (
	// ErrConstraint is returned when a constraint of the schema is violated.
	ErrConstraint = store.ErrConstraint

	// ErrSQLRefused is returned for a statement that an object may not run, or
	// at which SQLite itself failed.
	ErrSQLRefused = store.ErrRefused

	// ErrSQLLimit is returned for a statement over a limit of SQL, in size,
	// steps or time.
	ErrSQLLimit = store.ErrLimit
)

// Errors in the use of turns that a program may want to test for. For others,
// see [UsageError].
var (
	// ErrDeadlock is returned for a call that could never return: it waits for
	// the turn of an object that keeps its turn until the call returns (see
	// [BlockConcurrencyWhile]). A handler that calls its own object with a
	// context other than its own waits for itself, too. Only Options.CheckTurns
	// detects this.
	ErrDeadlock = turn.ErrDeadlock

	// ErrOutsideTurn is returned when a handler's context is used after the
	// handler has returned, or in another goroutine than the handler's. See
	// [Go].
	ErrOutsideTurn = turn.ErrOutside

	// ErrInTransaction is returned in Storage.Transaction by functions that
	// wait, and by DeleteAll after changes by SQL.
	ErrInTransaction = tx.ErrNested

	// ErrPastGate is returned when a handler sends something past its object's
	// output gate while the object has writes that are not durable or may still
	// be undone. The handler has made a call with a context other than its own,
	// or has used a socket, or a Go pointer, that belongs to another object.
	// Pass the handler's context, call the other object ([Call]), or do it in
	// [Await]. Nothing was done. Only [Options].CheckTurns detects these uses.
	//
	// There is one exception. A Whisper, Disconnect or Gossip of a replica, a
	// group or a socket whose context belongs to no handler waits for the event
	// that has the object's turn, if that event has written something. If the
	// caller is the handler of that event, it waits for itself. CheckTurns
	// detects this at once. Without CheckTurns the call returns ErrPastGate
	// after 30 s. Any other caller also gets ErrPastGate if the event takes 30
	// s after its write, and may call again. A slow disk does not cause it.
	ErrPastGate = object.ErrPastGate
)

// Errors that need the operator's attention.
var (
	// ErrNoStore is returned if Options.Store is nil or has no SQL.
	ErrNoStore = store.ErrNoStore

	// ErrStoreFull is returned when the disk is full, or has less free space
	// than the store needs for itself (MinFree of package disk) even after the
	// store has freed what it could. Nothing is stored until there is more
	// space. Writes that wait to become durable keep waiting, and reading goes
	// on. [New] returns ErrStoreFull too. A single transaction fails with it,
	// and everything else goes on, if three times the transaction's size is not
	// free in addition to MinFree, since its data passes through several places
	// in the store. On an empty volume that happens to a transaction larger
	// than about a quarter of the volume.
	ErrStoreFull = store.ErrFull

	// ErrStoreStalled is returned when the disk has not responded for 10 s, or
	// has not written tables for 2 minutes. Nothing is stored until it does.
	// Writes that wait to become durable keep waiting, and reading goes on.
	ErrStoreStalled = store.ErrStalled

	// ErrStoreFailed is returned after a write to the disk has failed, or the
	// data directory was removed, replaced, renamed or unmounted. Nothing more
	// is stored until the program is restarted. Durable data can still be read.
	ErrStoreFailed = store.ErrFailed

	// ErrStoreLocked is returned when another process, or another runtime of
	// this process, has the data directory open. disk.Options.Wait waits for a
	// process that is leaving.
	ErrStoreLocked = store.ErrLocked

	// ErrStoreCorrupt is returned when stored data is damaged.
	ErrStoreCorrupt = store.ErrCorrupt

	// ErrStoreTooNew is returned when a later version of the library has
	// written the data directory or the file to be imported. The data is intact
	// and has not been changed. Go back to that version, or to a backup made by
	// this version.
	ErrStoreTooNew = store.ErrTooNew

	// ErrStoreForeign is returned when the data directory has files of another
	// program that a store would overwrite. Nothing has been changed. Choose
	// another directory.
	ErrStoreForeign = store.ErrForeign
)

// A UsageError reports a mistake in the program, which a retry does not fix: a
// value that was not made by a runtime, an argument without meaning, an alarm
// for a type without OnAlarm. Find it with [errors.As].
type UsageError struct {
	Op      string // the function called, such as "Socket.Close"
	Problem string // what is wrong with the call
}

func (e *UsageError) Error() string { return "dog: " + e.Op + ": " + e.Problem }

// misuse returns a [UsageError].
func misuse(op, format string, args ...any) error {
	return &UsageError{op, fmt.Sprintf(format, args...)}
}

// notRunning returns the error for a zero Group, Replica, Stub, Socket ...
func notRunning(op string) error { return misuse(op, "the value was not made by a runtime") }

// A ResetError reports that an object was reset, and why. The object's memory
// is gone and the next event starts it again. A ResetError is [ErrReset] and
// wraps the cause.
type ResetError struct {
	Object ID
	Cause  error
}

func (e *ResetError) Error() string {
	return fmt.Sprintf("dog: object %s was reset: %v", e.Object, e.Cause)
}

// Is reports whether target is [ErrReset].
func (e *ResetError) Is(target error) bool { return target == ErrReset }

// Unwrap returns the cause.
func (e *ResetError) Unwrap() error { return e.Cause }

// A PanicError describes a panic in a handler. It is the cause of a
// [ResetError].
type PanicError struct {
	Value any    // the argument of panic; nil if the handler ended its goroutine (runtime.Goexit)
	Stack []byte // of the panicking goroutine
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return "the handler ended its goroutine (runtime.Goexit)"
	}
	return fmt.Sprintf("panic: %v", e.Value)
}

// Unwrap returns the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// A RegistrationError reports why a type cannot be registered.
type RegistrationError struct {
	Namespace string
	Type      string
	Problem   string
}

func (e *RegistrationError) Error() string {
	return fmt.Sprintf("dog: cannot register %s as %q: %s", e.Type, e.Namespace, e.Problem)
}

// A MigrationError reports which of Options.Migrations contradicts the others
// or the store, and why. The store was not changed.
type MigrationError struct {
	Tag     string // "" if it has no tag
	Problem string
}

func (e *MigrationError) Error() string {
	return fmt.Sprintf("dog: migration %q refused: %s", e.Tag, e.Problem)
}

// A StatusError is an error with the HTTP response that [WriteError] sends for
// it. [Receiver], [Gateway] and called methods return it to refuse a request.
type StatusError struct {
	Status     int           // 400 to 599; any other value is sent as 500
	Text       string        // for the client; "": the standard text of the status
	RetryAfter time.Duration // for the client, in whole seconds, rounded up; 0: no header
	Err        error         // for the log; may be nil
}

func (e *StatusError) Error() string {
	if e == nil {
		return "dog: a nil StatusError"
	}
	text := cmp.Or(e.Text, http.StatusText(e.Status), fmt.Sprintf("status %d", e.Status))
	if e.Err != nil {
		return text + ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *StatusError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Is reports whether target is a StatusError with the same status and text.
func (e *StatusError) Is(target error) bool {
	t, ok := target.(*StatusError)
	return ok && (t == e || t != nil && e != nil && t.Status == e.Status && t.Text == e.Text)
}

// retryAfter is the Retry-After sent when there is no room: long enough for
// places to become free, short for a person.
const retryAfter = 2 * time.Second

// statuses maps errors to the HTTP statuses of their responses.
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

// HTTPStatus returns the status that [WriteError] sends for an error:
//   - the status of a [StatusError] or of a refused upgrade,
//   - 400 for [ErrInvalidName], 404 for [ErrForeignID], 413 for [ErrTooBig],
//   - 503 when there is no room ([ErrGroupFull], [ErrReplicaFull],
//     [ErrReplicaGone], [ErrSocketsFull], [ErrOverloaded]), when the store
//     cannot write ([ErrStoreFull], [ErrStoreStalled], [ErrStoreFailed]), when
//     the service is stopping ([ErrShutdown]), and for the end of a context
//     ([context.Canceled], [context.DeadlineExceeded]),
//   - 500 for any other error and for a panic, whatever its value, and 200 for
//     nil.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if _, panicked := errors.AsType[*PanicError](err); panicked {
		return http.StatusInternalServerError
	}
	if s, ok := errors.AsType[*StatusError](err); ok {
		if s == nil || s.Status < 400 || s.Status > 599 {
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

// WriteError responds to a request that failed with err, with the status of
// [HTTPStatus]. Retry-After is that of a [StatusError], or 2 seconds if any
// other error gets 503. A nil err gets 200. The body is the text of a
// [StatusError], or the standard text of the status. No other details of err
// are sent to the client.
func WriteError(w http.ResponseWriter, err error) {
	status, text, wait := HTTPStatus(err), "", time.Duration(0)
	_, panicked := errors.AsType[*PanicError](err)
	if s, ok := errors.AsType[*StatusError](err); ok && s != nil && s.Status == status && !panicked {
		text, wait = s.Text, s.RetryAfter
	} else if status == http.StatusServiceUnavailable {
		wait = retryAfter
	}
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	}
	http.Error(w, cmp.Or(text, http.StatusText(status)), status)
}
