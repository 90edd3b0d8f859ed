package history

import (
	"bytes"
	"iter"

	"github.com/godurable/dog/internal/frame"
	"github.com/godurable/dog/internal/wire"
)

// A Message is a message of a [Part].
type Message struct {
	Offset  uint64
	Op      byte
	Payload []byte // must not be changed
}

// Messages returns the messages of the part.
func (p Part) Messages() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for rest := p.Frames; len(rest) > 0; {
			op := rest[0] & 0xF
			var body []byte
			body, rest = frame.Cut(rest)
			mark, payload, _ := bytes.Cut(body, []byte{'\n'})
			offset, err := wire.ParsePlace(string(mark[1:]))
			if err != nil {
				panic(err) // block.append wrote it
			}
			if !yield(Message{Offset: offset, Op: op, Payload: payload}) {
				return
			}
		}
	}
}

// Page is [Log.Next] for a reader who wants to know whether more messages
// follow. If none do, the part is complete up to the newest message.
func (l *Log) Page(after uint64, size int, r Reader) (p Part, more, gap bool) {
	const noEnd = 1<<64 - 1
	p, gap = l.Next(after, noEnd, size, r)
	if gap || p.Count == 0 {
		return p, false, gap
	}
	rest, lost := l.Next(p.End, noEnd, 1, r)
	if lost || rest.Count > 0 {
		return p, true, false
	}
	p.End = rest.End
	return p, false, false
}
