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
	// Window is how many commands that are not acknowledged are on their way
	// to the device at a time. Default: 1.
	Window int

	// AckWait is how long the device may be silent about a command before it
	// is sent again. Default: 30 s.
	AckWait time.Duration

	// Deliver is how often a command is delivered before it becomes a dead
	// letter. Default: 10. A delivery because the device has connected again
	// counts only if 1 s has passed since the one before, then 2 s, and so on
	// up to 5 minutes, so that a device that reconnects in quick succession
	// does not use up its commands. That time is not stored: each new life of
	// the object counts its first delivery at once.
	Deliver int

	// TTL is how long a command waits that has no [TTL] of its own. Default:
	// 24 h. It is at most [MaxTTL].
	TTL time.Duration

	// Keep is how long the outcome of a command with a [Key], and a dead
	// letter, are kept. They may be kept longer by a twenty-fourth of that.
	// Default: 24 h.
	Keep time.Duration

	// Waiting is how many commands may wait. Default: 1,000.
	Waiting int

	// Bytes is how many bytes of commands may wait. Default: 1 MiB.
	Bytes int

	// KeepBytes is how many bytes of outcomes and dead letters may be kept
	// before Put refuses more commands. Each counts as 64 bytes more than it
	// has. Default: 4 MiB.
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
// device's object, and belongs to the object's turn, like its other fields:
// only the object's handlers use it. The zero Queue is ready for [Queue.Bind].
// A Queue must not be copied after that.
type Queue struct {
	_      noCopy
	bound  *Queue      // itself, so that a copy is told apart; nil before Bind
	object *dog.Object // of Bind
	policy Policy

	// What follows is known to this life of the object only. What is stored can
	// be undone, so only known says what is stored, which notices that.

	known  known
	looked bool  // for commands that are not counted
	told   error // why commands wait, as it was logged

	device *dog.Socket // nil: away, or it does not take commands yet
	sent   uint64      // on this connection, up to this number, since it began or went back
	head   head
	sign   time.Time // when the device last showed that it is at work, or got something to do
	pause  time.Time // until when nothing is sent, because the device asked for it
	again  bool      // what is sent next is sent because the device has connected

	timer   *dog.Timer
	timerAt time.Time // when timer fires

	epochSent string // of sent and head
	askers    map[name][]*asker
	ended     []ended // who have askers, who are told once it is known to be stored
}

// A head is what is known about deliveries of the first command.
type head struct {
	number  uint64
	count   int       // of deliveries that count
	counted time.Time // the last of them
}

// noCopy makes go vet report copies.
type noCopy struct{}

func (*noCopy) Lock() {}

func (*noCopy) Unlock() {}

// Bind makes the queue that of an object. OnStart must call it, and the type
// must have OnAlarm and call [Queue.OnAlarm] there. An object has one queue:
// for a second one, Bind returns a [dog.UsageError]. For the same one again it
// sets the policy only.
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
	if q.adopt(nil) { // one from before a hibernation
		q.wake(0)
	}
	return nil
}

// adopt makes an open socket that takes commands, other than one that failed,
// that of the device, and reports whether there is one.
func (q *Queue) adopt(failed *dog.Socket) bool {
	for s := range q.object.Sockets() {
		if attached, ready := hook.Admitted(s); attached && ready && s != failed {
			q.device, q.again = s, true
			return true
		}
	}
	return false
}

// Attach makes a socket that of the device. OnOpen calls it, for sockets whose
// client the program knows to be the device. It closes the device's older
// connections, as [dog.Socket.Supersede] does. When the client says that it
// takes commands, it gets at once what waits. Attach keeps the turn. It returns
// a [dog.UsageError] if the client does not speak dog.v1.
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

// open reports whether a socket is open, and no Attach closes it.
func (q *Queue) open(s *dog.Socket) bool {
	for other := range q.object.Sockets() {
		if other == s {
			return true
		}
	}
	return false
}

// OnAlarm lets commands expire and forgets what has been kept for long enough.
// OnAlarm of the object calls it. It does nothing for alarms with other names.
func (q *Queue) OnAlarm(_ context.Context, a dog.Alarm) error {
	if a.Name != Alarm {
		return nil
	}
	if err := q.inTurn("Queue.OnAlarm"); err != nil {
		return err
	}
	q.tellEnded()
	if err := q.sweep(); err != nil {
		return err
	}
	q.wake(0)
	return nil
}

// frame handles what the device says about commands.
func (q *Queue) frame(_ context.Context, socket any, binary bool, f wire.Frame) error {
	q.tellEnded() // the event that should have done so may have been refused
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

// leave forgets the device's connection.
func (q *Queue) leave() {
	q.device, q.sent, q.again = nil, 0, false
	q.pause = time.Time{}
}

// detach is leave where nothing else is to be done.
func (q *Queue) detach() {
	q.leave()
	if len(q.ended) == 0 {
		q.rest()
	}
}

// rest ends the wait for the next time that something is to be done.
func (q *Queue) rest() {
	q.timer.Stop()
	q.timer = nil
}

// ready begins to send commands to a socket that takes them, unless a newer one
// has taken its place since it said so.
func (q *Queue) ready(s *dog.Socket) {
	if s == q.device || !q.open(s) {
		return
	}
	q.leave()
	q.device, q.again = s, true
	q.pump()
}

// wake makes an event of its own send what is to be sent, after a while.
func (q *Queue) wake(after time.Duration) {
	now := time.Now()
	at := now.Add(after)
	// One that should have fired was dropped because too many events waited.
	if q.timer != nil && !q.timerAt.After(at) && now.Sub(q.timerAt) < time.Second {
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

// now returns the time of day by which alarms run.
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
		return misuse(op, "the queue is not bound to an object; OnStart calls Bind")
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
