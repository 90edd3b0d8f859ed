package turn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestTurn_TableOfTurnsIsWhole(t *testing.T) {
	for typ, methods := range turnTable {
		if typ == nil {
			continue
		}
		var has []string
		for i := range typ.NumMethod() {
			has = append(has, typ.Method(i).Name)
		}
		require.Equal(t, has, slices.Sorted(maps.Keys(methods)), "the methods of %s", typ)
	}
}

func TestTurn_OnlyWhatTakesAContextMayGiveUpTheTurn(t *testing.T) {
	context, request := reflect.TypeFor[context.Context](), reflect.TypeFor[*http.Request]()
	for typ, methods := range turnTable {
		if typ == nil {
			continue
		}
		for i := range typ.NumMethod() {
			m := typ.Method(i)
			takes := false
			for in := range m.Type.Ins() {
				takes = takes || in == context || in == request
			}
			_, waits := methods[m.Name].(mayWait)
			if m.Name != "List" && m.Name != "Connect" { // which read, and take what Receive got
				require.Equal(t, takes, waits, "%s.%s", typ, m.Name)
			}
		}
	}
}

// newBench returns a function that runs a piece of work in a turn of the object
// of which a type of the table is a part.
func newBench(t *testing.T, typ reflect.Type) (b *bench, run func(f func(ctx context.Context) error) error) {
	t.Helper()
	b = &bench{}
	options, _ := fixture.LogToBuffer()
	options.Store = dogtest.NewDisk(t)
	b.rt = dogtest.New(t, options)
	on := &fixture.OwnerHooks{Start: func(_ context.Context, o fixture.Owner) error {
		b.timer = o.Every(time.Hour, never)
		return nil
	}}
	var err error
	b.ns, err = dog.RegisterObject(
		b.rt, "parlor",
		&dog.ObjectOptions[fixture.SocketObject]{New: func() *fixture.SocketObject {
			b.o = &fixture.SocketObject{On: on}
			return b.o
		}},
	)
	require.NoError(t, err)
	b.rooms, err = dog.RegisterReplica(
		b.rt, "annex",
		&dog.ReplicaOptions[fixture.SocketReplica]{New: func() *fixture.SocketReplica {
			b.r = &fixture.SocketReplica{On: on}
			return b.r
		}},
	)
	require.NoError(t, err)
	b.groups, err = dog.RegisterGroup(
		b.rt, "gallery", b.rooms,
		&dog.GroupOptions[gallery]{Limit: 10, New: func() *gallery {
			b.g = &gallery{}
			return b.g
		}},
	)
	require.NoError(t, err)
	b.group, b.stub = b.groups.Named("a"), b.ns.Named("other")
	own := b.ns.Named("a")
	dogtest.Serve(t, own.WithUID("ada")).Dial("/")
	replica, err := b.group.Identify(t.Context(), "ada")
	require.NoError(t, err)
	b.id = replica.ID()
	dogtest.Serve(t, replica).Dial("/")
	synctest.Wait()

	switch typ {
	case reflect.TypeFor[*dog.Replica]():
		return b, func(f func(context.Context) error) error {
			return dog.CallErr(context.Background(), replica, (*fixture.SocketReplica).Do, f)
		}
	case reflect.TypeFor[*dog.Group]():
		return b, func(f func(context.Context) error) error {
			return dog.CallErr(context.Background(), b.group.Stub, (*gallery).Do, f)
		}
	default:
		for s := range b.o.Sockets() {
			b.s = s
		}
		return b, func(f func(context.Context) error) error {
			return dog.CallErr(
				context.Background(), own, (*fixture.SocketObject).Do,
				func(ctx context.Context, _ *fixture.SocketObject) error { return f(ctx) },
			)
		}
	}
}

func TestTurn_ReadModifyWriteIsSafeAroundWhatKeepsTheTurn(t *testing.T) {
	const writers = 100
	for typ, methods := range turnTable {
		for name, entry := range methods {
			do, keeps := entry.(try)
			if !keeps {
				continue
			}
			of := "package"
			if typ != nil {
				of = strings.TrimPrefix(typ.String(), "*")
			}
			t.Run(of+"."+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, run := newBench(t, typ)
					count := 0 // a field of the object
					var all sync.WaitGroup
					errs := make([]error, writers)
					for i := range writers {
						all.Go(func() {
							errs[i] = run(func(ctx context.Context) error {
								before := count
								if err := b.put(typ, i); err != nil { // so that there is something to wait for
									return err
								}
								b.ctx = ctx
								do(b)
								count = before + 1
								return nil
							})
						})
					}
					all.Wait()
					require.NoError(t, errors.Join(errs...))
					require.Equal(t, writers, count)
				})
			})
		}
	}
}

// put stores something in the object on which a type is tried.
func (b *bench) put(typ reflect.Type, i int) error {
	key := fmt.Sprint("put ", i)
	switch typ {
	case reflect.TypeFor[*dog.Replica]():
		return b.r.Storage().Put(key, nil)
	case reflect.TypeFor[*dog.Group]():
		return b.g.Storage().Put(key, nil)
	}
	return b.o.Storage().Put(key, nil)
}

func TestTurn_ConnectKeepsTheTurn(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		count := 0
		v := fixture.NewOwners(
			t, kind, dog.Options{},
			&fixture.OwnerHooks{Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				before := count
				if err := o.Storage().Put("k", nil); err != nil {
					return err
				}
				_, err := o.Connect(w, req, nil)
				count = before + 1
				return err
			}},
		)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				_, _, err := v.Server.TryDial("/?u=ada", dogtest.DialOptions{})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.Equal(t, 100, count)
	})
}
