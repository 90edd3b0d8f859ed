package conn

import "github.com/godurable/dog/internal/tally"

// This file counts what a connection sends and loses, for itself and for
// Options.Traffic.

// sentLocked counts messages that the kernel has accepted. The caller must hold
// mu.
func (c *Conn) sentLocked(messages uint64) {
	c.sent += messages
	c.opts.Traffic.MessagesOut(c.stripe, messages)
}

// lostLocked counts messages that are lost. The caller must hold mu.
func (c *Conn) lostLocked(messages uint64) {
	c.lost += messages
	c.opts.Traffic.Lost(messages)
}

// droppedLocked counts messages that the policy has dropped. The caller must
// hold mu.
func (c *Conn) droppedLocked(messages uint64) {
	c.dropped += messages
	c.opts.Traffic.Dropped(messages)
}

// coalescedLocked counts messages that later ones have replaced. The caller
// must hold mu.
func (c *Conn) coalescedLocked(messages uint64) {
	c.coalesced += messages
	c.opts.Traffic.Coalesced(messages)
}

// countLocked counts n written bytes. The caller must hold mu.
func (c *Conn) countLocked(n int) {
	c.opts.Traffic.BytesOut(c.stripe, c.ownBytesLocked(n))
}

// ownBytesLocked counts n written bytes for the connection alone, and returns
// how many of them come after the handshake. The caller must hold mu.
func (c *Conn) ownBytesLocked(n int) (bytes uint64) {
	k := min(n, c.answerLeft)
	c.answerLeft -= k
	c.bytesOut += uint64(n - k)
	return uint64(n - k)
}

// bill adds up what a sweep writes, so that the traffic of all connections is
// counted once for each sweep.
type bill struct {
	traffic         *tally.Traffic
	stripe          uint8
	messages, bytes uint64
}

// add counts a write of bytes to c, which has completed messages.
func (b *bill) add(c *Conn, messages int, bytes uint64) {
	b.traffic, b.stripe = c.opts.Traffic, c.stripe
	b.messages += uint64(messages)
	b.bytes += bytes
}

// pay counts what has been added.
func (b *bill) pay() {
	b.traffic.MessagesOut(b.stripe, b.messages)
	b.traffic.BytesOut(b.stripe, b.bytes)
	*b = bill{}
}
