package conn

import (
	"net"
	"sync"
)

// batch is the data claimed by one write, in the order in which it is written.
type batch struct {
	begun []byte // the rest of a partly written frame
	whole int    // messages that begun completes
	pong  []byte
	ping  bool
	items []item
	close []byte

	data int // bytes of data frames

	bufs [][]byte    // all of the above, in order
	rest net.Buffers // the part of bufs not yet written with writev
	flat []byte      // bufs concatenated
	w    directWrite
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) reset() {
	clear(b.items)
	clear(b.bufs)
	*b = batch{items: b.items[:0], bufs: b.bufs[:0], flat: b.flat[:0], w: b.w}
	if cap(b.flat) > 2*maxWrite {
		b.flat = nil
	}
	if cap(b.items) > maxFrames {
		b.items, b.bufs = nil, nil
	}
}

// messages returns how many messages the batch completes.
func (b *batch) messages() uint64 {
	n := b.whole
	for i := range b.items {
		n += int(b.items[i].frame.messages)
	}
	return uint64(n)
}

// lay puts everything into bufs, in order.
func (b *batch) lay(as form) {
	if len(b.begun) > 0 {
		b.bufs = append(b.bufs, b.begun)
	}
	if b.pong != nil {
		b.bufs = append(b.bufs, b.pong)
	}
	if b.ping {
		b.bufs = append(b.bufs, pingFrame)
	}
	for _, it := range b.items {
		b.bufs = append(b.bufs, it.frame.bytes(as))
	}
	if b.close != nil {
		b.bufs = append(b.bufs, b.close)
	}
}

// concatenated returns bufs as one slice.
func (b *batch) concatenated() []byte {
	if len(b.bufs) == 1 {
		return b.bufs[0]
	}
	for _, buf := range b.bufs {
		b.flat = append(b.flat, buf...)
	}
	return b.flat
}
