package object

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/godurable/dog/internal/store"
)

// An ID identifies an object: its base, under which the store has it, and 8
// bytes that follow from the base and the origin of the class.
type ID [32]byte

// String returns the ID as 64 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Base returns the identity of the object in the store.
func (id ID) Base() store.Base { return store.Base(id[:len(store.Base{})]) }

// hashed is the number of bytes to hash for which no memory is allocated.
const hashed = 256

// NamedID returns the ID of the object with this name. If the object belongs to
// another one, within is the ID of that, otherwise it is zero.
func NamedID(origin string, within ID, name string) ID {
	var scratch [hashed]byte
	b := appendOrigin(append(scratch[:0], "dog object "...), origin)
	b = append(append(b, within[:]...), name...)
	sum := sha256.Sum256(b)
	return IDOf(origin, store.Base(sum[:len(store.Base{})]))
}

// RandomID returns a new ID that no other object has.
func RandomID(origin string) ID {
	var base store.Base
	_, _ = rand.Read(base[:]) // never fails
	return IDOf(origin, base)
}

// IDOf returns the ID with this base.
func IDOf(origin string, base store.Base) ID {
	var scratch [hashed]byte
	b := appendOrigin(append(scratch[:0], "dog id "...), origin)
	sum := sha256.Sum256(append(b, base[:]...))
	var id ID
	n := copy(id[:], base[:])
	copy(id[n:], sum[:])
	return id
}

// appendOrigin appends an origin and its length, which separates it from what
// follows.
func appendOrigin(b []byte, origin string) []byte {
	b = append(strconv.AppendInt(b, int64(len(origin)), 10), ':')
	return append(b, origin...)
}
