package record

import (
	"encoding/json"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/wire"
)

// Gap is the gap that a client gets for missing messages. From and To are
// positions.
type Gap struct {
	From string `json:"from"`
	To   string `json:"to"`
	Why  string `json:"why"`
}

// Next returns the next messages for a connection that is behind. It implements
// [conn.Source].
func (r *Record) Next(c *conn.Conn, after, until uint64, size int) (*conn.Frame, uint64, error) {
	reader, marked := r.config.Reader(c)
	now := r.Now()
	p, gap := now.log.Next(after, until, size, reader)
	switch {
	case !gap && p.Count > 0:
		return conn.NewKept(p.Frames, p.Count), p.End, nil
	case !gap:
		return nil, p.End, nil
	case !marked:
		return nil, p.End, conn.ErrGap
	}
	r.config.Missed(c)
	told, err := json.Marshal(Gap{now.Place(after), now.Place(p.End), Slow})
	return conn.NewControl(append([]byte{wire.Gap}, told...)), p.End, err
}

// Enter keeps the record's owner in memory for a reader that is not a
// connection, until Leave. If the owner is being forgotten, which retired
// reports, Enter returns object.ErrRetired.
func (r *Record) Enter(retired func() bool) error {
	r.order.Lock()
	over := r.over
	r.readers.Add(1)
	r.order.Unlock()
	if over || retired() {
		r.Leave(false)
		return object.ErrRetired
	}
	return nil
}

// Leave undoes Enter. If the reader may come back soon, the owner stays in
// memory for readerGrace.
func (r *Record) Leave(returns bool) {
	if returns {
		r.expected.Store(unixNow() + int64(readerGrace.Seconds()))
	}
	r.readers.Add(-1)
}

// readerGrace is how long a client that follows a history may take between a
// response and its next request, without a gap in a history that has no
// messages.
const readerGrace = 30 * time.Second

// After returns a channel that is closed when there is a message after an
// offset of a chapter, or the chapter is over. It returns nil if that is so
// already.
func (r *Record) After(c *Chapter, offset uint64) <-chan struct{} {
	r.order.Lock()
	defer r.order.Unlock()
	if r.Now() != c || c.Last() > offset {
		return nil
	}
	if r.news == nil {
		r.news = make(chan struct{})
	}
	return r.news
}

// wakeLocked wakes the readers that wait, after something has been kept or the
// chapter has changed. The caller must hold order.
func (r *Record) wakeLocked() {
	if r.news != nil {
		close(r.news)
		r.news = nil
	}
}
