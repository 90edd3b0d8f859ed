package record

import (
	"strconv"
	"strings"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/wire"
)

// A Chapter is a history as long as it lasts: until the data of its owner is
// replaced, or another process goes on with it.
type Chapter struct {
	log   *history.Log
	nonce string // see nonces
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

// kept returns the epochs that are worth remembering if messages up to gone are
// no longer kept, and another one.
func kept(earlier []past, gone uint64, latest past) (all []past) {
	for _, p := range earlier {
		if p.Last >= gone {
			all = append(all, p)
		}
	}
	return append(all[max(len(all)-maxPast+1, 0):], latest)
}

// chapter returns a chapter.
func (r *Record) chapter(log *history.Log, nonce string, earlier []past) *Chapter {
	return &Chapter{log: log, nonce: nonce, epoch: r.epoch(nonce), past: earlier}
}

// A nonce is what distinguishes the epoch of a chapter. It is random if the
// chapter begins with nothing, or is in memory.
//
// A process that goes on with a durable history has an epoch of its own, since
// another one may go on with a copy of the directory, and count other messages
// from the same offset. Its nonce is a family, "-" and the name of the process,
// and its epoch begins with the family: a sum of the epoch before and of its
// last offset. So the epoch needs to be stored only with the first message of
// the process. If it is not, each position that the process has told is from
// before that message, and the family shows that it is still good.

// familyLen is the length of a family in letters, half of an epoch.
const familyLen = wire.EpochLen / 2

// epoch returns the epoch of a nonce. It depends on the store, so that
// positions of a store are not taken for those of another that was made of its
// backup.
func (r *Record) epoch(nonce string) string {
	epoch := wire.EpochOf(r.config.Engine.Copy() + "\n" + nonce)
	if family, _, goesOn := strings.Cut(nonce, "-"); goesOn {
		return family + epoch[len(family):]
	}
	return epoch
}

// family returns what the epochs of the processes begin with that have gone on
// from the end of an epoch.
func (p past) family() string {
	return wire.EpochOf(p.Epoch + "\n" + strconv.FormatUint(p.Last, 10))[:familyLen]
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
	for _, e := range c.past {
		if p.Offset <= e.Last && strings.HasPrefix(p.Epoch, e.family()) {
			return p.Offset, true
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
func (r *Record) ResumeLocked(client history.Reader, asked string, latest bool) Resume {
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
	case now.log.Missed(offset, client):
		res.Gap = Expired
	default:
		res.After = max(offset, res.After)
	}
	return res
}

// Resume is ResumeLocked for a reader that is not a connection.
func (r *Record) Resume(client history.Reader, asked string, latest bool) Resume {
	r.order.Lock()
	defer r.order.Unlock()
	return r.ResumeLocked(client, asked, latest)
}
