package life_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
	"github.com/godurable/dog/test/internal/surface"
)

// timed is a time that the documentation states.
type timed struct {
	field  string // see allTimes; "" for a fixed time
	values []time.Duration

	// bounds returns when the time takes effect at the earliest and at the
	// latest, for a value.
	bounds func(time.Duration) (earliest, latest time.Duration)

	// act does what starts the time, at some moment after phase, and returns
	// how long after that it has acted.
	act func(t *testing.T, o dog.Options, value, phase time.Duration) time.Duration

	// elsewhere is the file and the name of a test of when the time acts, if
	// this one cannot have it act.
	elsewhere string

	// never finds that nothing happens with a negative value; nil: it is
	// refused.
	never func(t *testing.T, o dog.Options)
}

// allTimes are the names of the times that a program sets: the fields of
// Options, those of SocketOptions after "Sockets.", and those of others as
// Type.Field, with the package if that is not dog and Type is Options.
func allTimes(t *testing.T) []string {
	names := fieldsOf(reflect.TypeFor[dog.Options](), "")
	for _, pkg := range []string{"", "disk", "outbox", "client", "shard", "dogtest"} {
		for _, name := range surface.Read(t, filepath.Join("../..", pkg)).Durations() {
			typ, _, _ := strings.Cut(name, ".")
			switch {
			case pkg == "" && (typ == "Options" || typ == "SocketOptions") || slices.Contains(notInForce, typ):
			case typ == "Options":
				names = append(names, pkg+"."+name)
			default:
				names = append(names, name)
			}
		}
	}
	return names
}

// field returns a field of Options, or with "Sockets." one of SocketOptions.
func field(o *dog.Options, name string) reflect.Value {
	v := reflect.ValueOf(o).Elem()
	for part := range strings.SplitSeq(name, ".") {
		v = v.FieldByName(part)
	}
	return v
}

// fieldsOf returns the names of the times among the fields of a struct.
func fieldsOf(typ reflect.Type, prefix string) (names []string) {
	for f := range typ.NumField() {
		switch f := typ.Field(f); f.Type {
		case reflect.TypeFor[time.Duration]():
			names = append(names, prefix+f.Name)
		case reflect.TypeFor[dog.SocketOptions]():
			names = append(names, fieldsOf(f.Type, f.Name+".")...)
		}
	}
	return names
}

func TestTimes_TakeEffectWithinTheDocumentedBounds(t *testing.T) {
	own := fieldsOf(reflect.TypeFor[dog.Options](), "")
	for i, row := range slices.Concat(statedTimes, timesOfOthers) {
		for _, value := range row.values {
			for _, phase := range []time.Duration{0, 1, 123456789, 999 * time.Millisecond, 1900 * time.Millisecond} {
				t.Run(fmt.Sprintf("%d %s %v after %v", i, row.field, value, phase), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var o dog.Options
						if slices.Contains(own, row.field) {
							field(&o, row.field).SetInt(int64(value))
						}
						earliest, latest := row.bounds(value)
						took := row.act(t, o, value, phase)
						require.GreaterOrEqual(t, took, earliest)
						require.LessOrEqual(t, took, latest)
					})
				})
			}
		}
	}
}

// What is stated of a time has to be looked at, not only whether it may be
// negative.
func TestTimes_EachHasATestOfWhenItActs(t *testing.T) {
	for _, name := range allTimes(t) {
		found := false
		for _, row := range slices.Concat(statedTimes, timesOfOthers) {
			if row.field != name {
				continue
			}
			if file, test, ok := strings.Cut(row.elsewhere, ": "); ok {
				source, err := os.ReadFile(filepath.Join("../..", file))
				require.NoError(t, err)
				require.Contains(t, string(source), "\nfunc "+test+"(t *testing.T) {\n")
				found = true
			}
			found = found || row.act != nil && len(row.values) > 0
		}
		require.True(t, found, "nothing says when %s acts", name)
	}
}

func TestTimes_NegativeDisablesOrIsRefused(t *testing.T) {
	rows := make(map[string]func(t *testing.T, o dog.Options))
	for _, row := range statedTimes {
		if row.never != nil || rows[row.field] == nil {
			rows[row.field] = row.never
		}
	}
	for _, name := range fieldsOf(reflect.TypeFor[dog.Options](), "") {
		t.Run(name, func(t *testing.T) {
			never, stated := rows[name]
			require.True(t, stated, "the table has no row for this time")
			synctest.Test(t, func(t *testing.T) {
				var o dog.Options
				field(&o, name).SetInt(-1)
				if never != nil {
					never(t, o)
					return
				}
				_, err := dog.New(o)
				require.ErrorContains(t, err, strings.TrimPrefix("Options."+name, "Options.Sockets."))
			})
		})
	}
}

// Nor may a socket's own options be negative.
func TestTimes_NegativeTimeOrSizeOfASocketIsRefused(t *testing.T) {
	for name, options := range map[string]dog.SocketOptions{
		"MaxMessage": {MaxMessage: -1}, "QueueBytes": {QueueBytes: -1}, "WriteTimeout": {WriteTimeout: -1},
		"CloseTimeout": {CloseTimeout: -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dog.New(dog.Options{Sockets: options})
			require.ErrorContains(t, err, name)
			synctest.Test(t, func(t *testing.T) {
				h := fixture.NewRooms(
					t, 1,
					&fixture.Hooks{Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
						r.Connect(w, req, &options)
					}},
				)
				_, res, err := h.Server.TryDial("/", dogtest.DialOptions{})
				require.Error(t, err)
				require.Equal(t, http.StatusInternalServerError, res.StatusCode)
			})
		})
	}
}
