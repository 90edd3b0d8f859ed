// Package exactjson is encoding/json that fails where that would change a
// value without an error. It knows nothing of objects.
package exactjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	// ErrUTF8 says that a string, or a map's key, is not valid UTF-8, of which
	// JSON would keep something else.
	ErrUTF8 = errors.New("not valid UTF-8: use []byte, or a codec other than JSON")

	// ErrRounded says that an integer was to be read into an interface, which
	// would get the nearest float64.
	ErrRounded = errors.New("no float64 has this value: read it into an integer, a json.Number, or use a codec other than JSON")
)

// Marshal is [json.Marshal], but returns [ErrUTF8] for strings that it would
// change.
func Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	// In place of an invalid byte json.Marshal writes this escape. What else
	// may have it is JSON that v encodes by itself.
	if bytes.Contains(data, []byte(`\ufffd`)) {
		if err := checkStrings(reflect.ValueOf(v)); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// checkStrings returns ErrUTF8 when json.Marshal, which has encoded v, found an
// invalid string in it.
func checkStrings(v reflect.Value) error {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() || as[json.Marshaler](v) != nil {
		return nil
	}
	if m := as[encoding.TextMarshaler](v); m != nil {
		return checkText(m)
	}
	switch v.Kind() {
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return fmt.Errorf("%w: %q", ErrUTF8, clip(v.String()))
		}
	case reflect.Pointer:
		return checkStrings(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if !encoded(v.Type().Field(i)) {
				continue
			}
			if err := checkStrings(v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := checkStrings(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			if err := errors.Join(checkKey(i.Key()), checkStrings(i.Value())); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKey is checkStrings for a map's key: JSON asks none that is a string for
// its text.
func checkKey(v reflect.Value) error {
	if v.Kind() == reflect.String {
		return checkStrings(reflect.ValueOf(v.String()))
	}
	return checkStrings(v)
}

// checkText is checkStrings for the text that a value makes of itself.
func checkText(m encoding.TextMarshaler) error {
	text, err := m.MarshalText()
	if err == nil && !utf8.Valid(text) {
		err = fmt.Errorf("%w: %q", ErrUTF8, clip(string(text)))
	}
	return err
}

// encoded reports whether JSON has a field.
func encoded(f reflect.StructField) bool {
	return (f.IsExported() || f.Anonymous) && f.Tag.Get("json") != "-"
}

// as returns what json.Marshal has encode v in place of itself, or zero.
func as[M any](v reflect.Value) (m M) {
	if !v.CanInterface() {
		return m
	}
	m, ok := v.Interface().(M)
	if !ok && v.CanAddr() {
		m, _ = v.Addr().Interface().(M)
	}
	return m
}

// Unmarshal is [json.Unmarshal], but returns [ErrRounded] where that would
// round an integer. It has then filled a part of what v points at.
func Unmarshal(data []byte, v any) error {
	if !longNumber(data) || !json.Valid(data) {
		return json.Unmarshal(data, v)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	return (&resolver{}).resolve(reflect.ValueOf(v))
}

// longNumber reports whether data may have an integer that is no float64. All
// of at most 15 digits are.
func longNumber(data []byte) bool {
	digits := 0
	for _, b := range data {
		if b < '0' || b > '9' {
			digits = 0
		} else if digits++; digits > 15 {
			return true
		}
	}
	return false
}

// A resolver replaces each json.Number that an interface holds by a float64, as
// json.Unmarshal would have done in the first place.
type resolver struct{ seen map[any]bool }

func (r *resolver) resolve(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || decodesItself(v.Type()) || r.seen[v.Interface()] {
			return nil
		}
		if r.seen == nil {
			r.seen = make(map[any]bool)
		}
		r.seen[v.Interface()] = true
		return r.resolve(v.Elem())
	case reflect.Interface:
		n, ok := v.Interface().(json.Number)
		if ok && v.NumMethod() > 0 { // JSON cannot have put it there
			return nil
		}
		if !ok {
			return r.resolve(v.Elem())
		}
		f, err := float(n.String())
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(f))
	case reflect.Struct:
		if decodesItself(reflect.PointerTo(v.Type())) {
			return nil
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() || v.Type().Field(i).Anonymous && f.Kind() == reflect.Struct {
				if err := r.resolve(f); err != nil {
					return err
				}
			}
		}
	case reflect.Slice, reflect.Array:
		if !nested(v.Type().Elem()) || decodesItself(reflect.PointerTo(v.Type())) {
			return nil
		}
		for i := range v.Len() {
			if err := r.resolve(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		if !nested(v.Type().Elem()) || decodesItself(reflect.PointerTo(v.Type())) {
			return nil
		}
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			if err := r.resolve(value); err != nil {
				return err
			}
			v.SetMapIndex(key, value)
		}
	}
	return nil
}

// nested reports whether a value of the type may hold an interface.
func nested(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Slice, reflect.Array, reflect.Map:
		return true
	}
	return false
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

func decodesItself(t reflect.Type) bool { return t.Implements(unmarshaler) }

// float returns the value of a JSON number. An integer must be exact, or be
// what JSON writes for the float64.
func float(number string) (float64, error) {
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, err
	}
	if strings.ContainsAny(number, ".eE") || strconv.FormatFloat(f, 'f', -1, 64) == number {
		return f, nil
	}
	n, _ := new(big.Rat).SetString(number)
	if n.Cmp(new(big.Rat).SetFloat64(f)) != 0 {
		return 0, fmt.Errorf("%w: %s", ErrRounded, clip(number))
	}
	return f, nil
}

// clip shortens what an error quotes.
func clip(s string) string { return s[:min(len(s), 64)] }
