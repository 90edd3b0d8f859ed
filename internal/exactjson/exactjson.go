// Package exactjson is encoding/json, except that it fails where encoding/json
// would silently change a value. It knows neither objects nor their storage.
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
	// ErrUTF8 means that a string or a map key is not valid UTF-8, so JSON
	// would change it.
	ErrUTF8 = errors.New("not valid UTF-8: use []byte, or a codec other than JSON")

	// ErrRounded means that an integer would be decoded into an interface as
	// the nearest float64, which is not equal to it.
	ErrRounded = errors.New(
		"no float64 has this value: read it into an integer, a json.Number, or use a codec other than JSON",
	)
)

// Marshal is like [json.Marshal], but returns [ErrUTF8] for strings that
// json.Marshal would change.
func Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	// json.Marshal writes this escape for an invalid byte. Otherwise it can
	// only come from values that encode themselves as JSON.
	if bytes.Contains(data, []byte(`\ufffd`)) {
		if err := checkStrings(reflect.ValueOf(v)); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// checkStrings returns ErrUTF8 if v contains an invalid string. json.Marshal
// must have encoded v successfully.
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

// checkKey is checkStrings for a map key. JSON does not call MarshalText on a
// key of kind string.
func checkKey(v reflect.Value) error {
	if v.Kind() == reflect.String {
		return checkStrings(reflect.ValueOf(v.String()))
	}
	return checkStrings(v)
}

// checkText is checkStrings for a value that encodes itself as text.
func checkText(m encoding.TextMarshaler) error {
	text, err := m.MarshalText()
	if err == nil && !utf8.Valid(text) {
		err = fmt.Errorf("%w: %q", ErrUTF8, clip(string(text)))
	}
	return err
}

// encoded reports whether JSON encodes a field.
func encoded(f reflect.StructField) bool {
	return (f.IsExported() || f.Anonymous) && f.Tag.Get("json") != "-"
}

// as returns v, or its address, as an M, which json.Marshal would use to encode
// it. It returns zero if v is not an M.
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

// Unmarshal is like [json.Unmarshal], but returns [ErrRounded] where
// json.Unmarshal would round an integer. In that case it has already filled
// part of the value pointed to by v.
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

// longNumber reports whether data may contain an integer that is not a float64.
// Integers of at most 15 digits always are.
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

// A resolver replaces each json.Number in an interface by a float64, as
// json.Unmarshal would have stored.
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
		if ok && v.NumMethod() > 0 { // not set by JSON
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

// nested reports whether a value of the type may contain an interface.
func nested(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Slice, reflect.Array, reflect.Map:
		return true
	}
	return false
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

func decodesItself(t reflect.Type) bool { return t.Implements(unmarshaler) }

// float returns the value of a JSON number. An integer must be exact, or be the
// form in which JSON writes the float64.
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

// clip shortens a string quoted in an error.
func clip(s string) string { return s[:min(len(s), 64)] }
