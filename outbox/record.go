package outbox

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/wire"
)

// The keys of a queue.
const (
	totalsKey    = "outbox/queue"
	commandKeys  = "outbox/c/" // and the number
	outcomeKeys  = "outbox/k/" // and the key of the command
	replaceKeys  = "outbox/r/" // and the name that commands replace; the value is the number
	deadKeys     = "outbox/d/" // and the number
	keptOverhead = 64          // bytes that something kept counts in addition
)

// numberKey returns a number so that texts sort like numbers.
func numberKey(n uint64) string { return fmt.Sprintf("%014x", n) }

// totals are what a queue has in total.
type totals struct {
	Last    uint64 `json:"last"`           // number that was given
	Waiting int    `json:"n,omitempty"`    // commands that wait
	Bytes   int    `json:"b,omitempty"`    // of them
	Kept    int    `json:"kept,omitempty"` // bytes of outcomes and dead letters
	Alarm   int64  `json:"a,omitempty"`    // when it was set for, in Unix milliseconds; 0: there is none
}

// A record is a stored value: JSON, and after a line feed a message.
type record[T any] struct {
	T       T
	Message dog.Message
}

// recordCodec encodes a record[T].
type recordCodec[T any] struct{}

// Encode implements [dog.Codec].
func (recordCodec[T]) Encode(v any) ([]byte, error) {
	r := v.(record[T])
	data, err := json.Marshal(r.T) // without a line feed
	if err != nil {
		return nil, err
	}
	mark := byte('\n')
	if r.Message.Type == dog.Binary {
		mark = 0
	}
	return append(append(data, mark), r.Message.Data...), nil
}

// Decode implements [dog.Codec].
func (recordCodec[T]) Decode(data []byte, v any) error {
	r := v.(*record[T])
	i := bytes.IndexAny(data, "\n\x00")
	if i < 0 {
		return fmt.Errorf("outbox: not a record: %.40q", data)
	}
	r.Message = dog.Message{Type: dog.Text, Data: data[i+1:]}
	if data[i] == 0 {
		r.Message.Type = dog.Binary
	}
	return json.Unmarshal(data[:i], &r.T)
}

// waiting is what is stored of a command that waits, or is a dead letter.
type waiting struct {
	Expires int64  `json:"x"`           // Unix milliseconds
	Key     string `json:"k,omitempty"` // "": none
	Replace string `json:"r,omitempty"` // "": none
	Count   int    `json:"n,omitempty"` // of deliveries, from the second on
	Until   int64  `json:"u,omitempty"` // of a dead letter: Unix milliseconds until when it is kept
}

// A queued command is one that waits, or a dead letter.
type queued struct {
	number uint64
	record[waiting]
}

// stored returns the commands of a map, in the order of their numbers. An error
// is the last item.
func stored(commands dog.Map[record[waiting]]) iter.Seq2[queued, error] {
	return func(yield func(queued, error) bool) {
		for e, err := range commands.List(dog.ListOptions{}) {
			var number uint64
			if err == nil {
				number, err = strconv.ParseUint(e.Key, 16, 64)
			}
			if !yield(queued{number, e.Value}, err) || err != nil {
				return
			}
		}
	}
}

// sizeOf returns how many bytes a command counts.
func sizeOf(c record[waiting]) int { return len(c.Message.Data) + len(c.T.Key) + len(c.T.Replace) }

// ending is what is stored of an outcome.
type ending struct {
	Number uint64 `json:"id"`
	State  State  `json:"s"`
	Until  int64  `json:"u,omitempty"` // Unix milliseconds; 0 while the command waits

	NoReply bool `json:"b,omitempty"` // it was too big to be stored
}

// keptSize returns how many bytes an outcome counts, 0 while the command waits.
func keptSize(key string, e record[ending]) int {
	if e.T.State == Waiting {
		return 0
	}
	return keptOverhead + len(key) + len(e.Message.Data)
}

func (q *Queue) commands() dog.Map[record[waiting]] {
	return dog.MapOf[record[waiting]](q.object.Storage(), commandKeys).With(recordCodec[waiting]{})
}

func (q *Queue) letters() dog.Map[record[waiting]] {
	return dog.MapOf[record[waiting]](q.object.Storage(), deadKeys).With(recordCodec[waiting]{})
}

func (q *Queue) endings() dog.Map[record[ending]] {
	return dog.MapOf[record[ending]](q.object.Storage(), outcomeKeys).With(recordCodec[ending]{})
}

func (q *Queue) replaces() dog.Map[uint64] { return dog.MapOf[uint64](q.object.Storage(), replaceKeys) }

func (q *Queue) totals() (totals, error) {
	t, _, err := dog.Get[totals](q.object.Storage(), totalsKey)
	return t, err
}

func (q *Queue) putTotals(t totals) error { return dog.Put(q.object.Storage(), totalsKey, t) }

// epoch returns the epoch of the queue's numbers. If there is none, it makes
// one. The stored text alone would be the same in a backup.
func (q *Queue) epoch() (string, error) {
	epoch, err := q.knownEpoch()
	if err != nil || epoch != "" {
		return epoch, err
	}
	if err := q.object.Storage().Put(hook.EpochKey, []byte(rand.Text())); err != nil {
		return "", err
	}
	return q.knownEpoch()
}

// knownEpoch returns the epoch of the queue's numbers, or "" if there is none.
func (q *Queue) knownEpoch() (string, error) {
	nonce, found, err := q.object.Storage().Get(hook.EpochKey)
	if err != nil || !found {
		return "", err
	}
	storeCopy, _ := hook.Setting(q.object)
	return wire.EpochOf(fmt.Sprintf("%s\n%v\n%s", storeCopy, q.object.ID(), nonce)), nil
}

func millis(t time.Time) int64 { return t.UnixMilli() }
