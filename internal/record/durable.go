package record

import (
	"encoding/binary"
	"encoding/json"
	"sync"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/wire"
)

// This file stores the messages of a durable record.
//
// A message gets its offset when it is stored, under stored.mu, so the order of
// offsets is that of the store's commits. It is sent when its speaker's gate
// has released it and all messages before it have been sent. Until then the
// gate holds back what its speaker sends after it. So clients get nothing that
// a crash could undo, and nothing out of order, although each of several
// speakers has its own gate.

// stored is what a durable record knows of its messages in the store.
type stored struct {
	// mu is held while messages are stored. It is taken before order.
	mu      sync.Mutex
	last    uint64 // offset of the newest message; guarded by mu
	header  bool   // the header of a durable record is stored; guarded by mu
	current bool   // and is of this process; guarded by mu
	found   bool   // messages were stored when it was loaded; guarded by mu
	floor   uint64 // messages up to here do not exist any more; guarded by mu
	trimmed uint64 // messages up to here have been deleted; guarded by mu
}

// trimAfter is how many messages that are no longer kept may remain in the
// store, so that few transactions delete any.
const trimAfter = 256

// Keeper stores the messages that an object sends in the object's transactions.
// It implements tx.Keeper.
type Keeper struct {
	Record *Record
	Owner  bool // the record is the object's own, and is deleted with its data
}

// Commit implements tx.Keeper.
func (k Keeper) Commit(
	data *store.Object, messages []any, commit func() (store.Commit, error),
) (store.Commit, error) {
	r, wiped := k.Record, k.Owner && data.Wiped()
	if len(messages) == 0 && !wiped {
		return commit()
	}
	drafts := make([]*Draft, len(messages))
	for i, m := range messages {
		drafts[i] = m.(*Draft)
	}
	r.stored.mu.Lock()
	defer r.stored.mu.Unlock()
	change := r.changeLocked(drafts, wiped)
	change.stage(data.Notes(r.config.Base, store.Histories))
	done, err := commit()
	change.endLocked(err)
	return done, err
}

// Store stores a message in a transaction of its own. When the commit that it
// returns is durable, the caller must call Settle. If the owner is being
// forgotten, Store returns object.ErrRetired.
func (r *Record) Store(d *Draft) (commit uint64, err error) {
	r.stored.mu.Lock()
	defer r.stored.mu.Unlock()
	if err := r.reserve(); err != nil {
		return 0, err
	}
	defer r.waiting.Add(-1)
	change := r.changeLocked([]*Draft{d}, false)
	b := r.config.Engine.Begin()
	change.stage(store.NotesIn(b, r.config.Base, store.Histories))
	commit, err = b.Commit()
	change.endLocked(err)
	return commit, err
}

// reserve keeps the owner in memory until waiting is reduced.
func (r *Record) reserve() error {
	r.order.Lock()
	over := r.over
	r.waiting.Add(1)
	r.order.Unlock()
	if over || r.config.Retired() {
		r.waiting.Add(-1)
		return object.ErrRetired
	}
	return nil
}

// A change is a change of a durable record in the store.
type change struct {
	r       *Record
	drafts  []*Draft
	wiped   bool // the messages before are deleted in the same transaction
	chapter *Chapter
	at      int64
	gone    uint64 // messages up to here are not kept
	removed *history.Removed
	trims   bool     // messages up to gone are deleted
	stale   []uint64 // further messages that are deleted
}

// changeLocked returns a change that stores messages. The caller must hold
// stored.mu.
func (r *Record) changeLocked(drafts []*Draft, wiped bool) *change {
	s := &r.stored
	c := &change{r: r, drafts: drafts, wiped: wiped, chapter: r.Now(), at: unixNow()}
	if wiped {
		c.chapter, c.gone = r.chapter(c.chapter.log, wire.NewEpoch(), nil), s.last
		return c
	}
	if c.gone, c.removed = c.chapter.log.Gone(); c.gone < s.floor {
		c.gone, c.removed = s.floor, nil
	}
	c.trims = c.gone >= s.trimmed+trimAfter || c.gone > s.trimmed && !s.current // the header says gone
	r.order.Lock()
	c.stale, r.stale = r.stale, nil
	r.order.Unlock()
	return c
}

// stage adds the change to a transaction. The caller must hold stored.mu.
func (c *change) stage(notes store.Notes) {
	s := &c.r.stored
	if len(c.drafts) == 0 {
		return
	}
	if !c.wiped && !s.header && !s.found { // what a transaction under way has left beside a deletion
		notes.DeleteAll()
	}
	if c.wiped || c.trims || !s.current {
		notes.Set("", encodeHeader(header{
			Durable: true, Nonce: c.chapter.nonce, Gone: c.gone, Removed: c.removed, Past: c.chapter.past,
		}))
	}
	if c.trims {
		notes.DeleteRange(noteKey(0), noteKey(c.gone+1))
	}
	for _, offset := range c.stale {
		notes.Delete(noteKey(offset))
	}
	for i, d := range c.drafts {
		notes.Set(noteKey(s.last+1+uint64(i)), d.entry(0, c.at).Encode())
	}
}

// endLocked records that the transaction has been committed, or has not because
// of an error. The caller must hold stored.mu.
func (c *change) endLocked(err error) {
	r, s := c.r, &c.r.stored
	r.order.Lock()
	defer r.order.Unlock()
	if err != nil {
		r.stale = append(c.stale, r.stale...) // for the next transaction
		return
	}
	if c.wiped {
		r.clearLocked(c.chapter.nonce)
		s.header, s.current, s.found, s.floor, s.trimmed, r.stale = false, false, false, s.last, s.last, nil
	}
	if len(c.drafts) == 0 {
		return
	}
	s.header, s.current = true, true
	if c.trims {
		s.trimmed = c.gone
	}
	for _, d := range c.drafts {
		s.last++
		d.offset = s.last
	}
	r.unsent = append(r.unsent, c.drafts...)
	r.waiting.Add(int32(len(c.drafts)))
}

func (d *Draft) entry(offset uint64, at int64) history.Entry {
	return history.Entry{
		Offset: offset, At: at, Op: byte(d.Frame.Op()), Key: d.Key, To: d.To, Payload: d.Frame.Payload(),
	}
}

// Settle lets a message be sent that is durable now. lost is the reason why it
// never will be, or nil. A message that was not stored is dropped.
func (r *Record) Settle(d *Draft, lost error) {
	r.order.Lock()
	if !d.settled {
		d.settled, d.lost = true, lost
	}
	waiting, long := r.sendLocked()
	if lost == nil && d.Speaker != nil && d.offset > 0 && !d.sent {
		r.settleEarlierLocked(d)
		more, longer := r.sendLocked()
		waiting, long = append(waiting, more...), long || longer
		if !d.sent {
			d.paused = true
			d.Speaker.Pause()
		}
	}
	r.order.Unlock()
	for _, s := range waiting {
		s.Resume()
	}
	if long {
		r.config.Drain()
	}
}

// settleEarlierLocked settles the messages before d of the same speaker, which
// are durable as well, but come after d in its gate because goroutines have
// overtaken each other. Otherwise they would wait for d, and d for them. The
// caller must hold order.
func (r *Record) settleEarlierLocked(d *Draft) {
	for _, earlier := range r.unsent {
		if earlier == d {
			return
		}
		if earlier.Speaker == d.Speaker {
			earlier.settled = true
		}
	}
}

// sendLocked sends the messages that may be sent, and returns the speakers that
// waited for them. The caller must hold order.
func (r *Record) sendLocked() (waiting []Speaker, long bool) {
	n := 0
	for ; n < len(r.unsent) && r.unsent[n].settled; n++ {
		d := r.unsent[n]
		if d.lost == nil {
			if d.deleted {
				d.Frame.Fleeting()
			} else {
				r.addLocked(d)
			}
			long = d.Queue() || long
		}
		d.sent = true
		if d.Sent != nil {
			d.Sent(d.lost)
		}
		if d.paused {
			waiting = append(waiting, d.Speaker)
		}
		r.unsent[n] = nil
	}
	if n > 0 {
		r.unsent = r.unsent[n:]
		r.waiting.Add(int32(-n))
	}
	return waiting, long
}

// addLocked adds a stored message to the log. The caller must hold order.
func (r *Record) addLocked(d *Draft) {
	frame, replaced := r.Now().log.Add(d.entry(d.offset, unixNow()))
	d.Frame.Keep(d.offset, frame)
	if replaced > 0 {
		r.stale = append(r.stale, replaced)
	}
	r.wakeLocked()
}

// header is the note with the empty key. The others are the messages, under
// their offsets.
type header struct {
	Durable bool             `json:",omitempty"`
	Nonce   string           `json:",omitempty"` // of the chapter, if it is durable
	Gone    uint64           // see history.Log.Gone
	Removed *history.Removed `json:",omitempty"` // see history.Log.Gone
	Last    uint64           `json:",omitempty"` // see history.Log.Last; 0 if it is durable
	Past    []past           `json:",omitempty"` // the latest last
}

func encodeHeader(h header) []byte {
	data, err := json.Marshal(h)
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	return data
}

func noteKey(offset uint64) string { return string(binary.BigEndian.AppendUint64(nil, offset)) }
