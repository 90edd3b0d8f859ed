package api_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// The copies that go vet must report are the lines with this comment.
const copies = `package p

import (
	"github.com/godurable/dog"
	"github.com/godurable/dog/outbox"
)

type object struct {
	dog.Object
	n int
}

type replica struct{ dog.Replica }

type group struct{ dog.Group }

type holder struct{ o object }

func use(o *object, r *replica, g *group, h *holder, q outbox.Queue) { // copy
	_ = new(object)   // no copy
	_ = &object{n: 1} // no copy
	a := *o           // copy
	b := *r           // copy
	c := *g           // copy
	d := *h           // copy
	e := o.Object     // copy
	f := q            // copy
	_ = []any{&a, &b, &c, &d, &e, &f}
	for _, v := range []object{} { // copy
		_ = &v
	}
}

func byValue(o object) { // copy
	_ = o.n
}

func (o object) method() {} // copy
`

func TestAPI_VetReportsCopiesOfObjects(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.go")
	require.NoError(t, os.WriteFile(file, []byte(copies), 0o600))
	vet := exec.CommandContext(t.Context(), "go", "vet", "-copylocks", file)
	vet.Dir = filepath.Join("..", "..")
	out, err := vet.CombinedOutput()
	require.Error(t, err)
	for i, line := range strings.Split(copies, "\n") {
		place := "p.go:" + strconv.Itoa(i+1) + ":"
		if strings.HasSuffix(line, "// copy") {
			assert.Contains(t, string(out), place, line)
		} else {
			assert.NotContains(t, string(out), place, line)
		}
	}
}

type copied struct {
	dog.Object
	fields int
}

func (c *copied) OnOpen(context.Context, *dog.Socket) error { return nil }

// copyTo copies an object in a way that go vet does not find.
func copyTo(to, from *copied) { reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from).Elem()) }

// A copy of a running object stands for that object, except for its fields.
func TestObject_CopyHasTheSameIdentityStorageAndSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		objects, err := dog.RegisterObject[copied](rt, "copied", nil)
		require.NoError(t, err)
		ada := dogtest.Serve(t, objects.Named("a")).Dial("/")
		var twin copied
		require.NoError(t, dogtest.Run(t, objects.Named("a"), func(ctx context.Context, o *copied) error {
			copyTo(&twin, o)
			require.Equal(t, o.ID(), twin.ID())
			require.NoError(t, dog.Put(twin.Storage(), "key", 1))
			twin.fields++
			require.Zero(t, o.fields)
			return twin.Broadcast("hello")
		}).Err)
		require.Equal(t, "hello", ada.Receive().String())
		require.NoError(t, dogtest.Run(t, objects.Named("a"), func(ctx context.Context, o *copied) error {
			n, found, err := dog.Get[int](o.Storage(), "key")
			require.Equal(t, 1, n)
			require.True(t, found)
			return err
		}).Err)
		require.NoError(t, objects.Named("a").Abort(nil))
		require.ErrorIs(t, twin.Broadcast("hello"), dog.ErrReset)
	})
}

func TestRegister_NewThatReturnsACopyOfARunningObjectIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		var running *copied
		objects, err := dog.RegisterObject(rt, "copied", &dog.ObjectOptions[copied]{New: func() *copied {
			if running == nil {
				return new(copied)
			}
			twin := new(copied)
			copyTo(twin, running)
			return twin
		}})
		require.NoError(t, err)
		require.NoError(t, dogtest.Run(t, objects.Named("a"), func(_ context.Context, o *copied) error {
			running = o
			return nil
		}).Err)
		err = dogtest.Run(t, objects.Named("b"), func(context.Context, *copied) error { return nil }).Err
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorContains(t, err, "is in use")
	})
}
