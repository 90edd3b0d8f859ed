// Package rowscan converts rows of SQLite to Go values: columns to variables,
// and rows to structs.
//
// It does not know statements, databases or objects, only the five types of
// SQLite's values. Its errors have no prefix, since the caller knows what
// was asked for.
package rowscan

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"
)

// A Row is a row of a query.
type Row interface {
	// Value returns the value of a column, counted from 0: nil, int64, float64,
	// string or []byte.
	Value(column int) any
}

// For returns a function that reads rows with these columns into a T. The error
// is a mistake in T or in the query, for which no row can be read.
func For[T any, R Row](columns []string) (read func(*T, R) error, err error) {
	typ := reflect.TypeFor[T]()
	if !isRecord(typ) {
		if len(columns) != 1 {
			return nil, fmt.Errorf("%d columns for one value of %s", len(columns), typ)
		}
		return func(to *T, row R) error { return Column(to, columns[0], row.Value(0)) }, nil
	}
	fields := fieldsOf(typ)
	paths := make([][]int, len(columns))
	for i, column := range columns {
		path, ok := fields[strings.ToLower(column)]
		if !ok {
			return nil, fmt.Errorf("%s has no field for column %q", typ, column)
		}
		paths[i] = path
	}
	return func(to *T, row R) error {
		v := reflect.ValueOf(to).Elem()
		for i, path := range paths {
			if err := convert(v.FieldByIndex(path), row.Value(i)); err != nil {
				return columnError(columns[i], err)
			}
		}
		return nil
	}, nil
}

// Column stores the value of a column in the variable that dest, a pointer,
// points at.
func Column(dest any, column string, value any) error {
	v := reflect.ValueOf(dest)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return columnError(column, errors.New("the destination is no pointer"))
	}
	if err := convert(v.Elem(), value); err != nil {
		return columnError(column, err)
	}
	return nil
}

func columnError(column string, err error) error { return fmt.Errorf("column %q: %w", column, err) }

var scannerType = reflect.TypeFor[sql.Scanner]()

// isRecord reports whether a type takes a row rather than a column.
func isRecord(typ reflect.Type) bool {
	return typ.Kind() == reflect.Struct && typ != reflect.TypeFor[time.Time]() &&
		!reflect.PointerTo(typ).Implements(scannerType)
}

var fieldCache sync.Map // of reflect.Type to map[string][]int

// fieldsOf returns the index paths of a struct's fields, keyed by the names of
// their columns in lower case.
func fieldsOf(typ reflect.Type) map[string][]int {
	if known, ok := fieldCache.Load(typ); ok {
		return known.(map[string][]int)
	}
	fields := make(map[string][]int)
	for _, f := range reflect.VisibleFields(typ) {
		name := f.Name
		if tag, ok := f.Tag.Lookup("sql"); ok {
			name = tag
		} else if f.Anonymous && isRecord(f.Type) {
			continue
		}
		if !f.IsExported() || name == "-" || throughPointer(typ, f.Index) {
			continue
		}
		if name = strings.ToLower(name); len(fields[name]) == 0 || len(fields[name]) > len(f.Index) {
			fields[name] = f.Index
		}
	}
	known, _ := fieldCache.LoadOrStore(typ, fields)
	return known.(map[string][]int)
}

// throughPointer reports whether the path to a field goes through an embedded
// pointer, which may be nil.
func throughPointer(typ reflect.Type, path []int) bool {
	for _, i := range path[:len(path)-1] {
		if typ = typ.Field(i).Type; typ.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}

// convert stores a value of SQLite (nil, int64, float64, string, []byte) in a
// Go value.
func convert(to reflect.Value, value any) error {
	switch dest := to.Addr().Interface().(type) {
	case *sql.NullTime:
		dest.Valid = value != nil
		return convertNullTime(&dest.Time, value)
	case *sql.Null[time.Time]:
		dest.Valid = value != nil
		return convertNullTime(&dest.V, value)
	case *sql.NullFloat64:
		dest.Float64, dest.Valid = 0, value != nil
		return convertNullFloat(reflect.ValueOf(&dest.Float64).Elem(), value)
	case sql.Scanner:
		if f := nullFloat(to); f.IsValid() {
			f.SetZero()
			to.FieldByName("Valid").SetBool(value != nil)
			return convertNullFloat(f, value)
		}
		return dest.Scan(value)
	case *time.Time:
		if value != nil {
			return convertTime(dest, value)
		}
	}
	if value == nil {
		return convertNull(to)
	}
	switch to.Kind() {
	case reflect.Pointer:
		p := reflect.New(to.Type().Elem())
		if err := convert(p.Elem(), value); err != nil {
			return err
		}
		to.Set(p)
		return nil
	case reflect.Interface:
		v := reflect.ValueOf(value)
		if !v.Type().AssignableTo(to.Type()) {
			return mismatch(to.Type(), value)
		}
		to.Set(v)
		return nil
	case reflect.String:
		switch v := value.(type) {
		case string:
			to.SetString(v)
		case []byte:
			to.SetString(string(v))
		default:
			return mismatch(to.Type(), value)
		}
		return nil
	case reflect.Slice:
		if to.Type().Elem().Kind() != reflect.Uint8 {
			return mismatch(to.Type(), value)
		}
		switch v := value.(type) {
		case string:
			to.SetBytes([]byte(v))
		case []byte:
			to.SetBytes(v)
		default:
			return mismatch(to.Type(), value)
		}
		return nil
	}
	return convertNumber(to, value)
}

func mismatch(to reflect.Type, value any) error {
	return fmt.Errorf("cannot read %T into %s", value, to)
}

func unfit(to reflect.Type, value any) error { return fmt.Errorf("%v overflows %s", value, to) }

func convertNull(to reflect.Value) error {
	bytes := to.Kind() == reflect.Slice && to.Type().Elem().Kind() == reflect.Uint8
	if to.Kind() != reflect.Pointer && to.Kind() != reflect.Interface && !bytes {
		return fmt.Errorf("cannot read NULL into %s", to.Type())
	}
	to.SetZero()
	return nil
}

// convertNullTime reads a time from text, which the Scan methods of the
// database/sql types do not.
func convertNullTime(to *time.Time, value any) error {
	if value == nil {
		*to = time.Time{}
		return nil
	}
	return convertTime(to, value)
}

// nullFloat returns the value of a [sql.Null] of a float, or the zero
// reflect.Value.
func nullFloat(to reflect.Value) (f reflect.Value) {
	if t := to.Type(); t.PkgPath() == "database/sql" && strings.HasPrefix(t.Name(), "Null[") &&
		to.FieldByName("V").CanFloat() {
		f = to.FieldByName("V")
	}
	return f
}

// convertNullFloat converts without rounding integers, which the Scan methods
// of the database/sql types do.
func convertNullFloat(to reflect.Value, value any) error {
	if value == nil {
		return nil
	}
	return convert(to, value)
}

// timeLayouts are the forms that SQLite's own functions read. The first is that
// of arguments and of CURRENT_TIMESTAMP. A time without a zone is in UTC.
// [time.Parse] accepts a fraction after the seconds in each of them.
var timeLayouts = []string{
	time.DateTime, time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05",
	"2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly,
}

func convertTime(to *time.Time, value any) error {
	text, ok := value.(string)
	if !ok {
		return mismatch(reflect.TypeFor[time.Time](), value)
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			*to = t
			return nil
		}
	}
	return fmt.Errorf("cannot read %q into time.Time", text)
}

// convertNumber stores a number in a number or a bool, if nothing is lost.
func convertNumber(to reflect.Value, value any) error {
	n, whole := value.(int64)
	f, fraction := value.(float64)
	if fraction && f == math.Trunc(f) && f >= math.MinInt64 && f < math.MaxInt64 {
		n, whole = int64(f), true
	}
	switch {
	case to.CanInt() && whole:
		if to.OverflowInt(n) {
			return unfit(to.Type(), value)
		}
		to.SetInt(n)
	case to.CanUint() && whole:
		if n < 0 || to.OverflowUint(uint64(n)) {
			return unfit(to.Type(), value)
		}
		to.SetUint(uint64(n))
	case to.CanFloat() && fraction:
		if to.OverflowFloat(f) {
			return unfit(to.Type(), value)
		}
		to.SetFloat(f)
	case to.CanFloat() && whole:
		to.SetFloat(float64(n))
		if back := to.Float(); back >= math.MaxInt64 || int64(back) != n {
			return unfit(to.Type(), value)
		}
	case to.Kind() == reflect.Bool && whole:
		if n != 0 && n != 1 {
			return unfit(to.Type(), value)
		}
		to.SetBool(n == 1)
	default:
		return mismatch(to.Type(), value)
	}
	return nil
}
