package dog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/exactjson"
	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/roster"
	"github.com/godurable/dog/internal/turn"
)

const (
	maxAttachment = 16384
	maxTags       = 10
	maxTagBytes   = 256
)

// A Socket is a client's WebSocket connection to an object. [Object.Connect]
// makes it, and all handlers of its events get the same pointer. Its methods
// may be called from any goroutine. They may also be called on a nil Socket:
// those that can fail then return a [UsageError]. After the end of the
// connection Send fails, and the uid, the tags and the attachment can still be
// read.
//
// Messages from one sender (a handler or a goroutine) reach the client in the
// order in which they were sent, in any mix of Send, Emit, Broadcast and
// Whisper. None of these waits for a client. Messages that a client does not
// take at once wait in its socket's queue.
type Socket struct {
	// fixed; zero in a zero Socket
	id         uuid.UUID
	uid        string
	obj        *objectState
	generation uint64 // of the life whose Receive called Connect
	conn       *conn.Conn
	tags       []string
	v1         *v1Client // nil: the client does not speak dog.v1

	closes  atomic.Int32  // calls of Close that wait for the gate
	lingers atomic.Bool   // has ended, and keeps its place until the gate has released its messages
	lost    atomic.Bool   // its handshake will never be answered
	ready   bool          // the client takes commands. guarded by mu
	queued  bool          // the client's frames are for a queue of commands. guarded by mu
	speaker atomic.Uint64 // generation of the life whose handlers speak through it; see speaks

	held heldBytes // messages to this socket alone

	place *roster.Place[*replicaState, *Socket] // on a replica, else nil. guarded by the group state's mu
	next  *Socket                               // in socketSet.byUID

	toured uint64 // last tour of Stats that counted the socket. guarded by Runtime.past

	// Nothing is taken under mu but the locks of package conn and of a book of
	// sessions.
	mu         sync.Mutex
	attachment []byte // JSON. guarded by mu
}

// A CloseError reports how a socket's connection ended. Without a close
// handshake it wraps the cause: [ErrPingTimeout], [ErrSlowConsumer], a network
// error, or what the client did wrong. Code is then 1006 when the connection
// was lost or cut, 1002 when the client broke the protocol, 1007 when it sent
// text that is not UTF-8, 1008 when it was too slow, and 1009 when it sent a
// message over the limit.
type CloseError struct {
	Code   int    // code that was or would have been sent; 1006: the connection was lost
	Reason string // reason that was sent
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

func newSocket(opener *object.Life, uid string, c *conn.Conn, tags []string) *Socket {
	s := &Socket{
		id:         uuid.New(),
		uid:        uid,
		obj:        stateOf(opener.Object()),
		generation: opener.Generation(),
		conn:       c,
		tags:       slices.Compact(slices.Sorted(slices.Values(tags))),
	}
	s.speaker.Store(s.generation)
	c.Owner, c.Data = uid, s
	return s
}

// running reports whether a runtime made the socket.
func (s *Socket) running() bool { return s != nil && s.obj != nil }

// speaks returns the object that sends by op of the socket. It returns an error
// if op can reach no other socket, because no runtime made this one, the
// runtime has ended, or the object has been reset, whose handlers' output is
// then dropped. OnOpen, OnError and OnClose of a socket that a reset closes run
// in the next life, and speak there again.
func (s *Socket) speaks(op string) (voice, error) {
	if !s.running() {
		return voice{}, notRunning(op)
	}
	o := s.obj.voice()
	if o.Generation() != s.speaker.Load() {
		return o, &ResetError{Object: o.id(), Cause: errPastLife}
	}
	return o, o.runtime().over()
}

// speaksIn lets the socket speak in the life whose handler ctx belongs to.
func (s *Socket) speaksIn(ctx context.Context) {
	s.speaker.Store(object.LifeOf(turn.From(ctx)).Generation())
}

// ID returns the identity of this connection, a random UUID.
func (s *Socket) ID() string {
	if !s.running() {
		return ""
	}
	return s.id.String()
}

// UID returns the uid of the client: SocketOptions.UID, or the argument of
// [Stub.WithUID] or [GroupStub.Identify]. It is "" if none was given. Several
// sockets may share a uid.
func (s *Socket) UID() string {
	if s == nil {
		return ""
	}
	return s.uid
}

// Subprotocol returns the negotiated subprotocol, in the spelling of
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

// AutoReplied returns the time at which an auto-response
// (SocketOptions.AutoRequest) was last sent, or the zero time.
func (s *Socket) AutoReplied() time.Time {
	if !s.running() {
		return time.Time{}
	}
	return s.conn.LastAuto()
}

// SetAttachment keeps v with the socket, as [JSON] of at most 16,384 bytes. A
// longer attachment is a UsageError and leaves the old one in place.
func (s *Socket) SetAttachment(v any) error {
	if !s.running() {
		return notRunning("Socket.SetAttachment")
	}
	data, err := encodeAttachment(v)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attachment = data
	return nil
}

// encodeAttachment returns the JSON of an attachment.
func encodeAttachment(v any) ([]byte, error) {
	data, err := exactjson.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("dog: attachment: %w", err)
	}
	if len(data) > maxAttachment {
		return nil, misuse("SetAttachment", "%d bytes, more than 16,384", len(data))
	}
	return data, nil
}

// Attachment decodes the attachment into the value that v points to. If there
// is no attachment, the value does not change.
func (s *Socket) Attachment(v any) error {
	if !s.running() {
		return notRunning("Socket.Attachment")
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

// Send sends v (see [Encode]) to the client, once the object's earlier writes
// are durable (see [Storage]). It returns ErrSocketClosed when the socket is
// closed or closing, ErrSlowConsumer when that is because the client is too
// slow, and ErrHeldBack when too much output already waits for the disk. In
// each case v is not sent. A nil error does not mean that the client has got v:
// what waits in the queue is lost if the connection breaks.
func (s *Socket) Send(v any, options ...SendOption) error {
	if !s.running() {
		return notRunning("Socket.Send")
	}
	o := s.obj.voice()
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return err
	}
	if err := o.CheckGate(); err != nil {
		return err
	}
	return s.send(o, out)
}

// send sends a message when the gate of its object opens.
func (s *Socket) send(o voice, out outgoing) error {
	if o.open() {
		return s.deliver(out)
	}
	if s.over() {
		return ErrSocketClosed
	}
	return o.sendGatedWithin(&s.held, s.conn.QueueBytes(), out.frame.Len(), func() {
		// A client that has gone by then gets no message, like one that goes a
		// moment later.
		_ = s.deliver(out)
	})
}

// deliver sends a message to the client, now that the gate has let it pass. A
// socket may be found before it has joined, and gets nothing then.
func (s *Socket) deliver(out outgoing) error {
	if !s.greeted() {
		return ErrSocketClosed
	}
	return s.conn.Send(out.frame, out.key)
}

// Emit sends v (see [Encode]) to the other sockets of the same object, that is
// to all except this one. It keeps the turn (see [Replica.Emit]).
func (s *Socket) Emit(v any, options ...SendOption) error {
	o, err := s.speaks("Socket.Emit")
	if err != nil {
		return err
	}
	return o.emit(o, s, v, options)
}

// Broadcast sends v (see [Encode]) to all sockets except this one: those of the
// object, or of the whole group if the object is a replica. [ExceptUID] also
// leaves out the other sockets of this socket's uid. Broadcast keeps the turn.
func (s *Socket) Broadcast(v any, options ...SendOption) error {
	o, err := s.speaks("Socket.Broadcast")
	if err != nil {
		return err
	}
	if m := o.replica; m != nil {
		return m.group.broadcast(o, s, v, options)
	}
	return o.emit(o, s, v, options)
}

// Whisper sends v (see [Encode]) to all sockets of a uid and returns their
// number. They may be in the object, or in the whole group if the object is a
// replica. The uid may be this socket's own. Whisper returns ErrNoTarget when
// there are none. In a handler it gives up the turn, and needs the handler's
// context, as [Replica.Whisper] does.
func (s *Socket) Whisper(ctx context.Context, uid string, v any, options ...SendOption) (int, error) {
	o, err := s.speaks("Socket.Whisper")
	if err != nil {
		return 0, err
	}
	if m := o.replica; m != nil {
		return m.group.whisper(ctx, o, uid, v, options)
	}
	reached := 0
	err = o.await(ctx, func() (err error) {
		reached, err = o.whisper(uid, v, options)
		return err
	})
	return reached, err
}

// Close closes the socket. It sends the queued messages, then the close frame.
// Messages sent or received afterwards are ignored. Close does not wait.
// OnClose follows. Closing twice does nothing. Like a message, Close takes
// effect when the object's earlier writes are durable, and has no effect if
// they are undone or lost. Until then Send returns ErrSocketClosed and Sockets
// leaves the socket out.
//
// code is one of the codes that RFC 6455 lets a server send, such as 1000 for a
// normal end, or one from 3000 to 4999 with a meaning of your own. reason is at
// most 123 bytes of UTF-8. For other values, Close returns a [UsageError].
func (s *Socket) Close(code int, reason string) error {
	if !s.running() {
		return notRunning("Socket.Close")
	}
	if err := checkClose("Socket.Close", code, reason); err != nil {
		return err
	}
	o := s.obj.voice()
	if err := o.CheckGate(); err != nil {
		return err
	}
	return s.closeAfter(o, code, reason) // a reset closes with 1011
}

// close closes the socket after the earlier output of its object, also if that
// is undone or lost. code and reason must be valid.
func (s *Socket) close(code int, reason string) {
	s.closes.Add(1)
	s.obj.Gate.Send(func(error) {
		_ = s.conn.Close(code, reason)
		s.closes.Add(-1)
	})
}

// closeAfter closes the socket after the earlier output of an object, unless
// that is undone or lost. code and reason must be valid.
func (s *Socket) closeAfter(source voice, code int, reason string) error {
	s.closes.Add(1)
	return source.gated(func(lost error) {
		if lost == nil {
			_ = s.conn.Close(code, reason)
		}
		s.closes.Add(-1)
	})
}

// over reports whether messages sent now cannot reach the client, because the
// socket is closed or will be once earlier output has left.
func (s *Socket) over() bool { return s.closes.Load() > 0 || s.lost.Load() || s.conn.Over() }

// checkClose returns an error if a socket cannot be closed with this code and
// reason.
func checkClose(op string, code int, reason string) error {
	if err := conn.CheckClose(code, reason); err != nil {
		return misuse(op, "%v", err)
	}
	return nil
}

// reader returns who the socket is to a history. A client without a session is
// known as long as it is connected.
func (s *Socket) reader() history.Reader {
	r := history.Reader{UID: s.uid, Session: string(s.id[:])}
	if s.v1 != nil && s.v1.link != nil {
		r.Session = s.v1.link.Name()
	}
	return r
}

// countGap counts a gap that is reported to the client.
func (s *Socket) countGap() { s.obj.sessionOwner().ns.counts.gaps.Add(1) }
