package sqlite

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/godurable/dog/internal/store"
)

// values converts args to types that bind accepts, by the rules of
// database/sql: it follows pointers, calls [driver.Valuer], and converts types
// by their kind. No value may be longer than most bytes; checking this here
// saves SQLite a copy. A value that SQLite would store as a different one is
// [store.ErrLimit].
func values(args []any, most int) ([]any, error) {
	out := make([]any, len(args))
	for i, arg := range args {
		named, isNamed := arg.(sql.NamedArg)
		if isNamed {
			arg = named.Value
		}
		v, err := convert(arg)
		if err == nil {
			err = storable(v, most)
		}
		if err != nil {
			return nil, fmt.Errorf("dog: SQL: argument %d: %w", i+1, err)
		}
		out[i] = v
		if isNamed {
			named.Value = v
			out[i] = named
		}
	}
	return out, nil
}

// convert is [driver.DefaultParameterConverter], but rejects an unsigned
// integer above math.MaxInt64. The default rejects such a uint64, but converts
// such a uint to a negative number.
func convert(arg any) (driver.Value, error) {
	if driver.IsValue(arg) {
		return arg, nil
	}
	for v := reflect.ValueOf(arg); v.IsValid(); v = v.Elem() {
		if isNull(v.Type()) && v.FieldByName("Valid").Bool() {
			return convert(v.FieldByName("V").Interface())
		}
		if v.Kind() == reflect.Pointer && isNull(v.Type().Elem()) {
			continue
		}
		if _, ok := v.Interface().(driver.Valuer); ok {
			break
		}
		if v.CanUint() && v.Uint() > math.MaxInt64 {
			return nil, fmt.Errorf(
				"%w: %d is above the largest integer of SQLite; pass it as text", store.ErrLimit, v.Uint(),
			)
		}
		if v.Kind() != reflect.Pointer {
			break
		}
	}
	return driver.DefaultParameterConverter.ConvertValue(arg)
}

// isNull reports whether t is a [sql.Null], whose Value method converts like
// [driver.DefaultParameterConverter].
func isNull(t reflect.Type) bool {
	return t.PkgPath() == "database/sql" && strings.HasPrefix(t.Name(), "Null[")
}

// storable checks that a value will be read back unchanged.
func storable(v driver.Value, most int) error {
	if n := size(v); n > most {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", store.ErrLimit, n, most)
	}
	switch v := v.(type) {
	case nil, int64, string, []byte, bool:
	case float64:
		if math.IsNaN(v) {
			return fmt.Errorf("%w: SQLite stores no NaN; pass nil for NULL", store.ErrLimit)
		}
	case time.Time:
		if year := v.UTC().Year(); year < 0 || year > 9999 {
			return fmt.Errorf("%w: a time in the year %d, allowed are 0 to 9999 in UTC", store.ErrLimit, year)
		}
	default: // a decimal number, which database/sql leaves to the driver
		return fmt.Errorf("unsupported type %T; pass it as text", v)
	}
	return nil
}

// timeLayout is the format in which times are stored. It is the format of
// SQLite's own functions, such as CURRENT_TIMESTAMP, with a fraction if there
// is one. Times in this format, always in UTC, sort in order of time.
const timeLayout = "2006-01-02 15:04:05.999999999"

func size(v driver.Value) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return 0
}

// bind binds args to the parameters of s. Named arguments bind to :name, @name
// and $name. The others bind to the remaining parameters in order.
func (s *statement) bind(args []any) error {
	named := false
	for _, arg := range args {
		if _, named = arg.(sql.NamedArg); named {
			break
		}
	}
	if named {
		var err error
		if args, err = s.order(args); err != nil {
			return err
		}
	}
	if len(args) != s.parameters {
		return fmt.Errorf("%d arguments for %d parameters", len(args), s.parameters)
	}
	for i, arg := range args {
		if err := s.bindOne(i+1, arg); err != nil {
			return err
		}
	}
	return nil
}

// order returns args in the order of the parameters.
func (s *statement) order(args []any) ([]any, error) {
	ordered, bound := make([]any, s.parameters), make([]bool, s.parameters)
	var rest []any
	for _, arg := range args {
		named, ok := arg.(sql.NamedArg)
		if !ok {
			rest = append(rest, arg)
			continue
		}
		found := false
		for _, sign := range []string{":", "@", "$"} {
			if i := s.BindIndex(sign + named.Name); i > 0 && !bound[i-1] {
				ordered[i-1], bound[i-1], found = named.Value, true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no parameter for argument %q", named.Name)
		}
	}
	missing := 0
	for i := range ordered {
		switch {
		case bound[i]:
		case missing < len(rest):
			ordered[i] = rest[missing]
			missing++
		default:
			return nil, fmt.Errorf("no argument for parameter %d %s", i+1, s.BindName(i+1))
		}
	}
	if missing < len(rest) {
		return nil, fmt.Errorf("%d arguments for %d parameters", len(args), s.parameters)
	}
	return ordered, nil
}

func (s *statement) bindOne(i int, arg any) error {
	switch v := arg.(type) {
	case int64:
		return s.BindInt64(i, v)
	case float64:
		return s.BindFloat(i, v)
	case string:
		return s.BindText(i, v)
	case []byte:
		if v == nil {
			return s.BindNull(i)
		}
		return s.BindBlob(i, v)
	case bool:
		return s.BindBool(i, v)
	case time.Time:
		return s.BindText(i, v.UTC().Format(timeLayout))
	}
	return s.BindNull(i)
}
