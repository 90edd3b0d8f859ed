package nearmiss_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/nearmiss"
)

type kind string

func (k kind) String() string { return string(k) }

type opener interface{ OnOpen(id int) error }

type namer interface{ Name() (string, error) }

var handlers = []nearmiss.Handler[kind]{
	nearmiss.HandlerOf[opener](kind("Object"), kind("Replica")),
	nearmiss.HandlerOf[namer](kind("Group")),
}

type exact struct{}

func (exact) OnOpen(int) error { return nil }
func (exact) Open(int) string  { return "" }

type misspelled struct{}

func (misspelled) OnOpne(int) {}

type unnamed struct{}

func (unnamed) Namer() (string, error) { return "", nil }

type mistyped struct{}

func (mistyped) OnOpen(id string) error { return nil }

type unknown struct{}

func (unknown) OnConnect() {}

type once struct{}

func (once) Once() {}

type named struct{}

func (named) Name() string { return "" }

func TestFind_ReportsMethodsThatAreNearlyHandlers(t *testing.T) {
	for _, test := range []struct {
		value any
		kind  kind
		want  string
	}{
		{exact{}, "Object", ""},
		{once{}, "Object", ""},
		{named{}, "Object", ""},
		{exact{}, "Group", "OnOpen is a handler of an Object or a Replica, not of a Group"},
		{
			misspelled{}, "Object",
			"its method OnOpne(int) looks like the handler OnOpen(int) error: rename it to one or the other",
		},
		{
			unnamed{}, "Group",
			"its method Namer() (string, error) looks like the handler Name() (string, error): rename it to one or " +
				"the other",
		},
		{named{}, "Group", "its method Name() string must be Name() (string, error)"},
		{mistyped{}, "Replica", "its method OnOpen(string) error must be OnOpen(int) error"},
		{
			unknown{}, "Object",
			"its method OnConnect() is no handler and would never be called: rename it; Object has the handlers OnOpen",
		},
	} {
		require.Equal(
			t, test.want, nearmiss.Find(reflect.TypeOf(test.value), test.kind, handlers), "%T as %s", test.value,
			test.kind,
		)
	}
}
