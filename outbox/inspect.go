package outbox

import (
	"iter"
	"time"

	"github.com/godurable/dog"
)

// A Command is one that waits, or a dead letter.
type Command struct {
	Number     uint64
	Body       dog.Message
	Key        string // "": none
	Replace    string // "": none
	Expires    time.Time
	Deliveries int // that count; a single one is not counted
}

// Waiting returns the commands that wait, in the order in which the device gets
// them. They may be secret: the object decides who sees them. The loop must end
// before the handler waits. An error is the last item.
func (q *Queue) Waiting() iter.Seq2[Command, error] {
	return q.list("Queue.Waiting", (*Queue).commands)
}

// Dead returns the dead letters that are kept, in the order of their numbers,
// as Waiting does.
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

// Status counts what a queue holds.
type Status struct {
	Last      uint64 // number that was given
	Waiting   int    // commands that wait
	Bytes     int    // of these commands
	KeptBytes int    // of outcomes and dead letters
}

// Status returns what the queue holds.
func (q *Queue) Status() (Status, error) {
	if err := q.usable("Queue.Status"); err != nil {
		return Status{}, err
	}
	t, err := q.totals()
	return Status{Last: t.Last, Waiting: t.Waiting, Bytes: t.Bytes, KeptBytes: t.Kept}, err
}
