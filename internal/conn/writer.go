package conn

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// maxWrite bounds the bytes that one write takes from the queue: the rest can still be dropped or coalesced.
	maxWrite = 64 << 10
	// maxFrames bounds its frames: what one writev takes on Linux.
	maxFrames = 1024
)

// batch is what the writer has taken for one write.
type batch struct {
	bufs [][]byte    // frames in order, shared with other connections
	rest net.Buffers // the part of bufs not yet written with writev
	flat []byte      // concatenation for connections without writev
	data int         // bytes of data frames
	msgs int         // number of data frames
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) reset() {
	clear(b.bufs)
	b.bufs, b.rest, b.data, b.msgs = b.bufs[:0], nil, 0, 0
}

// startWriterLocked makes sure that somebody writes what waits. The caller must hold mu.
func (c *Conn) startWriterLocked() {
	if !c.writing {
		c.writing = true
		c.writers.Add(1)
		go c.writeLoop() // writers.Go would allocate twice for each burst
	}
}

// writeLoop writes until nothing waits, and hangs up when the reader has ended too.
func (c *Conn) writeLoop() {
	b := batches.Get().(*batch)
	defer func() {
		b.reset()
		batches.Put(b)
		c.writers.Done()
	}()
	if err := c.writeAnswer(); err != nil {
		c.writeFailed(err)
	}
	for {
		c.mu.Lock()
		if !c.takeLocked(b) {
			hangUp := c.readDone
			c.writing = hangUp // nobody may follow the one that hangs up
			c.mu.Unlock()
			if hangUp {
				c.hangUp()
			}
			return
		}
		c.mu.Unlock()

		err := c.write(b)
		c.mu.Lock()
		c.inflight = 0
		if err == nil {
			c.sent += uint64(b.msgs)
		} else {
			c.lost += uint64(b.msgs) // how much of them arrived cannot be known
		}
		c.mu.Unlock()
		if err != nil {
			c.writeFailed(err)
		}
		b.reset()
	}
}

// writeAnswer writes the answer of the handshake if that has not been done.
func (c *Conn) writeAnswer() error {
	c.mu.Lock()
	answer := c.answer
	c.answer = nil
	dead := c.dead
	c.mu.Unlock()
	if answer == nil || dead {
		return nil
	}
	c.armWrite()
	_, err := c.nc.Write(answer)
	return err
}

// takeLocked moves what is to be written next into b: control frames first, then data, the close frame when no data is left.
// It reports whether there was anything. The caller must hold mu.
func (c *Conn) takeLocked(b *batch) bool {
	if c.dead || c.closeTaken {
		return false
	}
	if c.pong != nil {
		b.bufs = append(b.bufs, c.pong)
		c.pong = nil
	}
	if c.ping {
		b.bufs = append(b.bufs, pingFrame)
		c.ping = false
	}
	// Half of the bound at most, so that under DropOldest the newest message finds room beside what is being written.
	// A frame over the limit goes alone, and is never concatenated.
	limit := min(maxWrite, c.opts.QueueBytes/2)
	for c.out.len() > 0 && len(b.bufs) < maxFrames && (len(b.bufs) == 0 || b.data+c.out.peek().Len() <= limit) {
		f := c.out.pop()
		b.bufs = append(b.bufs, f.wire)
		b.data += f.Len()
		b.msgs++
	}
	c.inflight = b.data
	if c.closeFrame != nil && c.out.len() == 0 && b.data <= limit {
		b.bufs = append(b.bufs, c.closeFrame)
		c.closeTaken = true
	}
	return len(b.bufs) > 0
}

// write hands b to the network. A write that ran into its deadline goes on as long as it made progress.
func (c *Conn) write(b *batch) error {
	if c.tcp != nil && len(b.bufs) > 1 {
		b.rest = b.bufs
		for {
			c.armWrite()
			n, err := b.rest.WriteTo(c.tcp)
			c.bytesOut.Add(uint64(n))
			if err == nil {
				return nil
			}
			if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
		}
	}
	p := b.bufs[0]
	if len(b.bufs) > 1 {
		b.flat = b.flat[:0]
		for _, buf := range b.bufs {
			b.flat = append(b.flat, buf...)
		}
		p = b.flat
	}
	for len(p) > 0 {
		c.armWrite()
		n, err := c.nc.Write(p[:min(len(p), maxWrite)])
		c.bytesOut.Add(uint64(n))
		p = p[n:]
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
	}
	return nil
}

// armWrite sets the deadline of the next write, that of closing if it has begun.
func (c *Conn) armWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := c.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(c.opts.WriteTimeout)
	}
	c.nc.SetWriteDeadline(deadline)
}
