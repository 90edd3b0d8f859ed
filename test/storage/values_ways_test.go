package storage_test

import (
	"context"
	"encoding/json"
	"math"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

// valueWays are what values go through.
type valueWays struct {
	cells  *dog.Namespace[fixture.Object]
	group  dog.GroupStub[fixture.Lobby, fixture.Room]
	answer func(dog.Message) (any, error) // of the replica to gossip
	socket *dog.Socket
	file   string
}

func newValueWays(t *testing.T, file string) *valueWays {
	w := &valueWays{file: file}
	h := fixture.NewRoomsWith(
		t, dog.Options{Store: disk.Memory()}, dog.GroupOptions[fixture.Lobby]{Limit: 1}, &fixture.Hooks{
			Open: func(_ context.Context, _ *fixture.Room, s *dog.Socket) error {
				w.socket = s
				return nil
			},
			Gossip: func(_ context.Context, _ *fixture.Room, m dog.Message) (any, error) { return w.answer(m) },
		},
	)
	var err error
	w.cells, err = dog.RegisterObject[fixture.Object](h.Runtime, "cell", nil)
	require.NoError(t, err)
	h.Server.Dial("/ws")
	synctest.Wait()
	w.group = h.Group
	return w
}

// boxed is a value in a struct, as most JSON is.
type boxed[T any] struct{ V T }

// inCell runs f with the storage of an object and returns its error.
func (w *valueWays) inCell(name string, f func(s *dog.Storage) error) error {
	return fixture.InTurn(w.cells.Named(name), func(_ context.Context, c *fixture.Object) error {
		return f(c.Storage())
	})
}

// copied exports the object "from" and imports it as another one.
func (w *valueWays) copied() error {
	if err := w.cells.Named("from").Export(context.Background(), w.file); err != nil {
		return err
	}
	return w.cells.Named("to").Import(context.Background(), w.file)
}

// putValue stores v under a key of an object.
func putValue[T any](w *valueWays, name string, v T) error {
	return w.inCell(name, func(s *dog.Storage) error { return dog.Put(s, "v", boxed[T]{v}) })
}

// getValue reads what putValue has stored.
func getValue[T any](w *valueWays, name string) (v T, err error) {
	err = w.inCell(name, func(s *dog.Storage) error {
		b, _, err := dog.Get[boxed[T]](s, "v")
		v = b.V
		return err
	})
	return v, err
}

// insertValue stores v in a row of an object.
func insertValue[T any](w *valueWays, name string, v T) error {
	return w.inCell(name, func(s *dog.Storage) error {
		_, err := s.SQL().Exec("CREATE TABLE t (v); INSERT INTO t VALUES (?)", v)
		return err
	})
}

// selectValue reads what insertValue has stored.
func selectValue[T any](w *valueWays, name string) (v T, err error) {
	err = w.inCell(name, func(s *dog.Storage) (err error) {
		v, _, err = dog.QueryRowAs[T](s.SQL(), "SELECT v FROM t")
		return err
	})
	return v, err
}

// viaValue is a way of a value, there and back.
type viaValue[T any] func(w *valueWays, v T) (T, error)

// storedValues are the ways of values that must not change.
func storedValues[T any]() map[string]viaValue[T] {
	return map[string]viaValue[T]{
		"a Map": func(w *valueWays, v T) (none T, err error) {
			if err := putValue(w, "from", v); err != nil {
				return none, err
			}
			return getValue[T](w, "from")
		},
		"a Map, exported and imported": func(w *valueWays, v T) (none T, err error) {
			if err := putValue(w, "from", v); err != nil {
				return none, err
			}
			if err := w.copied(); err != nil {
				return none, err
			}
			return getValue[T](w, "to")
		},
		"an attachment": func(w *valueWays, v T) (got T, err error) {
			var b boxed[T]
			if err := w.socket.SetAttachment(boxed[T]{v}); err != nil {
				return got, err
			}
			err = w.socket.Attachment(&b)
			return b.V, err
		},
	}
}

// sentValues are the ways of values in messages, which are plain JSON.
func sentValues[T any]() map[string]viaValue[T] {
	return map[string]viaValue[T]{
		"a message": func(_ *valueWays, v T) (got T, err error) {
			m, err := dog.Encode(boxed[T]{v})
			if err != nil {
				return got, err
			}
			var b boxed[T]
			err = m.Decode(&b)
			return b.V, err
		},
		"a gossip": func(w *valueWays, v T) (T, error) {
			var b boxed[T]
			w.answer = func(m dog.Message) (any, error) { return nil, m.Decode(&b) }
			replies, err := w.group.Gossip(context.Background(), boxed[T]{v})
			if err == nil {
				err = replies[0].Err
			}
			return b.V, err
		},
		"a reply": func(w *valueWays, v T) (T, error) {
			var b boxed[T]
			w.answer = func(dog.Message) (any, error) { return boxed[T]{v}, nil }
			replies, err := w.group.Gossip(context.Background(), nil)
			if err == nil {
				err = replies[0].Decode(&b)
			}
			return b.V, err
		},
	}
}

// rowValues are the ways of values in rows.
func rowValues[T any]() map[string]viaValue[T] {
	return map[string]viaValue[T]{
		"SQL": func(w *valueWays, v T) (none T, err error) {
			if err := insertValue(w, "from", v); err != nil {
				return none, err
			}
			return selectValue[T](w, "from")
		},
		"SQL, exported and imported": func(w *valueWays, v T) (none T, err error) {
			if err := insertValue(w, "from", v); err != nil {
				return none, err
			}
			if err := w.copied(); err != nil {
				return none, err
			}
			return selectValue[T](w, "to")
		},
	}
}

// same is the outcome of a value that comes back as it was.
type same struct{}

// refused is the outcome of a value that an error with this text refuses, at
// the latest when it is read.
type refused string

// valueCase checks one value on all ways.
type valueCase struct {
	name  string
	check func(t *testing.T)
}

// valueThat returns a case: an outcome is same, refused, or the T that comes
// back instead.
func valueThat[T any](name string, v T, stored, sent, row any) valueCase {
	return valueCase{name, func(t *testing.T) {
		for _, group := range []struct {
			ways map[string]viaValue[T]
			want any
		}{{storedValues[T](), stored}, {sentValues[T](), sent}, {rowValues[T](), row}} {
			for way, via := range group.ways {
				t.Run(way, func(t *testing.T) {
					file := filepath.Join(t.TempDir(), "a.db")
					synctest.Test(t, func(t *testing.T) {
						got, err := via(newValueWays(t, file), v)
						if text, ok := group.want.(refused); ok {
							require.ErrorContains(t, err, string(text))
							return
						}
						require.NoError(t, err)
						want := group.want
						if want == (same{}) {
							want = v
						}
						requireSameValue(t, want, got)
					})
				})
			}
		}
	}}
}

// requireSameValue compares times by their instants and floats by their bits.
func requireSameValue(t *testing.T, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case time.Time:
		require.True(t, want.Equal(got.(time.Time)), "%v, not %v", got, want)
	case float64:
		require.Equal(t, math.Float64bits(want), math.Float64bits(got.(float64)), "%v, not %v", got, want)
	default:
		require.Equal(t, want, got)
	}
}

// Values are equal after each way, or refused. Messages are plain JSON, whose
// rules their doc comments state.
func TestValues_AreKeptOrRefused(t *testing.T) {
	east := time.FixedZone("", 5*3600+1800)
	for _, c := range []valueCase{
		valueThat("a boolean", true, same{}, same{}, same{}),
		valueThat("nil", any(nil), same{}, same{}, same{}),
		valueThat("the greatest integer", int64(math.MaxInt64), same{}, same{}, same{}),
		valueThat("the least integer", int64(math.MinInt64), same{}, same{}, same{}),
		valueThat("the greatest unsigned integer", uint64(math.MaxUint64), same{}, same{}, refused("SQL limit")),
		valueThat(
			"an integer of 54 bits in any", any(int64(1<<53+1)),
			refused("9007199254740993"), any(float64(1<<53)), same{},
		),
		valueThat("a number as text", json.Number("9007199254740993"), same{}, same{}, same{}),
		valueThat("a fraction", 0.1, same{}, same{}, same{}),
		valueThat("the smallest fraction", math.SmallestNonzeroFloat64, same{}, same{}, same{}),
		valueThat("the greatest float", math.MaxFloat64, same{}, same{}, same{}),
		valueThat("negative zero", math.Copysign(0, -1), same{}, same{}, same{}),
		valueThat("infinity", math.Inf(-1), refused("-Inf"), refused("-Inf"), same{}),
		valueThat("no number", math.NaN(), refused("NaN"), refused("NaN"), refused("NaN")),
		valueThat("text", "a\x00b\u2028<&>\U0001f436", same{}, same{}, same{}),
		valueThat("no text", "", same{}, same{}, same{}),
		valueThat("invalid text", "a\xffb", refused("UTF-8"), "a\ufffdb", same{}),
		valueThat("invalid text in any", any("a\xffb"), refused("UTF-8"), any("a\ufffdb"), same{}),
		valueThat("bytes", []byte{0, 1, 255, 0}, same{}, same{}, same{}),
		valueThat("no bytes", []byte{}, same{}, same{}, same{}),
		valueThat("nil bytes", []byte(nil), same{}, same{}, same{}),
		valueThat("a time", time.Date(2026, 2, 3, 4, 5, 6, 789, east), same{}, same{}, same{}),
		valueThat("the first time", time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), same{}, same{}, same{}),
		valueThat("the last time", time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), same{}, same{}, same{}),
		valueThat(
			"a time that is late only by its zone", time.Date(9999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600)),
			same{}, same{}, refused("SQL limit"),
		),
		valueThat(
			"a time after the last", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
			refused("year"), refused("year"), refused("SQL limit"),
		),
		valueThat("a map", map[string][]int{"a": {1}}, same{}, same{}, refused("argument 1")),
	} {
		t.Run(c.name, c.check)
	}
}
