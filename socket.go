package dog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/exactjson"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/turn"
)

const (
	maxAttachment = 16384
	maxTags       = 10
	maxTagBytes   = 256
)

// A Socket is a client's WebSocket connection to a replica. Its methods may be called from any goroutine, and on the nil Socket
// that a refused [Replica.Connect] returns: those that can fail then return [ErrNotRunning].
//
// Messages from one sender (a handler, a goroutine) reach the client in the order in which they were sent, by whatever of Send,
// Emit, Broadcast and Whisper. None of these waits for a client: what a client does not take at once waits in its socket's queue.
type Socket struct {
	// fixed; zero in a zero Socket
	id        uuid.UUID
	requestID string
	member    *member
	era       uint64 // of the instance whose Receive connected it
	conn      *conn.Conn
	tags      []string

	closes  atomic.Int32 // calls of Close that wait for the gate
	lingers atomic.Bool  // has ended, and stays on the replica for what the gate holds

	held unheard // messages to this socket alone

	place *roster.Place[*member, *Socket] // the socket's place on the replica. guarded by the books' mu

	toured uint64 // the latest tour of Stats that has counted the socket. guarded by Runtime.past

	mu         sync.Mutex
	attachment []byte // JSON. guarded by mu
}

// A CloseError says how a socket's connection ended, when it was not by a close handshake. It wraps the cause: [ErrHeartbeat],
// [ErrSlowConsumer], [ErrMessageTooBig], [ErrInvalidUTF8], [ErrProtocol], or an error of the network.
type CloseError struct {
	Code   int    // what the client was or would have been told; 1006: the connection was lost
	Reason string // what the client was told
	Err    error  // nil after a close handshake
}

func (e *CloseError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("dog: socket closed: %d %s", e.Code, e.Reason)
	}
	return fmt.Sprintf("dog: socket closed: %d: %v", e.Code, e.Err)
}

// Unwrap returns the cause.
func (e *CloseError) Unwrap() error { return e.Err }

func newSocket(opener *instance, requestID string, c *conn.Conn, tags []string) *Socket {
	s := &Socket{
		id:        uuid.New(),
		requestID: requestID,
		member:    opener.obj.member,
		era:       opener.era,
		conn:      c,
		tags:      slices.Compact(slices.Sorted(slices.Values(tags))),
	}
	c.Owner, c.Data = requestID, s
	return s
}

// running reports whether a runtime made the socket.
func (s *Socket) running() bool { return s != nil && s.member != nil }

// ID returns the identity of this connection, a random UUID.
func (s *Socket) ID() string {
	if !s.running() {
		return ""
	}
	return s.id.String()
}

// UID returns the request id that was given to [Identify]. Several sockets may share it.
func (s *Socket) UID() string {
	if s == nil {
		return ""
	}
	return s.requestID
}

// Subprotocol returns the subprotocol that was agreed upon, in the spelling of
// SocketOptions.Subprotocols, or "".
func (s *Socket) Subprotocol() string {
	if !s.running() {
		return ""
	}
	return s.conn.Subprotocol()
}

// Tags returns the socket's tags, sorted.
func (s *Socket) Tags() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.tags)
}

func (s *Socket) hasAll(tags []string) bool {
	for _, tag := range tags {
		if _, found := slices.BinarySearch(s.tags, tag); !found {
			return false
		}
	}
	return true
}

// AutoReplied returns when an auto-response (SocketOptions.AutoRequest) was last sent, or the zero time.
func (s *Socket) AutoReplied() time.Time {
	if !s.running() {
		return time.Time{}
	}
	return s.conn.LastAuto()
}

// SetAttachment keeps v with the socket, as [JSON] of at most 16,384 bytes; more is ErrAttachment and leaves the old one.
func (s *Socket) SetAttachment(v any) error {
	if !s.running() {
		return ErrNotRunning
	}
	data, err := exactjson.Marshal(v)
	if err != nil {
		return fmt.Errorf("dog: attachment: %w", err)
	}
	if len(data) > maxAttachment {
		return fmt.Errorf("%w: %d", ErrAttachment, len(data))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attachment = data
	return nil
}

// Attachment reads what SetAttachment kept into the value that v points at, which stays as it is when there is nothing.
func (s *Socket) Attachment(v any) error {
	if !s.running() {
		return ErrNotRunning
	}
	s.mu.Lock()
	data := s.attachment
	s.mu.Unlock()
	if data == nil {
		return nil
	}
	if err := exactjson.Unmarshal(data, v); err != nil {
		return fmt.Errorf("dog: attachment: %w", err)
	}
	return nil
}

// Send sends v (see [Encode]) to the client, once what the replica has stored
// is durable (see [Storage]). Errors: ErrSocketClosed when the socket is closed
// or closing, ErrSlowConsumer when its queue is full and it is being closed for
// that, ErrHeldBack when too much waits for the disk already, and then v is not
// sent.
func (s *Socket) Send(v any, opts ...SendOption) error {
	if !s.running() {
		return ErrNotRunning
	}
	out, err := newOutgoing(v, opts)
	if err != nil {
		return err
	}
	o := s.member.obj
	if err := o.heard(); err != nil {
		return err
	}
	if o.gate.Open() {
		return s.conn.Send(out.frame, out.key)
	}
	if s.over() {
		return ErrSocketClosed
	}
	return o.speak(&s.held, s.conn.QueueBytes(), out.frame.Len(), func() {
		_ = s.conn.Send(out.frame, out.key) // a client that has gone since gets no more, as one that goes a moment later
	})
}

// Emit sends v (see [Encode]) to the sockets of this socket's replica, except those of its own request id (see [IncludeSelf]).
func (s *Socket) Emit(v any, opts ...SendOption) error {
	if !s.running() {
		return ErrNotRunning
	}
	return s.member.emit(s.member.obj, s.requestID, v, opts)
}

// Broadcast sends v (see [Encode]) to the sockets of the whole group, except those of this socket's request id (see
// [IncludeSelf]).
func (s *Socket) Broadcast(ctx context.Context, v any, opts ...SendOption) error {
	if !s.running() {
		return ErrNotRunning
	}
	return s.member.books.broadcast(ctx, s.member.obj, s.requestID, v, opts)
}

// Whisper sends v (see [Encode]) to all sockets of a request id in the group, which may be this socket's own, and returns their
// number; ErrNoTarget when there are none.
func (s *Socket) Whisper(ctx context.Context, requestID string, v any, opts ...SendOption) (int, error) {
	if !s.running() {
		return 0, ErrNotRunning
	}
	return s.member.books.whisper(ctx, s.member.obj, requestID, v, opts)
}

// Close closes the socket: what is queued is sent, then the close frame;
// nothing sent or received afterwards counts. It does not wait. OnClose
// follows. Closing twice does nothing. Like a message, it takes place when
// what the replica has stored before is durable, and not at all when that is
// undone or lost. Until then Send returns ErrSocketClosed
// and [Replica.Sockets] leaves the socket out.
//
// code is one that RFC 6455 lets a server send, 1000 for a normal end, or 3000 to 4999 with a meaning of your own, else
// ErrCloseCode; reason is at most 123 bytes of UTF-8, else ErrCloseReason.
func (s *Socket) Close(code int, reason string) error {
	if !s.running() {
		return ErrNotRunning
	}
	if err := conn.CheckClose(code, reason); err != nil {
		return err
	}
	if err := s.member.obj.heard(); err != nil {
		return err
	}
	s.close(code, reason, false) // a reset closes with 1011
	return nil
}

// close closes the socket with a code and a reason that are valid, after what
// has been said before; when that is undone or lost, only if in any case.
func (s *Socket) close(code int, reason string, inAnyCase bool) {
	s.closes.Add(1)
	s.member.obj.gate.Say(func(lost error) {
		if lost == nil || inAnyCase {
			_ = s.conn.Close(code, reason)
		}
		s.closes.Add(-1)
	})
}

// over reports whether nothing that is sent now reaches the client, because the
// socket is closed, or will be once what was said before has left.
func (s *Socket) over() bool { return s.closes.Load() > 0 || s.conn.Over() }

// vanish releases a socket whose client never learned of it, because what its replica had stored was lost.
func (s *Socket) vanish(lost error) {
	defer s.member.obj.runtime().leave()
	s.conn.Abort(lost)
	_, _, _ = s.conn.Read() // fails, and releases the connection
	s.conn.Wait()
	s.member.books.releaseSocket(s)
}

// join makes the socket one of its replica's.
func (s *Socket) join() {
	rt := s.member.obj.runtime()
	s.member.sockets.Add(s.conn)
	rt.heart.Add(s.conn)
	// Whoever closes all sockets may have done so just before this one was among them.
	if rt.closing.Load() {
		_ = s.conn.Close(1001, shutdownReason)
	}
	if s.member.obj.era() != s.era {
		_ = s.conn.Close(1011, "")
	}
}

// serve opens the socket and attends to it.
func (s *Socket) serve() {
	exited := true
	defer func() {
		if exited { // by a handler (runtime.Goexit), whose reset has begun to close the socket
			go s.attend()
		}
	}()
	s.member.obj.trace().socketOpened(s)
	s.open()
	exited = false
	s.attend()
}

// attend hands each message to the replica, and closes the socket when its connection has ended. It returns early when the
// connection is parked, and is called again when there is something to do.
func (s *Socket) attend() {
	exited := true
	defer func() {
		if exited { // as in serve
			go s.attend()
		}
	}()
	cause := s.receive()
	exited = false
	if cause != nil {
		s.finish(cause)
	}
}

// open runs OnOpen.
func (s *Socket) open() {
	err := s.event(s.life(), EventOpen, func(ctx context.Context, v any) error {
		if h, ok := v.(OpenHandler); ok {
			return h.OnOpen(ctx, s)
		}
		return nil
	})
	if err != nil { // whatever becomes of what is being stored meanwhile
		s.close(1011, "", true)
	}
}

// receive hands on messages until the connection ends, and returns how it did, or nil when it is parked.
func (s *Socket) receive() *CloseError {
	for {
		op, data, err := s.conn.Read()
		if err == conn.ErrParked {
			return nil
		}
		if err != nil {
			var how *conn.CloseError
			if !errors.As(err, &how) {
				return &CloseError{Code: 1006, Err: err}
			}
			if how.Local {
				return &CloseError{Code: how.Code, Reason: how.Reason} // closed on purpose, whether the client answered or not
			}
			return &CloseError{Code: how.Code, Reason: how.Reason, Err: how.Err}
		}
		_ = s.event(s.life(), EventMessage, func(ctx context.Context, v any) error {
			if s.conn.Closing() || turn.From(ctx).Owner().(*instance).era != s.era {
				// The socket was closed, by a handler or by a reset, while the message waited for its turn; the next instance
				// has not opened it.
				return nil
			}
			if h, ok := v.(MessageHandler); ok {
				return h.OnMessage(ctx, s, Message{Type: MessageType(op), Data: data})
			}
			return nil
		})
	}
}

func (s *Socket) life() context.Context { return s.member.obj.runtime().ctx }

// event runs a handler of the socket's replica and reports its error.
func (s *Socket) event(wait context.Context, kind EventKind, handle func(ctx context.Context, v any) error) error {
	err := s.member.obj.event(wait, turn.Origin{}, kind, handle)
	s.member.obj.report(kind, err)
	return err
}
