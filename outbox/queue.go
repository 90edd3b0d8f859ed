package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/wire"
)

// Alarm is the name of the object's alarm that a queue uses.
const Alarm = "outbox"

// MaxTTL is the longest time for which a command can wait.
const MaxTTL = 30 * 24 * time.Hour

// Policy sets the bounds and times of a queue. A zero field stands for its
// default.
type Policy struct {
	// Window is the maximum number of commands that are sent and not yet
	// acknowledged. Default: 1.
	Window int

	// AckWait is how long the device may take to respond to a command before it
	// is sent again. Default: 30 s.
	AckWait time.Duration

	// Deliver is how often a command is delivered before it becomes a dead
	// letter. Default: 10. A delivery after a reconnect counts only if 1 s has
	// passed since the previous delivery, then 2 s, and so on up to 5 minutes.
	// So a device that reconnects in quick succession does not turn its
	// commands into dead letters. These times are not stored: the first
	// delivery in each life of the object counts.
	Deliver int

	// TTL is how long a command without a [TTL] of its own waits, at most
	// [MaxTTL]. Default: 24 h.
	TTL time.Duration

	// Keep is how long dead letters, and the outcomes of commands with a [Key],
	// are kept. They may be kept longer by 1/24 of that. Default: 24 h.
	Keep time.Duration

	// Waiting is the maximum number of waiting commands. Default: 1,000.
	Waiting int

	// Bytes is the maximum size of all waiting commands. Default: 1 MiB.
	Bytes int

	// KeepBytes is the size of outcomes and dead letters above which Put
	// refuses more commands. Each of them counts 64 bytes in addition to its
	// size. Default: 4 MiB.
	KeepBytes int
}

const (
	defaultAckWait   = 30 * time.Second
	defaultDeliver   = 10
	defaultTTL       = 24 * time.Hour
	defaultKeep      = 24 * time.Hour
	defaultWaiting   = 1000
	defaultBytes     = 1 << 20
	defaultKeepBytes = 4 << 20
)

// withDefaults returns the policy with the defaults in place of zeros.
func (p Policy) withDefaults() (Policy, error) {
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"Window", int64(p.Window)}, {"AckWait", int64(p.AckWait)}, {"Deliver", int64(p.Deliver)},
		{"TTL", int64(p.TTL)}, {"Keep", int64(p.Keep)}, {"Waiting", int64(p.Waiting)}, {"Bytes", int64(p.Bytes)},
		{"KeepBytes", int64(p.KeepBytes)},
	} {
		if field.value < 0 {
			return p, misuse("Queue.Bind", "Policy.%s is below 0", field.name)
		}
	}
	p.Window = cmp.Or(p.Window, 1)
	p.AckWait = cmp.Or(p.AckWait, defaultAckWait)
	p.Deliver = cmp.Or(p.Deliver, defaultDeliver)
	p.TTL = cmp.Or(p.TTL, defaultTTL)
	p.Keep = cmp.Or(p.Keep, defaultKeep)
	p.Waiting = cmp.Or(p.Waiting, defaultWaiting)
	p.Bytes = cmp.Or(p.Bytes, defaultBytes)
	p.KeepBytes = cmp.Or(p.KeepBytes, defaultKeepBytes)
	if p.TTL > MaxTTL {
		return p, misuse("Queue.Bind", "Policy.TTL is %v, more than %v", p.TTL, MaxTTL)
	}
	return p, nil
}

// A Queue holds the commands for one device. It is a field of the type of the
// device's object. Like the object's other fields it belongs to the object's
// turn: only the object's handlers may use it. The zero Queue is ready for
// [Queue.Bind]. A Queue must not be copied after that.
type Queue struct {
	_      noCopy
	bound  *Queue      // itself, so that a copy is told apart; nil before Bind
	object *dog.Object // of Bind
	policy Policy

	// The following belongs to this life of the object. Writes can be undone,
	// so what is stored is only in known, which notices that.

	known  known
	looked bool  // for commands that are not counted
	told   error // why commands wait, as last logged

	device *dog.Socket // nil: away, or it does not take commands yet
	sent   uint64      // the last number sent on this connection; set back to send again
	head   head
	sign   time.Time // when the device last showed that it is at work, or got something to do
	pause  time.Time // until when nothing is sent, because the device asked for it
	again  bool      // the next delivery is due to a new connection

	timer   *dog.Timer
	timerAt time.Time // when timer fires

	epochSent string // of sent and head
	askers    map[name][]*asker
	ended     []ended // whose askers get the outcome once it is stored
}

// A head counts the deliveries of the first command.
type head struct {
	number  uint64
	count   int       // of deliveries that count
	counted time.Time // the last of them
}

// noCopy makes go vet report copies.
type noCopy struct{}

func (*noCopy) Lock() {}

func (*noCopy) Unlock() {}

// Bind connects the queue to its object. Call it in OnStart. The type must also
// have OnAlarm, which must call [Queue.OnAlarm]. An object has one queue: for a
// second one, Bind returns a [dog.UsageError]. Calling Bind again for the same
// queue only sets the policy.
func (q *Queue) Bind(object *dog.Object, policy Policy) error {
	if q == nil {
		return errNil("Queue.Bind")
	}
	if object == nil {
		return misuse("Queue.Bind", "the object is nil")
	}
	policy, err := policy.withDefaults()
	if err != nil {
		return err
	}
	if err := hook.HandleFrames(object, q, q.frame); err != nil {
		return err
	}
	if q.bound == q && q.object == object {
		q.policy = policy
		return nil
	}
	*q = Queue{bound: q, object: object, policy: policy, askers: make(map[name][]*asker)}
	if q.adopt(nil) { // a socket from before a hibernation
		q.wake(0)
	}
	return nil
}

// adopt sets the device's socket to an open socket that takes commands, other
// than failed, and reports whether there is one.
func (q *Queue) adopt(failed *dog.Socket) bool {
	for s := range q.object.Sockets() {
		if attached, ready := hook.Admitted(s); attached && ready && s != failed {
			q.device, q.again = s, true
			return true
		}
	}
	return false
}

// Attach registers a socket as the device's connection. Call it in OnOpen, for
// a client that the program has authenticated as the device. It closes the
// device's older connections, as [dog.Socket.Supersede] does. Waiting commands
// are sent as soon as the client has declared that it takes commands. Attach
// keeps the turn. It returns a [dog.UsageError] if the client does not speak
// dog.v1.
func (q *Queue) Attach(s *dog.Socket) error {
	if err := q.inTurn("Queue.Attach"); err != nil {
		return err
	}
	if s == nil {
		return misuse("Queue.Attach", "the socket is nil")
	}
	if s == q.device {
		return nil
	}
	for other := range q.object.Sockets() {
		if attached, _ := hook.Admitted(other); attached {
			q.wake(0) // it remains the device if this is undone
		}
	}
	if s.UID() != "" {
		if err := s.Supersede(); err != nil {
			return err
		}
	}
	switch err := hook.Admit(s); {
	case errors.Is(err, dog.ErrSocketClosed):
		return nil // a newer one has replaced it
	case err != nil:
		return err
	}
	for other := range q.object.Sockets() {
		if attached, _ := hook.Admitted(other); attached && other != s {
			if err := other.Close(wire.CloseReplaced, "replaced"); err != nil {
				return err
			}
		}
	}
	q.leave()
	if _, ready := hook.Admitted(s); ready && q.open(s) {
		q.device, q.again = s, true
		q.wake(0) // what this handler has stored may still be undone
	}
	return nil
}

// Connected reports whether the device is connected and takes commands.
func (q *Queue) Connected() bool {
	return q.usable("Queue.Connected") == nil && q.device != nil && q.open(q.device)
}

// open reports whether a socket is open and not being closed by Attach.
func (q *Queue) open(s *dog.Socket) bool {
	for other := range q.object.Sockets() {
		if other == s {
			return true
		}
	}
	return false
}

// OnAlarm expires commands, and deletes outcomes and dead letters after
// Policy.Keep. Call it in the object's OnAlarm. It ignores alarms with other
// names.
func (q *Queue) OnAlarm(_ context.Context, a dog.Alarm) error {
	if a.Name != Alarm {
		return nil
	}
	if err := q.inTurn("Queue.OnAlarm"); err != nil {
		return err
	}
	if err := q.sweep(); err != nil {
		return err
	}
	q.wake(0)
	return nil
}

// frame handles a frame of the device about commands.
func (q *Queue) frame(_ context.Context, socket any, binary bool, f wire.Frame) error {
	q.tellEnded() // to askers of commands that DeleteAll has deleted
	s := socket.(*dog.Socket)
	if f.Kind == wire.Ready {
		q.ready(s)
		return nil
	}
	r, err := wire.ParseReply(f.Header)
	if err != nil {
		return s.Close(wire.CloseMalformed, "not dog.v1")
	}
	var m dog.Message
	if len(f.Payload) > 0 {
		if m = (dog.Message{Type: dog.Text, Data: f.Payload}); binary {
			m.Type = dog.Binary
		}
	}
	return q.reply(r, m)
}

// leave resets what belongs to the device's connection.
func (q *Queue) leave() {
	q.device, q.sent, q.again = nil, 0, false
	q.pause = time.Time{}
}

// detach is leave, and stops the timer if nothing else is due.
func (q *Queue) detach() {
	q.leave()
	if len(q.ended) == 0 {
		q.rest()
	}
}

// rest stops the timer.
func (q *Queue) rest() {
	q.timer.Stop()
	q.timer = nil
}

// ready starts sending commands to a socket that takes them, unless a newer one
// has replaced it in the meantime.
func (q *Queue) ready(s *dog.Socket) {
	if s == q.device || !q.open(s) {
		return
	}
	q.leave()
	q.device, q.again = s, true
	q.pump()
}

// wake arranges for an event that sends what is due, after a delay.
func (q *Queue) wake(after time.Duration) {
	at := time.Now().Add(after)
	if q.timer != nil && !q.timerAt.After(at) {
		return
	}
	q.timer.Stop()
	q.timerAt = at
	q.timer = q.object.After(after, func(context.Context) error {
		q.timer = nil
		q.tellEnded()
		q.pump()
		return nil
	})
}

// now returns the time of day, by the clock of alarms.
func (q *Queue) now() time.Time {
	_, now := hook.Setting(q.object)
	return now
}

// usable returns an error unless the queue is bound.
func (q *Queue) usable(op string) error {
	switch {
	case q == nil:
		return errNil(op)
	case q.bound == nil:
		return misuse(op, "the queue is not bound to an object; call Bind in OnStart")
	case q.bound != q:
		return misuse(op, "the queue is a copy of the one that is bound")
	}
	return nil
}

// inTurn returns an error unless the queue is bound, and its object has the
// turn.
func (q *Queue) inTurn(op string) error {
	if err := q.usable(op); err != nil {
		return err
	}
	return hook.InTurn(q.object)
}

func misuse(op, format string, args ...any) error {
	return &dog.UsageError{Op: "outbox." + op, Problem: fmt.Sprintf(format, args...)}
}

func errNil(op string) error { return misuse(op, "the queue is nil") }
