package dog

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/godurable/dog/internal/exactjson"
)

// A Codec turns values into the bytes that are stored, and back.
type Codec interface {
	Encode(v any) ([]byte, error)
	// Decode reads data into the value that v points at.
	Decode(data []byte, v any) error
}

// JSON is the codec of encoding/json, but does not change a value without an
// error: a string that is not UTF-8 cannot be encoded, and an integer that no
// float64 has cannot be decoded into an interface such as any. Both can be kept
// by another type: []byte, or an integer or json.Number.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) ([]byte, error) { return exactjson.Marshal(v) }

func (jsonCodec) Decode(data []byte, v any) error { return exactjson.Unmarshal(data, v) }

// Get returns the value of a key; found is false, and the value zero, when
// there is none. It is that of a [Map] without a prefix.
func Get[V any](s *Storage, key string) (value V, found bool, err error) {
	return MapOf[V](s, "").Get(key)
}

// Put keeps a value. It is that of a [Map] without a prefix.
func Put[V any](s *Storage, key string, value V) error { return MapOf[V](s, "").Put(key, value) }

// Update puts what change makes of a key's value, zero when there is none, and
// returns it. It is that of a [Map] without a prefix.
func Update[V any](s *Storage, key string, change func(V) (V, error)) (V, error) {
	return MapOf[V](s, "").Update(key, change)
}

// Map is the keys of a storage that begin with a prefix, with values of one Go
// type:
//
//	scores := dog.MapOf[int](o.Storage(), "score/")
//	err := scores.Put("ada", 3)
//
// Its keys are without the prefix. Values are copies: to change one, put it
// again. The errors are those of [Storage], and of the codec with the key. A
// Map is made anew wherever it is used; it keeps nothing.
type Map[V any] struct {
	storage *Storage
	prefix  string
	codec   Codec // nil: JSON
}

// MapOf returns the map of the keys that begin with a prefix, with JSON as
// codec. "" stands for all keys.
func MapOf[V any](s *Storage, prefix string) Map[V] { return Map[V]{storage: s, prefix: prefix} }

// With returns the map with another codec. Nil: JSON.
func (m Map[V]) With(codec Codec) Map[V] {
	m.codec = codec
	return m
}

func (m Map[V]) coder() Codec { return cmp.Or(m.codec, JSON) }

// Get returns the value of a key; found is false, and the value zero, when
// there is none.
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

// Put keeps a value.
func (m Map[V]) Put(key string, value V) error {
	data, err := m.coder().Encode(value)
	if err != nil {
		return fmt.Errorf("dog: encode value of key %q: %w", m.prefix+key, err)
	}
	return m.storage.Put(m.prefix+key, data)
}

// Update puts what change makes of a key's value, zero when there is none, and
// returns it. change runs in a [Storage.Transaction]: it cannot wait
// ([ErrInTransaction]), and when it returns an error or panics, nothing that it
// stored is kept.
func (m Map[V]) Update(key string, change func(V) (V, error)) (value V, err error) {
	err = m.storage.Transaction(func() error {
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

// Delete deletes keys and returns how many of them there were.
func (m Map[V]) Delete(keys ...string) (deleted int, err error) {
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = m.prefix + key
	}
	return m.storage.Delete(full...)
}

// List is [Storage.List] for the map's values. The bounds are without the
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

// under returns the same options for keys that have a prefix.
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
