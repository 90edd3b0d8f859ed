package turn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/shard"
	"github.com/godurable/dog/test/internal/fixture"
	"github.com/godurable/dog/test/internal/surface"
)

// packages are those with entries in turnTable, by what goes before the names
// of their types and functions.
func packages(t *testing.T) map[string]*surface.Package {
	t.Helper()
	return map[string]*surface.Package{
		"": surface.Read(
			t, filepath.Join("..", ".."), filepath.Join("..", "..", "internal", "answer", "writer.go"),
			filepath.Join("..", "..", "internal", "answer", "hijack.go"),
		),
		"outbox.": surface.Read(t, filepath.Join("..", "..", "outbox")),
		"shard.":  surface.Read(t, filepath.Join("..", "..", "shard")),
	}
}

// exported returns the exported functions or methods of a subject of turnTable.
func exported(all map[string]*surface.Package, name string) []surface.Func {
	from, typ := all[""], name
	for before, p := range all {
		if of, found := strings.CutPrefix(name, before); found && before != "" {
			from, typ = p, of
		}
	}
	if typ == "" {
		return from.Functions()
	}
	return from.Methods(typ)
}

func namesOf(functions []surface.Func) (names []string) {
	for _, f := range functions {
		names = append(names, f.Decl.Name.Name)
	}
	slices.Sort(names)
	return names
}

func TestTurn_TableIsComplete(t *testing.T) {
	all := packages(t)
	var subjects []string
	for before, p := range all {
		subjects = append(subjects, before) // its functions
		for _, typ := range p.Types() {
			if !slices.Contains(fixture.ValueTypes, before+typ) {
				subjects = append(subjects, before+typ)
			}
		}
	}
	require.ElementsMatch(t, subjects, slices.Collect(maps.Keys(turnTable)))
	for name, s := range turnTable {
		require.NotEmpty(t, s.in, name)
		require.Equal(
			t, namesOf(exported(all, name)), slices.Sorted(maps.Keys(s.methods)), "the exported methods of %q", name,
		)
	}
	require.Equal(t, namesOf(all[""].Methods("hijackable")), slices.Sorted(maps.Keys(answers)), "of Receive's writer")
}

func TestTurn_OnlyMethodsWithAContextMayGiveItUp(t *testing.T) {
	all := packages(t)
	for name, s := range turnTable {
		for _, f := range exported(all, name) {
			takes := f.Takes("context.Context", "http.Request")
			switch s.methods[f.Decl.Name.Name].(type) {
			case mayWait, tryInContext:
				require.True(t, takes, "%s takes no context", f)
			case try:
				require.False(t, takes, "%s takes a context", f)
			case elsewhere:
			default:
				require.Fail(t, "not an entry", f)
			}
		}
	}
}

// histories are those with which methods are tried, by their names.
var histories = map[string]dog.HistoryOptions{
	"no history": {}, "a history": {Count: 10}, "a durable history": {Count: 10, Durable: true},
}

// newTrial returns a function that runs a piece of work in a turn of the object
// of a kind. The objects and the group keep a history.
func newTrial(
	t *testing.T, kind dog.Kind, history dog.HistoryOptions,
) (b *trial, run func(f func(ctx context.Context) error) error) {
	t.Helper()
	b = &trial{keeps: history.Count > 0}
	options, _ := fixture.LogToBuffer()
	options.Store = dogtest.NewDisk(t)
	b.rt = dogtest.New(t, options)
	on, present := new(fixture.OwnerHooks), dog.Presence{Grace: time.Hour}
	var err error
	b.ns, err = dog.RegisterObject(
		b.rt, "object",
		&dog.ObjectOptions[fixture.SocketObject]{
			History: history, Presence: present, New: func() *fixture.SocketObject {
				b.o = &fixture.SocketObject{On: on}
				return b.o
			},
		},
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
		b.rt, "tryGroup", b.rooms,
		&dog.GroupOptions[tryGroup]{Limit: 10, History: history, Presence: present, New: func() *tryGroup {
			b.g = &tryGroup{}
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

	switch kind {
	case dog.KindReplica:
		b.self = b.r
		b.s = first(b.r.Sockets())
		run = func(f func(context.Context) error) error {
			return dog.CallErr(context.Background(), replica, (*fixture.SocketReplica).Do, f)
		}
	case dog.KindGroup:
		b.self = b.g
		run = func(f func(context.Context) error) error {
			return dog.CallErr(context.Background(), b.group.Stub, (*tryGroup).Do, f)
		}
	default:
		b.self = b.o
		b.s = first(b.o.Sockets())
		run = func(f func(context.Context) error) error {
			return dog.CallErr(
				context.Background(), own, (*fixture.SocketObject).Do,
				func(ctx context.Context, _ *fixture.SocketObject) error { return f(ctx) },
			)
		}
	}
	require.NoError(t, run(func(context.Context) error { b.timer = b.self.Every(time.Hour, never); return nil }))
	if kind == dog.KindObject {
		b.addQueue(t, own, run)
	}
	return b, run
}

// addQueue gives the object a queue with a device.
func (b *trial) addQueue(
	t *testing.T, own dog.Stub[fixture.SocketObject], run func(f func(ctx context.Context) error) error,
) {
	t.Helper()
	connect := func(uid string) (s *dog.Socket) {
		srv := dogtest.Serve(t, own.WithUID(uid))
		srv.DialWith("/", dogtest.DialOptions{Subprotocols: []string{"dog.v1"}}).Send("y") // it takes commands
		synctest.Wait()
		return first(b.o.SocketsOf(uid))
	}
	device := connect("device")
	b.spare = connect("spare")
	require.NoError(t, run(func(context.Context) error {
		return errors.Join(b.queue.Bind(&b.o.Object, outbox.Policy{Waiting: 50}), b.queue.Attach(device))
	}))
	var err error
	b.shards, err = shard.New(b.ns, "shards", 4)
	require.NoError(t, err)
}

func first(sockets iter.Seq[*dog.Socket]) *dog.Socket {
	for s := range sockets {
		return s
	}
	return nil
}

func TestTurn_ReadModifyWriteIsSafeAroundCallsThatKeepTheTurn(t *testing.T) {
	for typ, s := range turnTable {
		for name, entry := range s.methods {
			var do func(*trial)
			switch entry := entry.(type) {
			case try:
				do = entry
			case tryInContext:
				do = entry
			default:
				continue
			}
			for _, kind := range s.in {
				for which, history := range histories {
					full := strings.Trim(strings.TrimSuffix(typ, ".")+"."+name, ".")
					t.Run(full+"/"+kind.String()+"/"+which, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { readModifyWrite(t, kind, history, do) })
					})
				}
			}
		}
	}
}

// readModifyWrite counts in a field of an object, with do between the read and
// the write.
func readModifyWrite(t *testing.T, kind dog.Kind, history dog.HistoryOptions, do func(*trial)) {
	const writers = 100
	b, run := newTrial(t, kind, history)
	count := 0
	var all sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		all.Go(func() {
			errs[i] = run(func(ctx context.Context) error {
				before := count
				// so that there is something to wait for
				if err := b.self.Storage().Put(fmt.Sprint("put ", i), nil); err != nil {
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
	require.NoError(t, b.failed)
	require.Equal(t, writers, count)
}

// answers are the methods of the writer that Receive gets.
var answers = map[string]func(w http.ResponseWriter) error{
	"Header":      func(w http.ResponseWriter) error { w.Header().Set("K", "v"); return nil },
	"WriteHeader": func(w http.ResponseWriter) error { w.WriteHeader(http.StatusEarlyHints); return nil },
	"Write":       func(w http.ResponseWriter) error { _, err := w.Write(make([]byte, 2<<20)); return err },
	"Flush":       func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil },
	"FlushError":  func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
	"Hijack": func(w http.ResponseWriter) error {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		return c.Close()
	},
	"EnableFullDuplex": func(w http.ResponseWriter) error { return http.NewResponseController(w).EnableFullDuplex() },
	"SetReadDeadline": func(w http.ResponseWriter) error {
		return http.NewResponseController(w).SetReadDeadline(time.Time{})
	},
	"SetWriteDeadline": func(w http.ResponseWriter) error {
		return http.NewResponseController(w).SetWriteDeadline(time.Time{})
	},
	"Unwrap": func(w http.ResponseWriter) error {
		w.(interface{ Unwrap() http.ResponseWriter }).Unwrap()
		return nil
	},
}

func TestTurn_WritingAResponseKeepsTheTurn(t *testing.T) {
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				requireKeepsTurn(
					t, kind, func(_ fixture.Owner, w http.ResponseWriter, _ *http.Request) error { return answer(w) },
					func(v *fixture.Owners) {
						answer, err := v.Server.Client().Get(dogtest.URL + "/?u=ada")
						if err == nil { // Hijack ends the connection
							_, _ = io.Copy(io.Discard, answer.Body)
							_ = answer.Body.Close()
						}
					},
				)
			})
		})
	}
}

func TestTurn_ConnectKeepsTheTurn(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		requireKeepsTurn(t, kind, func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
			_, err := o.Connect(w, req, nil)
			return err
		}, func(v *fixture.Owners) {
			if _, _, err := v.Server.TryDial("/?u=ada", dogtest.DialOptions{}); err != nil {
				t.Error(err)
			}
		})
	})
}

// requireKeepsTurn sends 100 requests at once and requires that their Receive
// keeps the turn in do.
func requireKeepsTurn(
	t *testing.T, kind string, do func(fixture.Owner, http.ResponseWriter, *http.Request) error,
	send func(*fixture.Owners),
) {
	t.Helper()
	count := 0
	v := fixture.NewOwners(
		t, kind, dog.Options{Store: dogtest.NewDisk(t)},
		&fixture.OwnerHooks{Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
			before := count
			if err := o.Storage().Put("k", nil); err != nil {
				return err
			}
			err := do(o, w, req)
			count = before + 1
			return err
		}},
	)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { send(v) })
	}
	all.Wait()
	synctest.Wait() // a hijacked connection ends before its handler does
	require.Equal(t, 100, count)
}
