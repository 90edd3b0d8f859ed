// Package history keeps the recent messages of a group or an object, for
// clients that come back and for those that are slow.
//
// A [Log] numbers the messages and holds them as WebSocket frames that can be
// written as they are, in blocks, so that a message costs few bytes more than
// its payload and a client that catches up gets many messages in one piece of
// shared memory. The log is bounded by count, bytes and age. Reading messages
// that are gone returns a gap.
//
// The package has no clock: times are passed to it. It does not know sockets,
// objects, groups or who is connected.
package history

import (
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// Config is the bounds of a log.
type Config struct {
	Count int    // maximum number of messages
	Bytes int    // maximum size of their frames
	Age   int64  // in seconds; older messages are not returned
	Usage *Usage // counts what the log keeps, with others; nil: nothing does
}

// A Usage counts what several logs keep. The zero value is empty. It is safe
// for concurrent use.
type Usage struct{ messages, bytes atomic.Int64 }

// Read returns how much all logs keep.
func (u *Usage) Read() Stats { return Stats{int(u.messages.Load()), int(u.bytes.Load())} }

// An Audience selects the readers of a message. The zero value selects all.
type Audience struct {
	Only          string // only this uid
	Except        string // all but this uid
	ExceptSession string // all but the client with this session
}

func (a Audience) includes(r Reader) bool {
	return (a.Only == "" || a.Only == r.UID) && (a.Except == "" || a.Except != r.UID) &&
		(a.ExceptSession == "" || a.ExceptSession != r.Session)
}

// A Reader is a client that reads messages.
type Reader struct{ UID, Session string }

// A Log holds messages, each with an offset: 1 for the first, and one more for
// each further message. It is safe for concurrent use.
type Log struct {
	config Config // fixed

	mu   sync.Mutex // guards all fields below
	last uint64     // offset of the newest message; 0: none
	gone uint64     // offset of the newest message that the bounds have removed
	// what is known of those up to gone; nil: they count as messages to all
	removed *Removed
	blocks  []*block          // oldest first
	head    int               // frames of the oldest block before this index have been removed or replaced
	count   int               // messages that are kept
	bytes   int               // size of their frames
	newest  map[string]uint64 // offset of the newest message of each key; nil: no keys
	used    Stats             // what Config.Usage has of the log
	left    bool              // and will have; see Leave
}

// New returns an empty log.
func New(c Config) *Log { return &Log{config: c} }

// Append adds a message and returns its offset and its frame, which must not be
// changed. If key is not "", earlier messages with the key are removed. now is
// in Unix seconds and should not go back.
func (l *Log) Append(op byte, payload []byte, key string, to Audience, now int64) (offset uint64, frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	frame, _ = l.addLocked(op, payload, key, to, now)
	return l.last, frame
}

// addLocked adds a message with the offset last. The results are those of Add.
// The caller must hold mu.
func (l *Log) addLocked(
	op byte, payload []byte, key string, to Audience, now int64,
) (frame []byte, replaced uint64) {
	l.trimLocked(now) // before the newest block, which may be too old, gets a younger message
	b := l.blockLocked(len(payload)+maxHeader, now)
	b.at = now
	frame = b.append(l.last, op, payload, note{to: to, key: key})
	l.count++
	l.bytes += len(frame)
	if key != "" {
		replaced = l.replaceLocked(key)
	}
	l.trimLocked(now)
	l.useLocked()
	return frame, replaced
}

// blockLocked returns the block for the next message, which needs n bytes. The
// caller must hold mu.
func (l *Log) blockLocked(n int, now int64) *block {
	size := minBlock
	if k := len(l.blocks); k > 0 {
		b := l.blocks[k-1]
		near := l.last-b.first <= math.MaxUint32 && now-b.began <= l.config.Age/agesPerBlock
		if near && len(b.data)+n <= cap(b.data) {
			return b
		}
		if 2*b.stale > len(b.data) {
			b = compacted(l.gone, b)
			l.setLocked(k-1, k, b)
		}
		if need := len(b.data) + n; near && need <= maxBlock {
			b.grow(max(need, min(2*len(b.data), maxBlock)))
			return b
		}
		size = max(minBlock, min(2*len(b.data), maxBlock)) // it will probably be as the one before
		if cap(b.data)-len(b.data) > len(b.data)/8 {
			b.grow(len(b.data))
		}
	}
	b := &block{first: l.last, began: now, data: make([]byte, 0, max(size, n))}
	if k := len(l.blocks); k > 0 {
		b.ends = make([]uint32, 0, l.blocks[k-1].len())
		l.blocks[k-1].ends = slices.Clip(l.blocks[k-1].ends)
	}
	l.blocks = append(l.blocks, b)
	return b
}

// replaceLocked removes the earlier message with the key of the newest message,
// and returns its offset, or 0. The caller must hold mu.
func (l *Log) replaceLocked(key string) (earlier uint64) {
	if l.newest == nil {
		l.newest = make(map[string]uint64)
	}
	earlier, found := l.newest[key]
	l.newest[key] = l.last
	if !found {
		return 0
	}
	k := l.findLocked(earlier)
	b := l.blocks[k]
	l.bytes -= b.replace(earlier)
	l.count--
	if k == len(l.blocks)-1 || 2*b.stale <= len(b.data) {
		return earlier
	}
	// Merged with its neighbour if both are small, so that keys that are
	// replaced for a long time do not leave a block each.
	from := k
	if k > 0 && len(l.blocks[k-1].data)+len(b.data)-b.stale <= maxBlock/2 &&
		b.last-l.blocks[k-1].first <= math.MaxUint32 && b.at-l.blocks[k-1].began <= l.config.Age/agesPerBlock {
		from--
	}
	l.setLocked(from, k+1, compacted(l.gone, l.blocks[from:k+1]...))
	return earlier
}

// findLocked returns the index of the block that has or had an offset above
// gone, and at most last. The caller must hold mu.
func (l *Log) findLocked(offset uint64) int {
	return sort.Search(len(l.blocks), func(k int) bool { return l.blocks[k].last >= offset })
}

// trimLocked removes the oldest messages until the log is within its bounds.
// The caller must hold mu.
func (l *Log) trimLocked(now int64) {
	for len(l.blocks) > 0 {
		b := l.blocks[0]
		if l.head == b.len() {
			l.blocks[0], l.head = nil, 0
			l.blocks = l.blocks[1:]
			continue
		}
		n := b.noteOf(l.head)
		if n != nil && n.replaced {
			l.head++
			continue
		}
		if l.count <= l.config.Count && l.bytes <= l.config.Bytes && b.at >= now-l.config.Age {
			return
		}
		var to Audience
		if n != nil {
			to = n.to
			if n.key != "" {
				delete(l.newest, n.key)
			}
		}
		l.removedLocked(b.offset(l.head), to)
		l.count--
		l.bytes -= b.size(l.head)
		l.head++
	}
}

// setLocked puts a compacted block in the place of others. The caller must hold
// mu.
func (l *Log) setLocked(from, to int, b *block) {
	if from == 0 {
		l.head = 0
	}
	l.blocks = slices.Replace(l.blocks, from, to, b)
}

// Expire removes messages that are too old.
func (l *Log) Expire(now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trimLocked(now)
	l.useLocked()
}

// Leave ends the counting of what the log keeps, as if it kept nothing from now
// on.
func (l *Log) Leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = true
	l.useLocked()
}

// useLocked counts what the log keeps. The caller must hold mu.
func (l *Log) useLocked() {
	u := l.config.Usage
	if u == nil {
		return
	}
	now := Stats{l.count, l.bytes}
	if l.left {
		now = Stats{}
	}
	if n := now.Messages - l.used.Messages; n != 0 { // a full log keeps as many as before
		u.messages.Add(int64(n))
	}
	if n := now.Bytes - l.used.Bytes; n != 0 {
		u.bytes.Add(int64(n))
	}
	l.used = now
}

// Clear removes all messages.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone, l.removed, l.blocks, l.newest = l.last, nil, nil, nil
	l.head, l.count, l.bytes = 0, 0, 0
	l.useLocked()
}

// Last returns the offset of the newest message, or 0.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Oldest returns the offset after which all messages are kept.
func (l *Log) Oldest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone
}

// A Part is some consecutive messages of a log, without those that are not for
// its reader.
type Part struct {
	Frames []byte // must not be changed
	Count  int    // of the frames
	End    uint64 // the offset up to which the part is complete
}

// Next returns messages for a reader whose offsets are above after and at most
// until. Their frames have at most size bytes, or there is a single one. No
// further messages up to until are left if there are no frames. gap is set, and
// there are no frames, if messages for the reader after the offset have been
// removed because of the log's bounds, and it may go on from End; or if the
// offset is above [Log.Last].
func (l *Log) Next(after, until uint64, size int, r Reader) (p Part, gap bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case after > l.last:
		return Part{End: l.last}, true
	case l.missedLocked(after, r):
		return Part{End: l.gone}, true
	}
	after, until = max(after, l.gone), min(until, l.last)
	p.End = max(after, until)
	for k := l.findLocked(after + 1); k < len(l.blocks) && l.blocks[k].first <= until; k++ {
		b := l.blocks[k]
		for i := b.after(after); i < b.len(); {
			j := b.until(i, until, size)
			if j <= i {
				return p, false
			}
			if p.Frames, p.Count = b.frames(i, j, r); p.Count > 0 {
				if p.End = b.offset(j - 1); j == b.len() {
					p.End = min(b.last, until)
				}
				return p, false
			}
			i = j
		}
	}
	return p, false
}

// Stats describes a log.
type Stats struct {
	Messages int
	Bytes    int // of their frames
}

// Stats returns how much the log keeps.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Messages: l.count, Bytes: l.bytes}
}
