package dog

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/wire"
)

// record is the history of an object or a group: its log, and the order in
// which its messages reach all sockets. It belongs to the identity of its
// owner, not to its life.
type record struct {
	log   *history.Log // fixed
	epoch string       // fixed

	// order is held while a message gets its place and is queued for all
	// sockets, and while a socket joins. So all sockets get the kept messages in
	// the same order, and one that joins misses none. It is taken before a group
	// state's mu and the locks of package conn.
	order sync.Mutex
	over  bool // its owner is being forgotten; guarded by order
}

// newRecord returns an empty record.
func newRecord(o HistoryOptions) *record {
	return &record{log: history.New(o.config()), epoch: newEpoch()}
}

// newEpoch returns a random name for a history.
func newEpoch() string {
	var b [8]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))[:wire.EpochLen]
}

// unixNow returns the time by which messages age.
func unixNow() int64 { return time.Now().Unix() }

// holds reports whether messages are kept that are not too old. r may be nil.
func (r *record) holds() bool {
	if r == nil {
		return false
	}
	r.log.Expire(unixNow())
	return r.log.Stats().Messages > 0
}

// hold locks order until release is called. r may be nil.
func (r *record) hold() (release func()) {
	if r == nil {
		return func() {}
	}
	r.order.Lock()
	return r.order.Unlock
}

// endLocked lets the record keep nothing more. The caller must hold order. r may
// be nil.
func (r *record) endLocked() {
	if r != nil {
		r.over = true
	}
}

// keep keeps a message, and has send queue it for the sockets. send reports
// whether more is queued than the machine writes. If the owner of the record is
// being forgotten, keep returns object.ErrRetired.
func (r *record) keep(out outgoing, to history.Audience, send func() (long bool)) (long bool, err error) {
	r.order.Lock()
	defer r.order.Unlock()
	if r.over {
		return false, object.ErrRetired
	}
	out.frame.Keep(r.log.Append(byte(out.frame.Op()), out.frame.Payload(), out.key, to, unixNow()))
	return send(), nil
}

// whisper keeps a message for a uid, and sends it to the sockets of the uid. It
// returns their number. The error is that of keep.
func (r *record) whisper(out outgoing, uid string, socketsOf func(uid string) []*Socket) (reached int, err error) {
	_, err = r.keep(out, history.Audience{Only: uid}, func() bool {
		for _, s := range socketsOf(uid) {
			if s.conn.Send(out.frame, out.key) == nil {
				reached++
			}
		}
		return false
	})
	return reached, err
}

// audience returns for whom a message is that is sent to all sockets.
func (o outgoing) audience() history.Audience {
	to := history.Audience{Except: o.except.Owner}
	if o.except.Conn != nil {
		if s := o.except.Conn.Data.(*Socket); s.v1 != nil {
			to.ExceptSession = s.v1.session
		}
	}
	return to
}

// Next returns the next messages for a connection that is behind. It
// implements [conn.Source].
func (r *record) Next(c *conn.Conn, after, until uint64, size int) (*conn.Frame, uint64, error) {
	s := c.Data.(*Socket)
	reader := history.Reader{UID: s.uid}
	if s.v1 != nil {
		reader.Session = s.v1.session
	}
	p, gap := r.log.Next(after, until, size, reader)
	switch {
	case !gap && p.Count > 0:
		return conn.NewKept(p.Frames, p.Count), p.End, nil
	case !gap:
		return nil, p.End, nil
	case s.v1 == nil:
		return nil, p.End, conn.ErrGap
	}
	told, err := json.Marshal(gapFrame{r.place(after), r.place(p.End), GapSlow})
	return conn.NewControl(append([]byte{wire.Gap}, told...)), p.End, err
}

// gapFrame is the payload of a frame that reports a gap to a client.
type gapFrame struct {
	From Position  `json:"from"`
	To   Position  `json:"to"`
	Why  GapReason `json:"why"`
}

// resume returns from where on a client gets messages that had a position, "" if
// it has none, or asks for new messages only. The caller must hold order.
func (r *record) resume(asked Position, latest bool) (Resume, uint64) {
	res := Resume{Asked: asked}
	last, oldest := r.log.Last(), r.log.Oldest()
	p, err := wire.ParsePosition(string(asked))
	from := oldest
	switch {
	case latest:
		res.Gap, from = GapFirst, last
	case asked == "":
		res.Gap = GapFirst
	case err != nil || p.Epoch != r.epoch:
		res.Gap = GapEpoch
	case p.Offset > last:
		res.Gap = GapAhead
	case p.Offset < oldest:
		res.Gap = GapExpired
	default:
		from = p.Offset
	}
	res.From = r.place(from)
	return res, from
}
