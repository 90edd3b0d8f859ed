package history

import (
	"bytes"
	"encoding/binary"
	"iter"

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
			body, rest = cutFrame(rest)
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

// cutFrame returns the payload of the first frame of some, and the others. It
// is the reverse of appendHeader.
func cutFrame(frames []byte) (payload, rest []byte) {
	n, header := int(frames[1]), 2
	switch n {
	case 126:
		n, header = int(binary.BigEndian.Uint16(frames[2:])), 4
	case 127:
		n, header = int(binary.BigEndian.Uint64(frames[2:])), 10
	}
	return frames[header : header+n : header+n], frames[header+n:]
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
