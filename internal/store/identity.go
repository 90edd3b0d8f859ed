package store

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
)

// Layout is the version of everything below, of the encoding of the values, and
// of the format of the engine's files. A change that an earlier version would
// not read correctly must increase it and include code that reads the earlier
// versions. See CONTRIBUTING.md.
const Layout = 1

// All data is in one key space:
//
//	o <base> <space> <key>             data of objects
//	i <namespace> n <name>             objects with a name of their own
//	i <namespace> r <base>             other objects: random ones, and replicas
//	r <namespace> <base> <base>        unnamed replicas of a group
//	t <namespace> <time> <base>        earliest alarm of each object that has one
//	n <name>                           namespaces (catalog.go)
//	g <number>                         migrations (migrate.go)
const (
	objectKeys    = 'o'
	indexKeys     = 'i'
	memberKeys    = 'r'
	alarmKeys     = 't'
	namespaceKeys = 'n'
	migrationKeys = 'g'
)

// A Base is the part of an object's identity that does not depend on its
// namespace: the first bytes of a dog.ID. The rest can be computed.
type Base [24]byte

func (b Base) prefix() []byte { return append([]byte{objectKeys}, b[:]...) }

// An Identity identifies the object that owns stored data.
type Identity struct {
	Namespace uint32 // number in the catalog
	Base      Base
	Name      string // "" if it has none
	Group     *Owner // of a replica; otherwise nil
}

// Owner is the group of a replica.
type Owner struct {
	Namespace uint32
	Base      Base
	Name      string
}

// completedBy returns id with missing names filled in from stored. An object
// reached by its ID does not know its name, and a replica of a group reached by
// its ID does not know the group's name.
func (id Identity) completedBy(stored Identity) Identity {
	if id.Name == "" {
		id.Name = stored.Name
	}
	switch {
	case stored.Group == nil:
	case id.Group == nil:
		id.Group = stored.Group
	case id.Group.Name == "" && id.Group.Base == stored.Group.Base:
		group := *id.Group
		group.Name = stored.Group.Name
		id.Group = &group
	}
	return id
}

// indexKey returns the key of the object in its namespace's index.
func (id Identity) indexKey() []byte {
	if id.Name != "" && id.Group == nil {
		return append(namespaceIndex(id.Namespace, 'n'), id.Name...)
	}
	return append(namespaceIndex(id.Namespace, 'r'), id.Base[:]...)
}

// indexKeys returns the keys of the object in all indexes except the alarm
// index.
func (id Identity) indexKeys() [][]byte {
	keys := [][]byte{id.indexKey()}
	if id.Name == "" && id.Group != nil {
		keys = append(keys, append(memberIndex(id.Group.Namespace, id.Group.Base), id.Base[:]...))
	}
	return keys
}

func memberIndex(namespace uint32, group Base) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{memberKeys}, namespace), group[:]...)
}

func namespaceIndex(number uint32, part byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{indexKeys}, number), part)
}

// encode returns the value stored under "" in space About.
func (id Identity) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(id.Namespace))
	b = binary.AppendUvarint(b, uint64(len(id.Name)))
	b = append(b, id.Name...)
	if g := id.Group; g != nil {
		b = binary.AppendUvarint(b, uint64(g.Namespace))
		b = append(b, g.Base[:]...)
		b = append(b, g.Name...)
	}
	return b
}

func decodeIdentity(base Base, b []byte) (Identity, error) {
	id := Identity{Base: base}
	damaged := fmt.Errorf("%w: identity of object %x", ErrCorrupt, base)
	namespace, n := binary.Uvarint(b)
	if n <= 0 {
		return id, damaged
	}
	id.Namespace, b = uint32(namespace), b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || uint64(len(b)-n) < size {
		return id, damaged
	}
	id.Name, b = string(b[n:n+int(size)]), b[n+int(size):]
	if len(b) == 0 {
		return id, nil
	}
	namespace, n = binary.Uvarint(b)
	if n <= 0 || len(b)-n < len(Base{}) {
		return id, damaged
	}
	b = b[n:]
	id.Group = &Owner{Namespace: uint32(namespace), Base: Base(b[:len(Base{})]), Name: string(b[len(Base{}):])}
	return id, nil
}

// Find returns the identity of a stored object.
func Find(engine Engine, base Base) (id Identity, found bool, err error) {
	value, found, err := engine.Get(append(base.prefix(), byte(About)))
	if err != nil || !found {
		return Identity{}, false, err
	}
	id, err = decodeIdentity(base, value)
	return id, err == nil, err
}

// Named returns an iterator over the names of a namespace's stored objects that
// have the prefix, in order, starting at from.
func Named(engine Engine, namespace uint32, prefix, from string) iter.Seq2[string, error] {
	index := namespaceIndex(namespace, 'n')
	lower := append(namespaceIndex(namespace, 'n'), max(prefix, from)...)
	upper := successor(append(namespaceIndex(namespace, 'n'), prefix...))
	return func(yield func(string, error) bool) {
		if string(lower) >= string(upper) {
			return
		}
		for pair, err := range engine.Scan(lower, upper, false) {
			if err != nil {
				yield("", err)
				return
			}
			if !yield(string(pair.Key[len(index):]), nil) {
				return
			}
		}
	}
}

// Unnamed returns an iterator over the stored objects of a namespace that are
// not addressed by a name, in the order of their bases, starting at from.
func Unnamed(engine Engine, namespace uint32, from Base) iter.Seq2[Base, error] {
	return bases(engine, namespaceIndex(namespace, 'r'), from)
}

// Members returns an iterator over the stored unnamed replicas of a group.
func Members(engine Engine, namespace uint32, group Base) iter.Seq2[Base, error] {
	return bases(engine, memberIndex(namespace, group), Base{})
}

// bases returns an iterator over the bases in an index, starting at from.
func bases(engine Engine, index []byte, from Base) iter.Seq2[Base, error] {
	lower := append(slices.Clone(index), from[:]...)
	return func(yield func(Base, error) bool) {
		for pair, err := range engine.Scan(lower, successor(index), false) {
			if err != nil {
				yield(Base{}, err)
				return
			}
			if len(pair.Key) != len(index)+len(Base{}) {
				yield(Base{}, fmt.Errorf("%w: index %x", ErrCorrupt, index))
				return
			}
			if !yield(Base(pair.Key[len(index):]), nil) {
				return
			}
		}
	}
}
