package wire

import "encoding/binary"

// What a message asks for, its first byte.
const (
	Echo   = 'e' // send it back to the sender
	FanOut = 'b' // send it to all sockets, the sender's too
)

// MinMessage is the size of the smallest message: what it asks for, padding, a
// sequence number.
const MinMessage = 16

// PutMessage writes a message's head into b. The rest stays as it is.
func PutMessage(b []byte, ask byte, seq uint64) {
	b[0] = ask
	binary.LittleEndian.PutUint64(b[8:], seq)
}

// Seq returns a message's sequence number.
func Seq(message []byte) uint64 { return binary.LittleEndian.Uint64(message[8:]) }
