package history

import (
	"bytes"
	"encoding/gob"
)

// dump is the stored form of a log.
type dump struct {
	Last, Gone uint64
	Messages   []dumped
}

type dumped struct {
	Offset  uint64
	At      int64
	Op      byte
	Key     string
	To      Audience
	Payload []byte
}

// Dump returns the log in a form that Restore reads.
func (l *Log) Dump() ([]byte, error) {
	l.mu.Lock()
	d := dump{Last: l.last, Gone: l.gone}
	for k, b := range l.blocks {
		for i := range b.ends {
			n := b.noteOf(i)
			if k == 0 && i < l.head || n != nil && n.replaced {
				continue
			}
			m := dumped{Offset: b.offset(i), At: b.at}
			if n != nil {
				m.Key, m.To = n.key, n.to
			}
			frame := b.data[b.start(i):b.ends[i]]
			body, _ := cutFrame(frame)
			m.Op = frame[0] & 0xF
			_, m.Payload, _ = bytes.Cut(body, []byte{'\n'})
			d.Messages = append(d.Messages, m)
		}
	}
	l.mu.Unlock()
	var out bytes.Buffer
	err := gob.NewEncoder(&out).Encode(d)
	return out.Bytes(), err
}

// Restore returns a log with what Dump returned, within the bounds.
func Restore(c Config, data []byte, now int64) (*Log, error) {
	var d dump
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&d); err != nil {
		return nil, err
	}
	l := New(c)
	l.gone = d.Gone
	for _, m := range d.Messages {
		l.appendAt(m.Offset, m.Op, m.Payload, m.Key, m.To, m.At)
	}
	l.last = max(l.last, d.Last)
	l.Expire(now)
	return l, nil
}

func (l *Log) appendAt(offset uint64, op byte, payload []byte, key string, to Audience, at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = offset - 1
	l.appendLocked(op, payload, key, to, at)
}
