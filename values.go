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

// Values are keys of a storage whose values are of one Go type:
//
//	scores := dog.Values[int]{Storage: o.Storage()}
//	err := scores.Put("ada", 3)
//
// Values are copies: to change one, put it again. The errors are those of [Storage], and of the codec with the key.
type Values[T any] struct {
	Storage *Storage
	Codec   Codec  // nil: JSON
	Prefix  string // put before every key, so that several kinds of values share a storage; "": none
}

func (v Values[T]) codec() Codec { return cmp.Or(v.Codec, JSON) }

// Get returns the value of a key; found is false, and the value zero, when there is none.
func (v Values[T]) Get(key string) (value T, found bool, err error) {
	data, found, err := v.Storage.Get(v.Prefix + key)
	if err != nil || !found {
		return value, false, err
	}
	value, err = v.decode(key, data)
	return value, err == nil, err
}

func (v Values[T]) decode(key string, data []byte) (value T, err error) {
	if err := v.codec().Decode(data, &value); err != nil {
		var zero T
		return zero, fmt.Errorf("dog: decode value of key %q: %w", v.Prefix+key, err)
	}
	return value, nil
}

// Put keeps a value.
func (v Values[T]) Put(key string, value T) error {
	data, err := v.codec().Encode(value)
	if err != nil {
		return fmt.Errorf("dog: encode value of key %q: %w", v.Prefix+key, err)
	}
	return v.Storage.Put(v.Prefix+key, data)
}

// Update puts what change makes of a key's value, zero when there is none, and
// returns it. change runs in a [Storage.Transaction]: it cannot wait
// ([ErrInTransaction]), and when it returns an error or panics, nothing that it
// stored is kept.
func (v Values[T]) Update(key string, change func(T) (T, error)) (value T, err error) {
	err = v.Storage.Transaction(func() error {
		if value, _, err = v.Get(key); err != nil {
			return err
		}
		if value, err = change(value); err != nil {
			return err
		}
		return v.Put(key, value)
	})
	return value, err
}

// Delete deletes keys and returns how many of them there were.
func (v Values[T]) Delete(keys ...string) (deleted int, err error) {
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = v.Prefix + key
	}
	return v.Storage.Delete(full...)
}

// A Value is a key, without the prefix, and its value.
type Value[T any] struct {
	Key   string
	Value T
}

// List is [Storage.List] for values. The bounds and the keys are without the prefix.
func (v Values[T]) List(options ListOptions) iter.Seq2[Value[T], error] {
	return func(yield func(Value[T], error) bool) {
		for e, err := range v.Storage.List(options.under(v.Prefix)) {
			if err != nil {
				yield(Value[T]{}, err)
				return
			}
			key := e.Key[len(v.Prefix):]
			value, err := v.decode(key, e.Value)
			if !yield(Value[T]{key, value}, err) || err != nil {
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
