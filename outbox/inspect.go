package outbox

import (
	"iter"
	"time"

	"github.com/godurable/dog"
)

// A Command is a waiting command or a dead letter.
type Command struct {
	Number     uint64
	Body       dog.Message
	Key        string // "": none
	Replace    string // "": none
	Expires    time.Time
	Deliveries int // that count; 0 for none or one
}

// Waiting returns the waiting commands, in the order in which the device gets
// them. They may be secret: the object decides who sees them. The loop must end
// before the handler waits. If there is an error, it is the last item.
func (q *Queue) Waiting() iter.Seq2[Command, error] {
	return q.list("Queue.Waiting", (*Queue).commands)
}

// Dead returns the kept dead letters in the order of their numbers, as Waiting
// does. See [Queue.Requeue] and [Queue.Discard].
func (q *Queue) Dead() iter.Seq2[Command, error] { return q.list("Queue.Dead", (*Queue).letters) }

// list returns commands of a map.
func (q *Queue) list(op string, of func(*Queue) dog.Map[command]) iter.Seq2[Command, error] {
	return func(yield func(Command, error) bool) {
		if err := q.usable(op); err != nil {
			yield(Command{}, err)
			return
		}
		for c, err := range stored(of(q), 0) {
			if err != nil {
				yield(Command{}, err)
				return
			}
			if !yield(Command{
				Number: c.number, Body: c.Message, Key: c.Key, Replace: c.Replace,
				Expires: time.UnixMilli(c.Expires), Deliveries: c.Count,
			}, nil) {
				return
			}
		}
	}
}

// Status is the number and size of what a queue holds.
type Status struct {
	Last      uint64 // the greatest number of a command so far
	Waiting   int    // commands that wait
	Bytes     int    // of these commands
	Dead      int    // dead letters
	KeptBytes int    // of outcomes and dead letters
}

// Status returns the number and size of what the queue holds.
func (q *Queue) Status() (Status, error) {
	if err := q.usable("Queue.Status"); err != nil {
		return Status{}, err
	}
	t, err := q.totals()
	return Status{Last: t.Last, Waiting: t.Waiting, Bytes: t.Bytes, Dead: t.Dead, KeptBytes: t.Kept}, err
}
