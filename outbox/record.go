package outbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/godurable/dog"
)

// The keys of a queue, besides hook.EpochKey.
const (
	totalsKey    = "outbox/queue"
	commandKeys  = "outbox/c/" // and the number
	outcomeKeys  = "outbox/k/" // and the key of the command
	replaceKeys  = "outbox/r/" // and the name that commands replace; the value is the number
	deadKeys     = "outbox/d/" // and the number
	keptOverhead = 64          // bytes that each outcome or dead letter counts in addition
)

// numberKey returns a number as text that sorts like the number.
func numberKey(n uint64) string {
	const digits = 14
	text := strconv.AppendUint(make([]byte, 0, 2*digits), 1<<(4*digits)|n, 16) // as %014x, in a third of the time
	return string(text[1:])
}

// A command is the stored record of a waiting command or a dead letter.
type command struct {
	Expires int64  // Unix milliseconds
	Key     string // "": none
	Replace string // "": none
	Count   int    // of deliveries, from the second on
	Until   int64  // of a dead letter: Unix milliseconds until when it is kept
	Message dog.Message
}

// size returns the size of a command in bytes.
func (c command) size() int { return len(c.Message.Data) + len(c.Key) + len(c.Replace) }

// keptSize returns the size of a dead letter in bytes.
func (c command) keptSize() int { return keptOverhead + c.size() }

// maxSize is the maximum size of a command. It leaves room for the rest of its
// record, which grows when the command becomes a dead letter.
const maxSize = 2<<20 - 128

// commandCodec encodes a command: a byte that is 1 for binary, the numbers, the
// lengths of the texts, the texts, and the message.
type commandCodec struct{}

// Encode implements [dog.Codec].
func (commandCodec) Encode(v any) ([]byte, error) {
	c := v.(command)
	b := make([]byte, 1, 1+5*binary.MaxVarintLen64+c.size())
	if c.Message.Type == dog.Binary {
		b[0] = 1
	}
	for _, n := range []uint64{
		uint64(c.Expires), uint64(c.Count), uint64(c.Until), uint64(len(c.Key)), uint64(len(c.Replace)),
	} {
		b = binary.AppendUvarint(b, n)
	}
	return append(append(append(b, c.Key...), c.Replace...), c.Message.Data...), nil
}

// Decode implements [dog.Codec].
func (commandCodec) Decode(data []byte, v any) error {
	whole := data
	damaged := func() error { return fmt.Errorf("%w: %q", errDamaged, whole[:min(len(whole), 40)]) }
	if len(data) == 0 || data[0] > 1 {
		return damaged()
	}
	binaryBody, data := data[0] == 1, data[1:]
	var numbers [5]uint64
	for i := range numbers {
		n, size := binary.Uvarint(data)
		if size <= 0 {
			return damaged()
		}
		numbers[i], data = n, data[size:]
	}
	key, replace, left := numbers[3], numbers[4], uint64(len(data))
	if key > left || replace > left-key {
		return damaged()
	}
	*v.(*command) = command{
		Expires: int64(numbers[0]), Count: int(numbers[1]), Until: int64(numbers[2]),
		Key: string(data[:key]), Replace: string(data[key : key+replace]),
		Message: messageOf(binaryBody, data[key+replace:]),
	}
	return nil
}

func messageOf(binaryBody bool, data []byte) dog.Message {
	if binaryBody {
		return dog.Message{Type: dog.Binary, Data: data}
	}
	return dog.Message{Type: dog.Text, Data: data}
}

// errDamaged is the error for a record that is not a command.
var errDamaged = errors.New("outbox: not a command")

// A queued command is a command with its number.
type queued struct {
	number uint64
	command
}

// stored returns the commands of a map from a number on, in the order of their
// numbers. If there is an error, it is the last item.
func stored(commands dog.Map[command], from uint64) iter.Seq2[queued, error] {
	return func(yield func(queued, error) bool) {
		for e, err := range commands.List(dog.ListOptions{Start: numberKey(from)}) {
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

// An ending is the stored record of an outcome.
type ending struct {
	Number  uint64      `json:"id"`
	State   State       `json:"s"`
	Until   int64       `json:"u,omitempty"` // Unix milliseconds; 0 while the command waits
	NoReply bool        `json:"b,omitempty"` // the reply was too big to be stored
	Reply   dog.Message `json:"-"`
}

// size returns the size of an outcome with a key in bytes, 0 while the command
// waits.
func (e ending) size(key string) int {
	if e.State == Waiting {
		return 0
	}
	return keptOverhead + len(key) + len(e.Reply.Data)
}

// endingCodec encodes an ending: JSON, a line feed or, for a binary reply, a 0,
// and the reply.
type endingCodec struct{}

// Encode implements [dog.Codec].
func (endingCodec) Encode(v any) ([]byte, error) {
	e := v.(ending)
	data, err := json.Marshal(e) // without a line feed
	if err != nil {
		return nil, err
	}
	mark := byte('\n')
	if e.Reply.Type == dog.Binary {
		mark = 0
	}
	return append(append(data, mark), e.Reply.Data...), nil
}

// Decode implements [dog.Codec].
func (endingCodec) Decode(data []byte, v any) error {
	i := bytes.IndexAny(data, "\n\x00")
	if i < 0 {
		return fmt.Errorf("outbox: not an outcome: %.40q", data)
	}
	e := v.(*ending)
	e.Reply = messageOf(data[i] == 0, data[i+1:])
	return json.Unmarshal(data[:i], e)
}

func (q *Queue) commands() dog.Map[command] {
	return dog.MapOf[command](q.object.Storage(), commandKeys).With(commandCodec{})
}

func (q *Queue) letters() dog.Map[command] {
	return dog.MapOf[command](q.object.Storage(), deadKeys).With(commandCodec{})
}

func (q *Queue) endings() dog.Map[ending] {
	return dog.MapOf[ending](q.object.Storage(), outcomeKeys).With(endingCodec{})
}

func (q *Queue) replaces() dog.Map[uint64] { return dog.MapOf[uint64](q.object.Storage(), replaceKeys) }

func millis(t time.Time) int64 { return t.UnixMilli() }
