package dog

import (
	"encoding/hex"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// An ID identifies an object. It has 32 bytes and is written as 64 hexadecimal
// digits. IDs are comparable. The zero ID identifies nothing.
//
// The ID of a named object is a function of its namespace and its name (for a
// replica also of its group), and is therefore the same in every process and on
// every machine. The last 8 bytes can be computed from the other bytes and the
// namespace, so that [Namespace.Parse] recognises the IDs of its namespace.
// This is a check against mistakes, not against forgery.
type ID [32]byte

// String returns the ID as 64 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id identifies nothing.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText returns the ID as 64 hexadecimal digits, so that an ID is a
// string in JSON.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText parses 64 hexadecimal digits.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(id)) {
		return fmt.Errorf("dog: an ID has %d digits, not %d", hex.EncodedLen(len(id)), len(text))
	}
	var read ID
	if _, err := hex.Decode(read[:], text); err != nil {
		return fmt.Errorf("dog: ID: %w", err)
	}
	*id = read
	return nil
}

// Kind is the type that a registered type embeds.
type Kind int

// The kinds of objects.
const (
	KindGroup   Kind = iota + 1 // a type that embeds Group
	KindReplica                 // a type that embeds Replica
	KindObject                  // a type that embeds Object itself
)

func (k Kind) String() string {
	switch k {
	case KindGroup:
		return "Group"
	case KindReplica:
		return "Replica"
	case KindObject:
		return "Object"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// MarshalText returns the name of the kind.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name of a kind.
func (k *Kind) UnmarshalText(text []byte) error {
	for kind := KindGroup; kind <= KindObject; kind++ {
		if kind.String() == string(text) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("dog: there is no kind of object %.40q", text)
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	ID        ID
	Kind      Kind
	Namespace string
	Name      string // "" if the object has none
}

// maxUID is the maximum length of a uid in bytes.
const maxUID = 1024

// checkUID returns an error if uid is not a valid uid.
func checkUID(uid string) error { return checkName("uid", uid) }

// checkName returns an error if name is not valid for a uid or an object. The
// error calls it by what, such as "uid".
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the %s is empty", ErrInvalidName, what)
	case len(name) > maxUID:
		return fmt.Errorf("%w: the %s has %d bytes, more than %d", ErrInvalidName, what, len(name), maxUID)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the %s is not UTF-8", ErrInvalidName, what)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: the %s has the control character %U", ErrInvalidName, what, r)
		}
	}
	return nil
}
