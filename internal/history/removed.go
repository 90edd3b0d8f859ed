package history

import "maps"

// Removed is what a log remembers of the messages that its bounds have removed:
// for each reader the newest that may have been for it. A client whose position
// is at least that has missed nothing, although messages after it are gone.
type Removed struct {
	Newest uint64            // offset of the newest message to all, or to all but one
	To     Audience          // of that message
	Before uint64            // offset of the newest such message with another audience
	Only   map[string]uint64 `json:",omitempty"` // offset of the newest message to each uid alone
}

// maxOnly is how many uids a log remembers. If there are more, it takes the
// messages to them for messages to all.
const maxOnly = 256

// add adds a message, which is newer than all before.
func (r *Removed) add(offset uint64, to Audience) {
	if to.Only != "" {
		if _, known := r.Only[to.Only]; known || len(r.Only) < maxOnly {
			if r.Only == nil {
				r.Only = make(map[string]uint64)
			}
			r.Only[to.Only] = offset
			return
		}
		r.Only, to = nil, Audience{}
	}
	if to != r.To {
		r.Before, r.To = r.Newest, to
	}
	r.Newest = offset
}

// newest returns the offset of the newest message that may have been for a
// reader.
func (r *Removed) newest(reader Reader) uint64 {
	offset := r.Before
	if r.To.includes(reader) {
		offset = r.Newest
	}
	return max(offset, r.Only[reader.UID])
}

// removedLocked notes that a message has been removed. The caller must hold mu.
func (l *Log) removedLocked(offset uint64, to Audience) {
	if l.removed == nil && to != (Audience{}) {
		l.removed = &Removed{Newest: l.gone}
	}
	if l.removed != nil {
		l.removed.add(offset, to)
	}
	l.gone = offset
}

// missedLocked reports whether messages for a reader with offsets above after
// have been removed. The caller must hold mu.
func (l *Log) missedLocked(after uint64, r Reader) bool {
	return after < l.gone && (l.removed == nil || after < l.removed.newest(r))
}

// Missed reports whether messages for a reader with offsets above after have
// been removed because of the log's bounds, or may have been.
func (l *Log) Missed(after uint64, r Reader) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missedLocked(after, r)
}

// Gone returns [Log.Oldest], and what is remembered of the messages up to
// there. It is nil if that is nothing.
func (l *Log) Gone() (oldest uint64, removed *Removed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed == nil {
		return l.gone, nil
	}
	r := *l.removed
	r.Only = maps.Clone(r.Only)
	return l.gone, &r
}
