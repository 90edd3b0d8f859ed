package dog

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/wire"
)

// record is the history of an object or a group: its log, and the order in
// which its messages reach all sockets. It belongs to the identity of its
// owner, not to its life.
type record struct {
	config history.Config // fixed

	now  atomic.Pointer[chapter] // changed under order
	told atomic.Bool             // a client has a position in the history

	loading sync.Once
	loaded  error // set by loading

	// order is held while a message gets its place and is queued for all
	// sockets, and while a socket joins. So all sockets get the kept messages
	// in the same order, and one that joins misses none. It is taken before a
	// group state's mu and the locks of package conn.
	order sync.Mutex
	over  bool // its owner is being forgotten; guarded by order

	// For readers that are not sockets (see History).
	readers  atomic.Int32  // those that wait or may wait for messages
	expected atomic.Int64  // until when one may come back, in Unix seconds
	news     chan struct{} // closed by wakeLocked; nil: nobody waits; guarded by order
}

// chapter is a history as long as it lasts: until the data of its owner is
// replaced.
type chapter struct {
	log   *history.Log
	epoch string
	past  []past // earlier epochs
}

// past is an epoch of the history before a restart, whose positions up to an
// offset are still good.
type past struct {
	Epoch string
	Last  uint64
}

// maxPast is the maximum number of earlier epochs that a record remembers.
const maxPast = 64

// newRecord returns an empty record.
func newRecord(o HistoryOptions) *record {
	r := &record{config: o.config()}
	r.now.Store(&chapter{log: history.New(r.config), epoch: newEpoch()})
	return r
}

// storedRecord is the stored form of a record.
type storedRecord struct {
	Past []past // the latest last
	Log  []byte
}

// load takes over what the runtime before has saved of the history of an
// object. It must have returned before anything is kept or anybody joins. What
// it takes over is deleted first, so that a crash of this process leaves
// nothing that is out of date.
func (r *record) load(ctx context.Context, e store.Engine, base store.Base) error {
	if r == nil || e == nil {
		return nil
	}
	r.loading.Do(func() { r.loaded = r.tryLoad(ctx, e, base) })
	return r.loaded
}

func (r *record) tryLoad(ctx context.Context, e store.Engine, base store.Base) error {
	for note, err := range store.Notes(e, base, store.Histories) {
		if err != nil {
			return err
		}
		b := e.Begin()
		store.DeleteNote(b, base, store.Histories, note.Key)
		commit, err := b.Commit()
		if err != nil {
			return err
		}
		durable := make(chan error, 1)
		e.OnDurable(commit, func(err error) { durable <- err })
		select {
		case err = <-durable:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		var stored storedRecord
		if err := json.Unmarshal(note.Value, &stored); err != nil {
			return fmt.Errorf("%w: a history: %w", store.ErrCorrupt, err)
		}
		log, err := history.Restore(r.config, stored.Log, unixNow())
		if err != nil {
			return fmt.Errorf("%w: a history: %w", store.ErrCorrupt, err)
		}
		r.order.Lock()
		defer r.order.Unlock()
		r.now.Store(&chapter{log: log, epoch: newEpoch(), past: stored.Past})
		return nil
	}
	return nil
}

// save adds the record to a batch, for load.
func (r *record) save(b store.Batch, base store.Base) error {
	now := r.now.Load()
	if !r.holds() && !r.told.Load() && len(now.past) == 0 {
		return nil
	}
	log, err := now.log.Dump()
	if err != nil {
		return err
	}
	stored := storedRecord{Log: log}
	for _, p := range now.past {
		if p.Last >= now.log.Oldest() {
			stored.Past = append(stored.Past, p)
		}
	}
	stored.Past = append(stored.Past[max(len(stored.Past)-maxPast, 0):], past{now.epoch, now.log.Last()})
	data, err := json.Marshal(stored)
	if err == nil {
		store.SetNote(b, base, store.Histories, "", data)
	}
	return err
}

// clear removes all messages, and begins another epoch. Sockets that are open
// go on from where they are.
func (r *record) clear() {
	r.order.Lock()
	defer r.order.Unlock()
	log := r.now.Load().log
	log.Clear()
	r.now.Store(&chapter{log: log, epoch: newEpoch()})
	r.wakeLocked()
}

// offset returns the offset of a position, and reports whether the position is
// of this history.
func (c *chapter) offset(p wire.Position) (offset uint64, ok bool) {
	if p.Epoch == c.epoch {
		return p.Offset, true
	}
	for _, e := range c.past {
		if p.Epoch == e.Epoch {
			return p.Offset, p.Offset <= e.Last
		}
	}
	return 0, false
}

// newEpoch returns a random name for a history.
func newEpoch() string {
	var b [8]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))[:wire.EpochLen]
}

// unixNow returns the time by which messages age.
func unixNow() int64 { return time.Now().Unix() }

// holds reports whether messages are kept that are not too old, or somebody
// waits for messages or may come back to do so. r may be nil.
func (r *record) holds() bool {
	if r == nil {
		return false
	}
	if r.readers.Load() > 0 || r.expected.Load() >= unixNow() {
		return true
	}
	log := r.now.Load().log
	log.Expire(unixNow())
	return log.Stats().Messages > 0
}

// hold locks order until release is called. r may be nil.
func (r *record) hold() (release func()) {
	if r == nil {
		return func() {}
	}
	r.order.Lock()
	return r.order.Unlock
}

// endLocked lets the record keep nothing more. The caller must hold order. r
// may be nil.
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
	out.frame.Keep(r.now.Load().log.Append(byte(out.frame.Op()), out.frame.Payload(), out.key, to, unixNow()))
	r.wakeLocked()
	return send(), nil
}

// wakeLocked wakes the readers that wait, after something has been kept or the
// chapter has changed. The caller must hold order.
func (r *record) wakeLocked() {
	if r.news != nil {
		close(r.news)
		r.news = nil
	}
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
		to.ExceptSession = o.except.Conn.Data.(*Socket).reader().Session
	}
	return to
}

// reader returns who the socket is to a history. A client without a session is
// known as long as it is connected.
func (s *Socket) reader() history.Reader {
	r := history.Reader{UID: s.uid, Session: string(s.id[:])}
	if s.v1 != nil && s.v1.session != "" {
		r.Session = s.v1.session
	}
	return r
}

// Next returns the next messages for a connection that is behind. It
// implements [conn.Source].
func (r *record) Next(c *conn.Conn, after, until uint64, size int) (*conn.Frame, uint64, error) {
	s, now := c.Data.(*Socket), r.now.Load()
	p, gap := now.log.Next(after, until, size, s.reader())
	switch {
	case !gap && p.Count > 0:
		return conn.NewKept(p.Frames, p.Count), p.End, nil
	case !gap:
		return nil, p.End, nil
	case s.v1 == nil:
		return nil, p.End, conn.ErrGap
	}
	s.countGap()
	told, err := json.Marshal(gapFrame{now.place(after), now.place(p.End), GapSlow})
	return conn.NewControl(append([]byte{wire.Gap}, told...)), p.End, err
}

// gapFrame is the payload of a frame that reports a gap to a client.
type gapFrame struct {
	From Position  `json:"from"`
	To   Position  `json:"to"`
	Why  GapReason `json:"why"`
}

// resume returns from where on a client gets messages that had a position, ""
// if it has none, or asks for new messages only. The caller must hold order.
func (r *record) resume(asked Position, latest bool) (res Resume, from, last uint64) {
	res.Asked = asked
	r.told.Store(true)
	now := r.now.Load()
	now.log.Expire(unixNow())
	last = now.log.Last()
	oldest := now.log.Oldest()
	p, err := wire.ParsePosition(string(asked))
	offset, known := now.offset(p)
	from = oldest
	switch {
	case latest:
		res.Gap, from = GapFirst, last
	case asked == "":
		res.Gap = GapFirst
	case err != nil || !known:
		res.Gap = GapEpoch
	case offset > last:
		res.Gap = GapAhead
	case offset < oldest:
		res.Gap = GapExpired
	default:
		from = offset
	}
	res.From = now.place(from)
	return res, from, last
}
