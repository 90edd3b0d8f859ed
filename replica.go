package dog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"path"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/godurable/dog/internal/conn"
)

// Replica is embedded in a type of yours to make it a replica: one of the objects over which a group spreads its connections.
// The type must have a Receive method; see [RegisterReplica].
//
// A replica has the storage of its ID. Where the group names its replicas ([Clusterizer]), that is the one of its name; otherwise
// a new replica takes up what one of the group's earlier replicas has stored, if there is such a one that is not in memory, so
// that nothing that was stored is out of reach. One that wants to begin empty calls DeleteAll in OnStart.
//
// A replica's methods may be called from any goroutine.
type Replica struct {
	Object
}

func (r *Replica) replica() *Replica { return r }

func (r *Replica) member() (*member, error) {
	if r.core == nil {
		return nil, ErrNotRunning
	}
	return r.core.obj.member, r.core.silenced()
}

// GroupName returns the name of the replica's group.
func (r *Replica) GroupName() string {
	if m, err := r.member(); err == nil {
		return m.books.group.name
	}
	return ""
}

// Connect upgrades a request that Receive got to a WebSocket with the runtime's options (Options.Sockets). The socket takes over
// the request's place. When Receive has returned, or waits, OnOpen runs, then OnMessage for each message, then OnClose or
// OnError.
//
// It returns nil when the upgrade is refused; the client has then been answered: 405 for another method than GET, 426 when it
// asks for no upgrade, 400 for a malformed one, 403 for a page of another origin, 503 during shutdown. Receive has to write no
// answer in either case. req must be, or derive from, the request that Receive got.
//
// Connect does not wait. When the client learns that it is connected, its socket has joined and misses nothing.
// The answer 101 is therefore written on the connection itself, later than a
// ResponseWriter could: net/http sends one that it is told of when the
// connection is hijacked, which is before the socket can join and before what
// Receive has stored is durable, and logs a complaint when it is told after
// that. So a ResponseWriter of a middleware sees no WriteHeader for a connection
// that was accepted, as it does for one that was refused. One that has a Hijack
// of its own sees a call of that instead.
func (r *Replica) Connect(w http.ResponseWriter, req *http.Request) *Socket {
	return r.ConnectWith(w, req, SocketOptions{})
}

// ConnectWith is Connect with options for this socket.
func (r *Replica) ConnectWith(w http.ResponseWriter, req *http.Request, options SocketOptions) *Socket {
	s, err := r.connect(w, req, options)
	if err != nil {
		if r.core != nil {
			r.Log().Debug("WebSocket refused", "error", err)
		}
		return nil
	}
	return s
}

var errLate = errors.New("dog: Connect after Receive has returned")

// connect is ConnectWith. The client has been answered when there is an error.
func (r *Replica) connect(w http.ResponseWriter, req *http.Request, options SocketOptions) (*Socket, error) {
	fail := func(err error) (*Socket, error) {
		WriteError(w, err)
		return nil, err
	}
	m, err := r.member()
	if err != nil {
		return fail(err)
	}
	a := arrivalOf(req.Context())
	v := a.visit
	if v == nil || v.member != m {
		return fail(errors.New("dog: Connect needs the request that Receive got"))
	}
	if v.over() {
		return fail(errLate)
	}
	rt := m.obj.runtime()
	if rt.closing.Load() {
		return fail(ErrShutdown)
	}
	if err := cmp.Or(options.checkSigns(), options.over(rt.opts.Sockets).check()); err != nil {
		r.Log().Error("WebSocket refused: its options are wrong", "error", err)
		return fail(err)
	}
	var c *conn.Conn
	a.answer.handshake(func() { c, err = conn.Accept(w, req, rt.accept(options)) })
	if err != nil {
		return nil, err
	}
	s := newSocket(r.core, v.requestID, c, options.over(rt.opts.Sockets).Tags)
	if !v.passOn(s) {
		c.Abort(ErrSocketClosed)
		_, _, _ = c.Read() // fails, and releases the connection
		c.Wait()
		return nil, errLate
	}
	rt.busy.Add(1) // until finish
	m.obj.gate.Say(func(lost error) {
		if lost != nil {
			go s.vanish(lost)
			return
		}
		s.join()
		c.Start() // the client learns that it is connected when everybody else knows
		go s.serve()
	})
	return s, nil
}

// Sockets returns the replica's open sockets that have all of the tags, as they
// are now, in no order. A socket that is being closed is not among them.
func (r *Replica) Sockets(tags ...string) iter.Seq[*Socket] {
	return func(yield func(*Socket) bool) {
		m, err := r.member()
		if err != nil {
			return
		}
		for c := range m.sockets.Each() {
			s := c.Data.(*Socket)
			if s.hasAll(tags) && !s.over() && !yield(s) {
				return
			}
		}
	}
}

// Emit sends v (see [Encode]) to all sockets of this replica. It keeps the turn and waits for no client; only when more is sent
// than the machine can write, it waits until the half megabyte that is ahead of it has been written or queued.
func (r *Replica) Emit(v any, opts ...SendOption) error {
	m, err := r.member()
	if err != nil {
		return err
	}
	return m.emit(m.obj, "", v, opts)
}

// Broadcast sends v (see [Encode]) to all sockets of the group.
func (r *Replica) Broadcast(ctx context.Context, v any, opts ...SendOption) error {
	m, err := r.member()
	if err != nil {
		return err
	}
	return m.books.broadcast(ctx, m.obj, "", v, opts)
}

// Whisper sends v (see [Encode]) to all sockets of a request id, whichever replicas they are on, and returns their number;
// ErrNoTarget when there are none.
func (r *Replica) Whisper(ctx context.Context, requestID string, v any, opts ...SendOption) (int, error) {
	m, err := r.member()
	if err != nil {
		return 0, err
	}
	return m.books.whisper(ctx, m.obj, requestID, v, opts)
}

// Disconnect closes all sockets of a request id, whichever replicas they are on, as [Socket.Close] does, and returns their
// number; ErrNoTarget when there are none.
func (r *Replica) Disconnect(ctx context.Context, requestID string, code int, reason string) (int, error) {
	m, err := r.member()
	if err != nil {
		return 0, err
	}
	return m.books.disconnect(ctx, m.obj, requestID, code, reason)
}

// emit sends v to the sockets of the replica but the sender's, "" when there is
// no sender, when the speaker's gate opens.
func (m *member) emit(speaker *object, sender string, v any, opts []SendOption) error {
	out, err := newOutgoing(v, opts)
	if err != nil {
		return err
	}
	if err := speaker.heard(); err != nil {
		return err
	}
	if speaker.gate.Open() {
		m.sockets.Send(out.frame, out.key, out.leaveOut(sender))
		return nil
	}
	return speaker.speak(&speaker.held, speaker.runtime().opts.Sockets.QueueBytes, out.frame.Len(), func() {
		m.sockets.Send(out.frame, out.key, out.leaveOut(sender))
	})
}

// check looks at what an application may get wrong.
func (o SocketOptions) check() error {
	distinct := slices.Compact(slices.Sorted(slices.Values(o.Tags)))
	if len(distinct) > maxTags || slices.ContainsFunc(distinct, func(tag string) bool { return len(tag) > maxTagBytes }) {
		return ErrTags
	}
	if o.Slow < 0 || o.Slow > CoalesceSlow {
		return fmt.Errorf("dog: unknown SlowPolicy %d", o.Slow)
	}
	if len(o.AutoRequest) > maxAutoBytes || len(o.AutoReply) > maxAutoBytes || !utf8.ValidString(o.AutoRequest+o.AutoReply) {
		return errors.New("dog: AutoRequest and AutoReply are at most 2,048 bytes of UTF-8 each")
	}
	if (o.AutoRequest == "") != (o.AutoReply == "") {
		return errors.New("dog: AutoRequest and AutoReply need each other")
	}
	for _, pattern := range o.OriginPatterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("dog: origin pattern %q: %w", pattern, err)
		}
	}
	return nil
}

// accept returns a socket's options as package conn wants them. Sockets that have nothing special share them.
func (rt *Runtime) accept(o SocketOptions) *conn.Options {
	special := o
	special.Tags = nil
	if reflect.ValueOf(special).IsZero() {
		return rt.sockets
	}
	return o.over(rt.opts.Sockets).accept(rt.poller)
}

func (o SocketOptions) accept(poller *conn.Poller) *conn.Options {
	policy := conn.Disconnect
	switch o.Slow {
	case DropOldest:
		policy = conn.DropOldest
	case CoalesceSlow:
		policy = conn.Coalesce
	}
	return &conn.Options{
		Subprotocols:       o.Subprotocols,
		OriginPatterns:     o.OriginPatterns,
		InsecureSkipVerify: o.AllowAnyOrigin,
		MaxMessage:         o.MaxMessage,
		QueueBytes:         o.QueueBytes,
		Slow:               policy,
		WriteTimeout:       o.WriteTimeout,
		CloseTimeout:       o.CloseTimeout,
		AutoRequest:        o.AutoRequest,
		AutoReply:          o.AutoReply,
		Compression:        o.Compression,
		Poller:             poller,
		Last:               func(c *conn.Conn) { c.Data.(*Socket).last() },
		Wake:               func(c *conn.Conn) { go c.Data.(*Socket).attend() },
	}
}
