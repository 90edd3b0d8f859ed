package life_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// newLeftover returns a runtime with an object, a group and a replica, and a
// socket of each that has some.
func newLeftover(t *testing.T, on *fixture.OwnerHooks) (l *leftover, ofObject, ofReplica *dog.Socket) {
	t.Helper()
	l = &leftover{rt: dogtest.New(t, dog.Options{Store: disk.Memory()})}
	var err error
	l.objects, err = dog.RegisterObject(l.rt, "object", &dog.ObjectOptions[fixture.SocketObject]{
		Presence: dog.Presence{Grace: time.Hour},
		New:      func() *fixture.SocketObject { return &fixture.SocketObject{On: on} },
	})
	require.NoError(t, err)
	l.replicas, err = dog.RegisterReplica(l.rt, "replica", &dog.ReplicaOptions[fixture.SocketReplica]{
		New: func() *fixture.SocketReplica { return &fixture.SocketReplica{On: on} },
	})
	require.NoError(t, err)
	l.groups, err = dog.RegisterGroup(l.rt, "socketGroup", l.replicas, &dog.GroupOptions[socketGroup]{
		Presence: dog.Presence{Grace: time.Hour},
		Limit:    10, New: func() *socketGroup { return &socketGroup{of: l} },
	})
	require.NoError(t, err)
	srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/object" {
			l.stub().WithUID("ada").ServeHTTP(w, r)
			return
		}
		stub, err := l.groupStub().Identify(r.Context(), "ada")
		require.NoError(t, err)
		stub.ServeHTTP(w, r)
	}))
	for range 2 { // somebody to send to
		srv.Dial("/object")
		srv.Dial("/replica")
	}
	synctest.Wait()
	require.NoError(t, dog.CallErr(t.Context(), l.stub(), (*fixture.SocketObject).Do,
		func(ctx context.Context, o *fixture.SocketObject) error {
			l.ctx, l.object = ctx, o
			for ofObject = range o.Sockets() {
				break
			}
			return nil
		}))
	require.NoError(t, dog.CallErr(t.Context(), l.groupStub().Stub, (*socketGroup).Do, func(h *socketGroup) error {
		l.group = h
		return nil
	}))
	stub, err := l.groupStub().Identify(t.Context(), "ada")
	require.NoError(t, err)
	defer stub.Release()
	require.NoError(t, dog.CallErr(t.Context(), stub, (*fixture.SocketReplica).With,
		func(r *fixture.SocketReplica) error {
			l.replica = r
			for ofReplica = range r.Sockets() {
				break
			}
			return nil
		}))
	return l, ofObject, ofReplica
}

// A call that has no effect must not return nil.
func TestAfterShutdown_CallsWithoutEffectFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ofObject, ofReplica := newLeftover(t, &fixture.OwnerHooks{})
		shutdown(t, l.rt)
		for name, s := range map[string]*dog.Socket{"of an object": ofObject, "of a replica": ofReplica} {
			l.socket = s
			for typ, methods := range afterShutdown {
				for method, outcome := range methods {
					err := outcome.call(l)
					if outcome.want == nil {
						require.NoError(t, err, "%v.%s, %s", typ, method, name)
					} else {
						require.ErrorIs(t, err, outcome.want, "%v.%s, %s", typ, method, name)
					}
				}
			}
		}
	})
}

func TestAfterShutdown_TableIsComplete(t *testing.T) {
	for typ, methods := range afterShutdown {
		if typ == nil {
			continue
		}
		for m := range typ.Methods() {
			_, listed := methods[m.Name]
			require.Equal(t, canFail(m.Type), listed, "%v.%s", typ, m.Name)
		}
	}
	listed := slices.Clone(needNoRuntime)
	for typ, functions := range afterShutdown {
		if typ != nil {
			name, _, _ := strings.Cut(strings.TrimPrefix(typ.String(), "*"), "[")
			listed = append(listed, strings.TrimPrefix(name, "dog."))
			continue
		}
		for name := range functions {
			listed = append(listed, name)
		}
	}
	slices.Sort(listed)
	require.Equal(t, fallible(t), listed)
}

// canFail reports whether a function returns an error, or a sequence with
// errors.
func canFail(f reflect.Type) bool {
	for result := range f.Outs() {
		if result == reflect.TypeFor[error]() {
			return true
		}
		if result.CanSeq2() && result.Kind() == reflect.Func && result.In(0).In(1) == reflect.TypeFor[error]() {
			return true
		}
	}
	return false
}

// fallible returns the names of the exported functions that can fail, and of
// the exported types that have or embed methods that can.
func fallible(t *testing.T) (names []string) {
	noTests := func(file fs.FileInfo) bool { return !strings.HasSuffix(file.Name(), "_test.go") }
	packages, err := parser.ParseDir( //nolint:staticcheck // build tags play no part here
		token.NewFileSet(), "../..", noTests, parser.SkipObjectResolution,
	)
	require.NoError(t, err)
	for _, file := range packages["dog"].Files {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !f.Name.IsExported() || f.Type.Results == nil || !mentionsError(f.Type.Results) {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				name = receiverOf(f)
			}
			if ast.IsExported(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func mentionsError(results *ast.FieldList) (found bool) {
	ast.Inspect(results, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			found = found || id.Name == "error"
		}
		return true
	})
	return found
}

// receiverOf returns the name of the type of a method.
func receiverOf(f *ast.FuncDecl) (name string) {
	ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return true
	})
	return name
}

// What runs until the end of a shutdown is not over: it sends, calls and stores
// as before.
func TestAfterShutdown_DoesNotBeginWhileHandlersRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l *leftover
		var runs atomic.Int32
		works := func(s *dog.Socket) {
			runs.Add(1)
			require.NoError(t, l.object.Broadcast("x"))
			require.NoError(t, l.replica.Broadcast("x"))
			require.NoError(t, l.replica.Emit("x"))
			require.NoError(t, l.replica.SetLocked(true))
			require.NoError(t, l.group.Broadcast("x"))
			require.NoError(t, l.group.Emit(l.replica.ID(), "x"))
			require.NoError(t, l.group.Drain(l.replica.ID()))
			require.NoError(t, l.group.SetLocked(l.replica.ID(), false))
			require.NoError(t, s.Broadcast("x"))
			require.NoError(t, s.Emit("x"))
		}
		var ofReplica *dog.Socket
		l, _, ofReplica = newLeftover(t, &fixture.OwnerHooks{
			Close: func(ctx context.Context, _ fixture.Owner, s *dog.Socket, _ int, _ string) error {
				works(s)
				require.NoError(t, l.groupStub().Broadcast(ctx, "x"))
				require.NoError(t, l.groupStub().Drain(ctx, l.replica.ID()))
				require.NoError(t, l.groupStub().SetLocked(ctx, l.replica.ID(), false))
				return nil
			},
		})
		l.stop = func() { works(ofReplica) }
		ended := make(chan error)
		go func() {
			ended <- dog.CallErr(t.Context(), l.stub(), (*fixture.SocketObject).Do,
				func(ctx context.Context, o *fixture.SocketObject) error {
					err := dog.Await(ctx, func() error { <-dog.Stopping(ctx); time.Sleep(time.Second); return nil })
					require.NoError(t, err)
					require.NoError(t, o.Broadcast("the last words"))
					require.NoError(t, l.replica.Broadcast("the last words"))
					require.NoError(t, l.group.Broadcast("the last words"))
					return dog.Put(o.Storage(), "k", 1)
				})
		}()
		synctest.Wait()
		shutdown(t, l.rt)
		require.NoError(t, <-ended)
		require.EqualValues(t, 4+1, runs.Load(), "each OnClose, and OnStop")
	})
}

// A handler that outlives the patience of Shutdown reaches nobody any more, but
// can still be aborted.
func TestAfterShutdown_BeginsWhenShutdownTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s, _ := newLeftover(t, &fixture.OwnerHooks{})
		release := make(chan struct{})
		ended := make(chan error)
		go func() {
			ended <- dog.CallErr(context.Background(), l.stub(), (*fixture.SocketObject).Do,
				func(_ context.Context, o *fixture.SocketObject) error {
					<-release
					require.ErrorIs(t, o.Broadcast("x"), dog.ErrShutdown)
					require.ErrorIs(t, s.Broadcast("x"), dog.ErrShutdown)
					return nil
				})
		}()
		synctest.Wait()
		patience, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, l.rt.Shutdown(patience), context.DeadlineExceeded)
		require.NoError(t, l.groupStub().Abort(nil))
		close(release)
		<-ended
		shutdown(t, l.rt)
		require.ErrorIs(t, l.groupStub().Abort(nil), dog.ErrShutdown)
	})
}
