package replog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/godurable/dog/internal/store"
)

// A local engine has the data of several logs, each under a prefix: below it
// the space of data, which has the keys of the log's own data, and the space of
// notes, with the position.
const (
	spaceData = 'd'
	spaceNote = 'n'
)

// local is the part of a local engine that belongs to one log.
type local struct {
	engine store.Engine // fixed
	prefix []byte       // of data. fixed; its capacity is its length
	end    []byte       // of data. fixed
	note   []byte       // the key of the position. fixed
}

func newLocal(engine store.Engine, prefix []byte) local {
	under := func(space byte) []byte { return append(bytes.Clone(prefix), space) }
	return local{
		engine: engine, prefix: slices.Clip(under(spaceData)), end: under(spaceData + 1), note: under(spaceNote),
	}
}

// key returns the key in the engine.
func (l local) key(key []byte) []byte { return append(l.prefix, key...) }

func (l local) get(key []byte) ([]byte, bool, error) { return l.engine.Get(l.key(key)) }

func (l local) scan(lower, upper []byte, reverse bool) iter.Seq2[store.Pair, error] {
	end := l.end
	if upper != nil {
		end = l.key(upper)
	}
	return func(yield func(store.Pair, error) bool) {
		for p, err := range l.engine.Scan(l.key(lower), end, reverse) {
			if err == nil {
				p.Key = p.Key[len(l.prefix):]
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// changes adds the changes in a payload to a batch.
func (l local) changes(b store.Batch, payload []byte) error {
	for c, err := range changesIn(payload) {
		if err != nil {
			return err
		}
		switch c.act {
		case actSet:
			b.Set(l.key(c.key), c.value)
		case actDelete:
			b.Delete(l.key(c.key))
		case actDeleteRange:
			b.DeleteRange(l.key(c.key), l.key(c.value))
		}
	}
	return nil
}

// A position is where in the log the local data is.
type position struct {
	seq   uint64 // of the last record that is applied
	mark  uint64 // the epoch of that record
	epoch uint64 // of the last claim; 0: none
	group uint64 // the last one of the epoch
}

// noteSize is the size of a stored position.
const noteSize = 4 * 8

func (l local) setPosition(b store.Batch, p position) {
	note := make([]byte, 0, noteSize)
	for _, n := range []uint64{p.seq, p.mark, p.epoch, p.group} {
		note = binary.BigEndian.AppendUint64(note, n)
	}
	b.Set(l.note, note)
}

func (l local) position() (p position, err error) {
	note, found, err := l.engine.Get(l.note)
	if err != nil || !found {
		return position{}, err
	}
	if len(note) != noteSize {
		return position{}, fmt.Errorf("%w: the position in a log", store.ErrCorrupt)
	}
	return position{
		seq:   binary.BigEndian.Uint64(note),
		mark:  binary.BigEndian.Uint64(note[8:]),
		epoch: binary.BigEndian.Uint64(note[16:]),
		group: binary.BigEndian.Uint64(note[24:]),
	}, nil
}
