package history

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/godurable/dog/internal/frame"
)

// An Entry is a message of a log with everything that is known of it.
type Entry struct {
	Offset  uint64
	At      int64 // when it was sent, in Unix seconds
	Op      byte
	Key     string
	To      Audience
	Payload []byte // must not be changed
}

// Encode returns everything but the offset in the form that [Decode] reads: the
// opcode, the time and four texts with their lengths as varints, and the
// payload.
func (e Entry) Encode() []byte {
	b := make([]byte, 0, 1+5*binary.MaxVarintLen64+len(e.Key)+len(e.To.Only)+len(e.Payload))
	b = append(b, e.Op)
	b = binary.AppendVarint(b, e.At)
	for _, text := range []string{e.Key, e.To.Only, e.To.Except, e.To.ExceptSession} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return append(b, e.Payload...)
}

// errEntry is returned by Decode.
var errEntry = errors.New("not an entry of a history")

// Decode returns the entry that [Entry.Encode] has encoded. It keeps data.
func Decode(offset uint64, data []byte) (Entry, error) {
	if len(data) == 0 {
		return Entry{}, errEntry
	}
	e := Entry{Offset: offset, Op: data[0]}
	at, n := binary.Varint(data[1:])
	if n <= 0 {
		return Entry{}, errEntry
	}
	e.At, data = at, data[1+n:]
	for _, text := range []*string{&e.Key, &e.To.Only, &e.To.Except, &e.To.ExceptSession} {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return Entry{}, errEntry
		}
		*text, data = string(data[n:n+int(size)]), data[n+int(size):]
	}
	e.Payload = data
	return e, nil
}

// Entries returns the messages that are kept, oldest first.
func (l *Log) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Entry, 0, l.count)
	for k, b := range l.blocks {
		for i := range b.ends {
			n := b.noteOf(i)
			if k == 0 && i < l.head || n != nil && n.replaced {
				continue
			}
			data := b.data[b.start(i):b.ends[i]]
			e := Entry{Offset: b.offset(i), At: b.at, Op: data[0] & 0xF}
			if n != nil {
				e.Key, e.To = n.key, n.to
			}
			body := frame.Payload(data)
			_, e.Payload, _ = bytes.Cut(body, []byte{'\n'})
			all = append(all, e)
		}
	}
	return all
}

// Restore returns a log with entries of an earlier one, oldest first, as far as
// they are within the bounds. gone and removed are the result of [Log.Gone] and
// last that of [Log.Last] of the earlier log. Restore keeps removed.
func Restore(c Config, gone, last uint64, removed *Removed, entries []Entry, now int64) *Log {
	l := New(c)
	l.gone, l.last, l.removed = gone, gone, removed
	for _, e := range entries {
		l.Add(e)
	}
	l.last = max(l.last, last)
	l.Expire(now)
	return l
}

// Add adds an entry, whose offset must be greater than [Log.Last], and returns
// its frame, which must not be changed. replaced is the offset of the earlier
// message with its key, or 0.
func (l *Log) Add(e Entry) (frame []byte, replaced uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = e.Offset
	return l.addLocked(e.Op, e.Payload, e.Key, e.To, e.At)
}
