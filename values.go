package dog

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/godurable/dog/internal/exactjson"
)

// A Codec converts values to the bytes that are stored, and back.
type Codec interface {
	Encode(v any) ([]byte, error)
	// Decode decodes data into the value that v points at.
	Decode(data []byte, v any) error
}

// JSON is the codec of encoding/json, except that it never changes a value
// silently: encoding a string that is not UTF-8 fails, and so does decoding an
// integer that float64 cannot represent into an interface such as any. Other
// types can hold both: []byte, and an integer type or json.Number.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) ([]byte, error) { return exactjson.Marshal(v) }

func (jsonCodec) Decode(data []byte, v any) error { return exactjson.Unmarshal(data, v) }

// Get returns the value of a key. If there is none, found is false and the
// value is zero. It is Get of a [Map] without a prefix.
func Get[V any](s *Storage, key string) (value V, found bool, err error) {
	return MapOf[V](s, "").Get(key)
}

// Put stores a value. It is Put of a [Map] without a prefix.
func Put[V any](s *Storage, key string, value V) error { return MapOf[V](s, "").Put(key, value) }

// Update replaces the value of a key with the result of change and returns it.
// change gets the zero value if there is none. It is Update of a [Map] without
// a prefix.
func Update[V any](s *Storage, key string, change func(V) (V, error)) (V, error) {
	return MapOf[V](s, "").Update(key, change)
}

// A Map is the part of a storage whose keys begin with a prefix, with values of
// one Go type:
//
//	scores := dog.MapOf[int](o.Storage(), "score/")
//	err := scores.Put("ada", 3)
//
// Its keys do not include the prefix. Values are copies: to change one, put it
// again. The errors are those of [Storage], and those of the codec, which name
// the key. A Map holds no state: make one wherever it is used.
type Map[V any] struct {
	storage *Storage
	prefix  string
	codec   Codec // nil: JSON
}

// MapOf returns the map of the keys that begin with a prefix, with JSON as
// codec. "" selects all keys.
func MapOf[V any](s *Storage, prefix string) Map[V] { return Map[V]{storage: s, prefix: prefix} }

// With returns the map with another codec. nil means JSON.
func (m Map[V]) With(codec Codec) Map[V] {
	m.codec = codec
	return m
}

func (m Map[V]) coder() Codec { return cmp.Or(m.codec, JSON) }

// Get returns the value of a key. If there is none, found is false and the
// value is zero.
func (m Map[V]) Get(key string) (value V, found bool, err error) {
	data, found, err := m.storage.Get(m.prefix + key)
	if err != nil || !found {
		return value, false, err
	}
	value, err = m.decode(key, data)
	return value, err == nil, err
}

func (m Map[V]) decode(key string, data []byte) (value V, err error) {
	if err := m.coder().Decode(data, &value); err != nil {
		var zero V
		return zero, fmt.Errorf("dog: decode value of key %q: %w", m.prefix+key, err)
	}
	return value, nil
}

// Put stores a value.
func (m Map[V]) Put(key string, value V) error {
	data, err := m.coder().Encode(value)
	if err != nil {
		return fmt.Errorf("dog: encode value of key %q: %w", m.prefix+key, err)
	}
	return m.storage.Put(m.prefix+key, data)
}

// Update replaces the value of a key with the result of change and returns it.
// change gets the zero value if there is none. It runs in a
// [Storage.Transaction]: it cannot wait ([ErrInTransaction]), and if it returns
// an error or panics, its writes are undone. A nil change is a [UsageError].
func (m Map[V]) Update(key string, change func(V) (V, error)) (value V, err error) {
	err = m.storage.Transaction(func() error {
		if change == nil {
			return misuse("Update", "change is nil")
		}
		if value, _, err = m.Get(key); err != nil {
			return err
		}
		if value, err = change(value); err != nil {
			return err
		}
		return m.Put(key, value)
	})
	return value, err
}

// Delete deletes keys and returns how many of them existed.
func (m Map[V]) Delete(keys ...string) (deleted int, err error) {
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = m.prefix + key
	}
	return m.storage.Delete(full...)
}

// List is [Storage.List] for the map's values. The bounds do not include the
// prefix.
func (m Map[V]) List(options ListOptions) iter.Seq2[Entry[V], error] {
	return func(yield func(Entry[V], error) bool) {
		for e, err := range m.storage.List(options.under(m.prefix)) {
			if err != nil {
				yield(Entry[V]{}, err)
				return
			}
			key := e.Key[len(m.prefix):]
			value, err := m.decode(key, e.Value)
			if !yield(Entry[V]{key, value}, err) || err != nil {
				return
			}
		}
	}
}

// under returns the same options for keys with a prefix.
func (o ListOptions) under(prefix string) ListOptions {
	if prefix == "" {
		return o
	}
	o.Prefix = prefix + o.Prefix
	for _, bound := range []*string{&o.Start, &o.StartAfter, &o.End} {
		if *bound != "" {
			*bound = prefix + *bound
		}
	}
	return o
}
