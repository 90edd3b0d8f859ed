package object

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/godurable/dog/internal/store"
)

// An ID identifies an object: its base, under which the store has it, and 8
// bytes that follow from the base and the origin of the class.
type ID [32]byte

// String returns the ID as 64 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Base returns the identity of the object in the store.
func (id ID) Base() store.Base { return store.Base(id[:len(store.Base{})]) }

// NamedID returns the ID of the object with this name. If the object belongs to
// another one, within is the ID of that, otherwise it is zero.
func NamedID(origin string, within ID, name string) ID {
	h := sha256.New()
	// Writing to a hash never fails. The length separates origin and name.
	_, _ = fmt.Fprintf(h, "dog object %d:%s", len(origin), origin)
	_, _ = h.Write(within[:])
	_, _ = h.Write([]byte(name))
	return IDOf(origin, store.Base(h.Sum(nil)))
}

// RandomID returns a new ID that no other object has.
func RandomID(origin string) ID {
	var base store.Base
	_, _ = rand.Read(base[:]) // never fails
	return IDOf(origin, base)
}

// IDOf returns the ID with this base.
func IDOf(origin string, base store.Base) ID {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "dog id %d:%s", len(origin), origin)
	_, _ = h.Write(base[:])
	var id ID
	n := copy(id[:], base[:])
	copy(id[n:], h.Sum(nil))
	return id
}
