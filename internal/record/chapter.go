package record

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/wire"
)

// A Chapter is a history as long as it lasts: until the data of its owner is
// replaced.
type Chapter struct {
	log   *history.Log
	nonce string // random
	epoch string // of its positions
	past  []past // earlier epochs
}

// past is an epoch before the chapter, whose positions up to an offset are
// still good.
type past struct {
	Epoch string
	Last  uint64
}

// maxPast is the maximum number of earlier epochs that a record remembers.
const maxPast = 64

// chapter returns a chapter. Its epoch depends on the store, so that positions
// of a store are not taken for those of another that was made of its backup.
func (r *Record) chapter(log *history.Log, nonce string, earlier []past) *Chapter {
	sum := sha256.Sum256([]byte(r.config.Engine.Copy() + "\n" + nonce))
	return &Chapter{log: log, nonce: nonce, epoch: text(sum[:]), past: earlier}
}

func newNonce() string {
	var b [8]byte
	rand.Read(b[:])
	return text(b[:])
}

func text(b []byte) string {
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:wire.EpochLen]
}

// offset returns the offset of a position, and reports whether the position is
// of this history.
func (c *Chapter) offset(p wire.Position) (offset uint64, ok bool) {
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

// Place returns the position of an offset.
func (c *Chapter) Place(offset uint64) string { return c.Position(offset).String() }

// Position is Place before it is made text.
func (c *Chapter) Position(offset uint64) wire.Position {
	return wire.Position{Epoch: c.epoch, Offset: offset}
}

// Last returns the offset of the newest message, or 0.
func (c *Chapter) Last() uint64 { return c.log.Last() }

// Oldest returns the offset after which all messages are kept.
func (c *Chapter) Oldest() uint64 { return c.log.Oldest() }

// Page returns messages for a reader. See [history.Log.Page].
func (c *Chapter) Page(after uint64, size int, r history.Reader) (p history.Part, more, gap bool) {
	return c.log.Page(after, size, r)
}

// The reasons why messages are missing between two positions.
const (
	First   = "first"   // the client has no position
	Expired = "expired" // they are no longer kept
	Epoch   = "epoch"   // the position is of another history
	Ahead   = "ahead"   // there is no such position
	Slow    = "slow"    // they were removed before the client, which was connected, had taken them
)

// Resume describes from where on a client gets the messages that are kept.
type Resume struct {
	Chapter *Chapter
	After   uint64 // the offset after which it gets all messages
	Last    uint64 // the offset of the newest message
	Gap     string // why messages before are missing; "": none are
}

// ResumeLocked returns from where on a client gets messages that had a
// position, "" if it has none, or asks for new messages only. The caller must
// hold the record.
func (r *Record) ResumeLocked(asked string, latest bool) Resume {
	r.told.Store(true)
	now := r.Now()
	now.log.Expire(unixNow())
	res := Resume{Chapter: now, After: now.Oldest(), Last: now.Last()}
	p, err := wire.ParsePosition(asked)
	offset, known := now.offset(p)
	switch {
	case latest:
		res.Gap, res.After = First, res.Last
	case asked == "":
		res.Gap = First
	case err != nil || !known:
		res.Gap = Epoch
	case offset > res.Last:
		res.Gap = Ahead
	case offset < res.After:
		res.Gap = Expired
	default:
		res.After = offset
	}
	return res
}

// Resume is ResumeLocked for a reader that is not a connection.
func (r *Record) Resume(asked string, latest bool) Resume {
	r.order.Lock()
	defer r.order.Unlock()
	return r.ResumeLocked(asked, latest)
}
