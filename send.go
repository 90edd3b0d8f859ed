package dog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/turn"
)

// Output passes the gate of an object: that of the object whose handler's
// context was passed to the call, or of the object that the socket or value
// belongs to. That need not be the object whose handler is really running,
// which only Options.CheckTurns can detect.

// emit sends v to the object's sockets except sender, which may be nil, when
// the source's gate opens.
func (o *objectState) emit(source *objectState, sender *Socket, v any, options []SendOption) error {
	out, err := newOutgoing(v, sender, options)
	if err != nil {
		return err
	}
	if err := source.CheckGate(); err != nil {
		return err
	}
	return source.sendGated(out.frame.Len(), func() { o.sendOut(out) })
}

// sendOut sends a message to the object's sockets.
func (o *objectState) sendOut(out outgoing) {
	if s := o.crowd.Load(); s != nil {
		s.set.Send(out.frame, out.key, out.except)
	}
}

// whisper sends v to the object's own sockets of a uid.
func (o *objectState) whisper(uid string, v any, options []SendOption) (int, error) {
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return 0, err
	}
	if err := o.CheckGate(); err != nil {
		return 0, err
	}
	reached, heldBack := 0, false
	for _, s := range o.socketsOf(uid) {
		switch err := s.send(out); {
		case err == nil:
			reached++
		case errors.Is(err, ErrHeldBack):
			heldBack = true
		}
	}
	switch {
	case heldBack:
		return reached, ErrHeldBack
	case reached == 0:
		return 0, fmt.Errorf("%w: %q", ErrNoTarget, uid)
	}
	return reached, nil
}

// disconnect closes the object's own sockets of a uid.
func (o *objectState) disconnect(uid string, code int, reason string) (int, error) {
	if err := checkClose("Disconnect", code, reason); err != nil {
		return 0, err
	}
	if err := o.CheckGate(); err != nil {
		return 0, err
	}
	closed := 0
	for _, s := range o.socketsOf(uid) {
		if !s.over() {
			s.close(code, reason, false)
			closed++
		}
	}
	if closed == 0 {
		return 0, fmt.Errorf("%w: %q", ErrNoTarget, uid)
	}
	return closed, nil
}

// heldCost is the cost of an entry in a gate, in addition to the message.
const heldCost = 128

// heldSpare is how far QueueBytes may be exceeded during a write to the disk.
// It equals what a client may be behind before the limits are checked.
const heldSpare = 1 << 20

// sendGatedWithin arranges for send to be called when the object's gate opens,
// unless the object's earlier writes are undone or lost. At most bound bytes
// plus heldSpare wait in u, or a single message that is longer. Beyond that,
// sendGatedWithin returns ErrHeldBack.
func (o *objectState) sendGatedWithin(u *heldBytes, bound, size int, send func()) error {
	cost := int64(size + heldCost)
	if waiting := u.bytes.Add(cost); waiting > cost && waiting-heldSpare > int64(bound) {
		u.bytes.Add(-cost)
		return ErrHeldBack
	}
	held := &o.runtime().held
	held.Add(cost)
	o.Gate.Send(func(lost error) {
		u.bytes.Add(-cost)
		held.Add(-cost)
		if lost == nil {
			send()
		}
	})
	return nil
}

// sendGated arranges for f to be called when the object's gate opens, unless
// the object's earlier writes are undone or lost. It keeps the turn.
func (o *objectState) sendGated(size int, f func()) error {
	if o.Gate.Open() {
		f()
		return nil
	}
	return o.sendGatedWithin(&o.held, o.runtime().opts.Sockets.QueueBytes, size, f)
}

// sendGatedFrom arranges for send to be called when the gate of the object
// whose handler ctx belongs to opens, and gives up the turn. If ctx belongs to
// no handler, send is called at once.
func sendGatedFrom(ctx context.Context, size int, send func()) error {
	if err := object.MayWait(ctx); err != nil {
		return err
	}
	e := turn.From(ctx)
	if err := object.PastGate(e, nil); err != nil {
		return err
	}
	if e == nil {
		send()
		return nil
	}
	// While still in the turn, so that send depends on the writes of this turn.
	if err := runningIn(e).sendGated(size, send); err != nil {
		return err
	}
	wait, err := object.Yield(ctx, nil)
	if err != nil {
		return err
	}
	wait.Resume()
	return nil
}

// A SendOption changes the recipients of a message or the way it is sent. The
// zero SendOption changes nothing.
type SendOption struct {
	except string
	key    string
}

// ExceptUID leaves out all sockets of a uid. If it is given several times, the
// last one applies.
func ExceptUID(uid string) SendOption { return SendOption{except: uid} }

// Coalesce marks a message as the newest state of the thing named by key, such
// as "cursor:ada". If a socket is slow and its policy is [CoalesceSlow], the
// message replaces a queued message with the same key.
func Coalesce(key string) SendOption { return SendOption{key: key} }

// outgoing is a message to be sent. It is encoded and framed once for all its
// sockets.
type outgoing struct {
	frame  *conn.Frame
	key    string
	except conn.Except
}

// newOutgoing makes a message for sockets other than sender, which may be nil.
func newOutgoing(v any, sender *Socket, options []SendOption) (outgoing, error) {
	m, err := Encode(v)
	if err != nil {
		return outgoing{}, err
	}
	o := outgoing{frame: conn.NewFrame(conn.Op(m.Type), m.Data)}
	if sender != nil {
		o.except.Conn = sender.conn
	}
	for _, option := range options {
		if option.except != "" {
			o.except.Owner = option.except
		}
		if option.key != "" {
			o.key = option.key
		}
	}
	return o, nil
}

// broadcast sends v to every socket of the group except sender, which may be
// nil. It is sent when the source's gate opens.
func (g *groupState) broadcast(source *objectState, sender *Socket, v any, options []SendOption) error {
	out, err := newOutgoing(v, sender, options)
	if err != nil {
		return err
	}
	if err := source.CheckGate(); err != nil {
		return err
	}
	return source.sendGated(out.frame.Len(), func() { g.send(out) })
}

// broadcastFrom is broadcast on behalf of the holder of ctx.
func (g *groupState) broadcastFrom(ctx context.Context, v any, options []SendOption) error {
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return err
	}
	return sendGatedFrom(ctx, out.frame.Len(), func() { g.send(out) })
}

func (g *groupState) send(out outgoing) {
	for _, r := range g.replicaStates() {
		r.obj.sendOut(out)
	}
}

// whisper sends v to every socket with this uid.
func (g *groupState) whisper(
	ctx context.Context, source *object.Object, uid string, v any, options []SendOption,
) (reached int, err error) {
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return 0, err
	}
	err = object.AwaitDurable(ctx, source, func() error {
		for _, s := range g.socketsOf(uid) {
			if s.conn.Send(out.frame, out.key) == nil {
				reached++
			}
		}
		if reached == 0 {
			return fmt.Errorf("%w: %q", ErrNoTarget, uid)
		}
		return nil
	})
	return reached, err
}

// emit sends v to every socket of one replica on behalf of the group.
func (g *groupState) emit(replica ID, v any, options []SendOption) error {
	r, err := g.replica(replica)
	if err != nil {
		return err
	}
	return r.obj.emit(g.obj, nil, v, options)
}

// emitFrom is emit on behalf of the holder of ctx.
func (g *groupState) emitFrom(ctx context.Context, replica ID, v any, options []SendOption) error {
	r, err := g.replica(replica)
	if err != nil {
		return err
	}
	out, err := newOutgoing(v, nil, options)
	if err != nil {
		return err
	}
	return sendGatedFrom(ctx, out.frame.Len(), func() { r.obj.sendOut(out) })
}

// disconnect closes every open socket with this uid, and counts those that it
// closes.
func (g *groupState) disconnect(
	ctx context.Context, source *object.Object, uid string, code int, reason string,
) (closed int, err error) {
	if err := checkClose("Disconnect", code, reason); err != nil {
		return 0, err
	}
	err = object.AwaitDurable(ctx, source, func() error {
		for _, s := range g.socketsOf(uid) {
			if s.conn.Over() {
				continue
			}
			// Now, also where its own object's gate holds a Close back that may
			// yet be undone.
			if err := s.conn.Close(code, reason); err != nil {
				return err
			}
			closed++
		}
		if closed == 0 {
			return fmt.Errorf("%w: %q", ErrNoTarget, uid)
		}
		return nil
	})
	return closed, err
}

// MessageType is the type of a message in a WebSocket.
type MessageType byte

// The types of messages.
const (
	Text   = MessageType(conn.Text)   // UTF-8 text
	Binary = MessageType(conn.Binary) // any bytes
)

func (t MessageType) String() string {
	switch t {
	case Text:
		return "text"
	case Binary:
		return "binary"
	}
	return fmt.Sprintf("MessageType(%d)", byte(t))
}

// A Message is a message from a client or a replica. Its data belongs to the
// receiver.
type Message struct {
	Type MessageType // zero: Text
	Data []byte
}

// String returns the data as a string.
func (m Message) String() string { return string(m.Data) }

// Decode decodes the data as JSON into the value that v points to. It is
// [json.Unmarshal], since any client may have sent the data: a number that goes
// into an any becomes the nearest float64. [JSON] refuses to round an integer.
func (m Message) Decode(v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("dog: decode message: %w", err)
	}
	return nil
}

// Encode returns the message that Send, Emit, Broadcast and Whisper make of v.
// A string or a [json.RawMessage] becomes text as it is. A []byte becomes
// binary. A Message stays as it is. Any other value becomes JSON text, by
// [json.Marshal]: in a string inside the value, bytes that are not UTF-8 become
// U+FFFD. [JSON] refuses such strings.
//
// Encode fails if v has no JSON form. It returns a [UsageError] if text is not
// UTF-8, since every client would refuse it.
func Encode(v any) (Message, error) {
	var m Message
	switch v := v.(type) {
	case Message:
		m = v
	case string:
		m.Data = []byte(v)
	case json.RawMessage:
		m.Data = v
	case []byte:
		m = Message{Type: Binary, Data: v}
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return Message{}, fmt.Errorf("dog: encode message: %w", err)
		}
		return Message{Type: Text, Data: data}, nil
	}
	switch m.Type {
	case 0, Text:
		m.Type = Text
		if !utf8.Valid(m.Data) {
			return Message{}, misuse(
				"Encode", "text that is not UTF-8, which every client would refuse; send it as []byte",
			)
		}
	case Binary:
	default:
		return Message{}, misuse("Encode", "unknown %v", m.Type)
	}
	return m, nil
}

// encodeJSON returns v in the JSON form in which gossip carries it. A Message
// is the JSON that it holds.
func encodeJSON(v any) ([]byte, error) {
	m, ok := v.(Message)
	if !ok {
		return json.Marshal(v)
	}
	if !json.Valid(m.Data) {
		return nil, errors.New("the message is not JSON")
	}
	return slices.Clone(m.Data), nil // like Marshal: the owner of the message may change it
}
