package replog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"

	"github.com/godurable/dog/internal/store"
)

// A record begins with its version, its kind, flags, the epoch, the number of
// the group and a checksum of all the rest. A payload follows.
const (
	recordVersion = 1
	recordHead    = 1 + 1 + 1 + 8 + 8 + 4
)

// Kinds of records.
const (
	kindClaim = 'C' // begins an epoch; the payload distinguishes the claim from all others
	kindData  = 'D' // changes, or a part of them
)

// flagMore means that the next record continues the group.
const flagMore = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type record struct {
	kind    byte
	more    bool
	epoch   uint64 // of the claim before it
	group   uint64 // 1 for the first group of changes of an epoch; 0 for a claim
	payload []byte
}

func (r record) encode() []byte {
	b := make([]byte, recordHead, recordHead+len(r.payload))
	b[0], b[1] = recordVersion, r.kind
	if r.more {
		b[2] = flagMore
	}
	binary.BigEndian.PutUint64(b[3:], r.epoch)
	binary.BigEndian.PutUint64(b[11:], r.group)
	binary.BigEndian.PutUint32(b[19:], checksum(b[:19], r.payload))
	return append(b, r.payload...)
}

func checksum(head, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, payload)
}

// decode returns the record in b, whose payload is a part of b. The error wraps
// store.ErrTooNew if a later version wrote the record, and store.ErrCorrupt if
// it is damaged.
func decode(b []byte) (record, error) {
	if len(b) < recordHead {
		return record{}, fmt.Errorf("%w: a record of %d bytes", store.ErrCorrupt, len(b))
	}
	if b[0] > recordVersion {
		return record{}, fmt.Errorf("%w: a record of version %d", store.ErrTooNew, b[0])
	}
	r := record{
		kind: b[1], more: b[2] == flagMore,
		epoch: binary.BigEndian.Uint64(b[3:]), group: binary.BigEndian.Uint64(b[11:]),
		payload: b[recordHead:],
	}
	switch {
	case checksum(b[:19], r.payload) != binary.BigEndian.Uint32(b[19:]):
		return record{}, fmt.Errorf("%w: the checksum of a record", store.ErrCorrupt)
	case b[0] != recordVersion, r.kind != kindClaim && r.kind != kindData, b[2] > flagMore:
		return record{}, fmt.Errorf("%w: a record that is unknown", store.ErrCorrupt)
	}
	return r, nil
}

// Acts of a change.
const (
	actSet = iota
	actDelete
	actDeleteRange
)

// A change is a step of a batch.
type change struct {
	act   byte
	key   []byte // of a range: its lower end
	value []byte // of a range: its upper end; nil for a deletion
}

// appendTo appends the encoded change.
func (c change) appendTo(b []byte) []byte {
	b = append(b, c.act)
	b = binary.AppendUvarint(b, uint64(len(c.key)))
	b = append(b, c.key...)
	if c.act != actDelete {
		b = binary.AppendUvarint(b, uint64(len(c.value)))
		b = append(b, c.value...)
	}
	return b
}

// size is the maximum number of bytes that appendTo appends.
func (c change) size() int { return 1 + len(c.key) + len(c.value) + 2*binary.MaxVarintLen32 }

var errMalformed = errors.New("malformed changes")

// changesIn returns an iterator over the changes in a payload, which they are
// parts of.
func changesIn(payload []byte) iter.Seq2[change, error] {
	return func(yield func(change, error) bool) {
		for len(payload) > 0 {
			c := change{act: payload[0]}
			payload = payload[1:]
			ok := c.act <= actDeleteRange
			if ok {
				c.key, payload, ok = cutField(payload)
			}
			if ok && c.act != actDelete {
				c.value, payload, ok = cutField(payload)
			}
			if !ok {
				yield(change{}, fmt.Errorf("%w: %w", store.ErrCorrupt, errMalformed))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// cutField cuts bytes with their length before them from the beginning of b.
func cutField(b []byte) (field, rest []byte, ok bool) {
	n, width := binary.Uvarint(b)
	if width <= 0 || n > uint64(len(b)-width) {
		return nil, nil, false
	}
	end := width + int(n)
	return b[width:end:end], b[end:], true
}
