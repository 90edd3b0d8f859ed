package history

import (
	"slices"
	"sort"

	"github.com/godurable/dog/internal/frame"
	"github.com/godurable/dog/internal/wire"
)

const (
	// maxBlock is the size of a block in bytes, unless a single message is
	// larger.
	maxBlock = 64 << 10
	// agesPerBlock is how many blocks the age of a log has at least, if it has
	// messages all the time, since the messages of a block expire together.
	agesPerBlock = 8
	// minBlock is the size with which the first block of a log begins.
	minBlock = 512
	// maxHeader is the maximum length of what precedes a payload: the header of
	// a frame and the mark.
	maxHeader = 10 + 1 + wire.MaxPlace + 1
)

// A block holds consecutive messages of a log as frames, one behind the other.
// Bytes of data that have been written are never changed, so that readers may
// keep slices of it after the log's lock has been released.
type block struct {
	first uint64   // offset of the first message that was appended
	last  uint64   // offset of the last message that was appended
	began int64    // when the first message was appended, in Unix seconds
	at    int64    // when the last message was appended
	data  []byte   // the frames
	ends  []uint32 // where each frame ends in data
	// the offset of each frame, counted from first; nil if no offset is missing
	offsets []uint32
	notes   []note // by index
	stale   int    // bytes of frames whose notes say replaced
}

// A note is what distinguishes a message from one to all.
type note struct {
	index    int // of its frame in the block
	to       Audience
	key      string
	replaced bool // a later message has the key
}

func (b *block) len() int { return len(b.ends) }

// offset returns the offset of the i-th frame.
func (b *block) offset(i int) uint64 {
	if b.offsets == nil {
		return b.first + uint64(i)
	}
	return b.first + uint64(b.offsets[i])
}

// after returns the index of the first frame whose offset is greater than
// offset.
func (b *block) after(offset uint64) int {
	if offset < b.first {
		return 0
	}
	if b.offsets == nil {
		return min(int(offset-b.first)+1, len(b.ends))
	}
	return sort.Search(len(b.offsets), func(i int) bool { return b.first+uint64(b.offsets[i]) > offset })
}

// start returns where the i-th frame begins in data.
func (b *block) start(i int) uint32 {
	if i == 0 {
		return 0
	}
	return b.ends[i-1]
}

func (b *block) size(i int) int { return int(b.ends[i] - b.start(i)) }

// noteOf returns the note of the i-th frame, or nil.
func (b *block) noteOf(i int) *note {
	n, found := slices.BinarySearchFunc(b.notes, i, func(n note, i int) int { return n.index - i })
	if !found {
		return nil
	}
	return &b.notes[n]
}

// append adds a frame for a message, and returns it.
func (b *block) append(offset uint64, op byte, payload []byte, n note) (framed []byte) {
	var mark [maxHeader]byte
	m := wire.AppendPlace(append(mark[:0], wire.Message), offset)
	m = append(m, '\n')
	at := len(b.data)
	b.data = frame.AppendHeader(b.data, frame.Final|op, len(m)+len(payload))
	b.data = append(append(b.data, m...), payload...)
	if n.to != (Audience{}) || n.key != "" {
		n.index = len(b.ends)
		b.notes = append(b.notes, n)
	}
	if b.offsets == nil && offset != b.first+uint64(len(b.ends)) {
		b.offsets = make([]uint32, len(b.ends), len(b.ends)+1)
		for i := range b.offsets {
			b.offsets[i] = uint32(i)
		}
	}
	if b.offsets != nil {
		b.offsets = append(b.offsets, uint32(offset-b.first))
	}
	b.ends = append(b.ends, uint32(len(b.data)))
	b.last = offset
	return b.data[at:len(b.data):len(b.data)]
}

// replace marks the frame with this offset as replaced by a later one, and
// returns its size.
func (b *block) replace(offset uint64) int {
	i := b.after(offset) - 1
	n := b.noteOf(i)
	n.replaced = true
	b.stale += b.size(i)
	return b.size(i)
}

// grow makes the capacity of data size. Readers keep the old array.
func (b *block) grow(size int) {
	data := make([]byte, len(b.data), size)
	copy(data, b.data)
	b.data = data
}

// compacted returns a block with the frames of blocks that have not been
// replaced and whose offsets are above gone. The blocks must be consecutive.
func compacted(gone uint64, blocks ...*block) *block {
	size, frames := 0, 0
	for _, b := range blocks {
		size += len(b.data) - b.stale
		frames += b.len()
	}
	to := &block{
		first: blocks[0].first, last: blocks[len(blocks)-1].last,
		began: blocks[0].began, at: blocks[len(blocks)-1].at,
		data: make([]byte, 0, size), offsets: make([]uint32, 0, frames),
	}
	for _, b := range blocks {
		notes := b.notes
		for i := range b.ends {
			var n note
			if len(notes) > 0 && notes[0].index == i {
				n, notes = notes[0], notes[1:]
			}
			if n.replaced || b.offset(i) <= gone {
				continue
			}
			if n.to != (Audience{}) || n.key != "" {
				n.index = len(to.ends)
				to.notes = append(to.notes, n)
			}
			to.data = append(to.data, b.data[b.start(i):b.ends[i]]...)
			to.ends = append(to.ends, uint32(len(to.data)))
			to.offsets = append(to.offsets, uint32(b.offset(i)-to.first))
		}
	}
	to.offsets = slices.Clip(to.offsets)
	return to
}

// until returns the index behind the frames from the i-th on that have at most
// size bytes together, or are a single one, and offsets of at most offset.
func (b *block) until(i int, offset uint64, size int) int {
	j := i + sort.Search(b.len()-i, func(k int) bool { return int(b.ends[i+k]-b.start(i)) > size })
	return min(max(j, i+1), b.after(offset), b.len())
}

// frames returns the frames from the i-th to before the j-th that are for a
// reader, and their number. They are a slice of data if the reader gets all of
// them.
func (b *block) frames(i, j int, r Reader) (frames []byte, n int) {
	if i >= j {
		return nil, 0
	}
	byIndex := func(n note, i int) int { return n.index - i }
	first, _ := slices.BinarySearchFunc(b.notes, i, byIndex)
	last, _ := slices.BinarySearchFunc(b.notes, j, byIndex)
	notes := b.notes[first:last]
	skips := func(n note) bool { return n.replaced || !n.to.includes(r) }
	from, end := b.start(i), b.ends[j-1]
	if !slices.ContainsFunc(notes, skips) {
		return b.data[from:end:end], j - i
	}
	n = j - i
	for _, note := range notes {
		if skips(note) {
			frames = append(frames, b.data[from:b.start(note.index)]...)
			from = b.ends[note.index]
			n--
		}
	}
	return append(frames, b.data[from:end]...), n
}
