package api_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

type (
	bareObject  struct{ dog.Object }
	bareReplica struct{ dog.Replica }
	bareGroup   struct{ dog.Group }
)

// bare are types that do nothing but embed.
var bare = map[string]reflect.Type{
	"Object": reflect.TypeFor[*bareObject](), "Replica": reflect.TypeFor[*bareReplica](),
	"Group": reflect.TypeFor[*bareGroup](),
}

func TestEmbedding_Promotes(t *testing.T) {
	for kind, want := range map[string]string{
		"Object": "Abort After Broadcast Connect Disconnect Every History ID Log MemberCount Members Name Sockets " +
			"SocketsOf Storage Whisper",
		"Replica": "Abort After Broadcast Connect Disconnect Emit Every Gossip GroupName History ID Log Name " +
			"SetLocked Sockets SocketsOf Storage Whisper",
		"Group": "Abort After Broadcast Disconnect Drain Emit Every Gossip History ID Log MemberCount Members Name " +
			"Replicas SetLocked Storage Whisper",
	} {
		typ := bare[kind]
		var has []string
		for i := range typ.NumMethod() {
			has = append(has, typ.Method(i).Name)
		}
		require.Equal(t, strings.Fields(want), has, "the methods that embedding %s promotes", kind)
		for i := range typ.Elem().NumField() {
			require.Zero(t, exportedFields(typ.Elem().Field(i).Type), "%s has no fields of its own", kind)
		}
	}
}

// exportedFields counts the exported fields of a struct.
func exportedFields(typ reflect.Type) (n int) {
	for i := range typ.NumField() {
		if typ.Field(i).IsExported() {
			n++
		}
	}
	return n
}

func TestEmbedding_SatisfiesNoStandardInterface(t *testing.T) {
	for _, standard := range []reflect.Type{
		reflect.TypeFor[io.Closer](), reflect.TypeFor[io.Reader](), reflect.TypeFor[io.Writer](),
		reflect.TypeFor[io.StringWriter](),
		reflect.TypeFor[io.ReaderFrom](), reflect.TypeFor[io.WriterTo](), reflect.TypeFor[io.Seeker](),
		reflect.TypeFor[fmt.Stringer](), reflect.TypeFor[fmt.GoStringer](), reflect.TypeFor[fmt.Formatter](),
		reflect.TypeFor[fmt.Scanner](), reflect.TypeFor[error](), reflect.TypeFor[interface{ Unwrap() error }](),
		reflect.TypeFor[interface{ Is(error) bool }](),
		reflect.TypeFor[http.Handler](), reflect.TypeFor[http.RoundTripper](), reflect.TypeFor[http.ResponseWriter](),
		reflect.TypeFor[http.Flusher](), reflect.TypeFor[http.Hijacker](), reflect.TypeFor[http.CookieJar](),
		reflect.TypeFor[sync.Locker](), reflect.TypeFor[sort.Interface](),
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
		reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler](),
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
		reflect.TypeFor[slog.LogValuer](), reflect.TypeFor[slog.Handler](), reflect.TypeFor[driver.Valuer](),
		reflect.TypeFor[sql.Scanner](),
		reflect.TypeFor[context.Context](),
		// Nor any handler of the library's own: a type has those that it
		// writes.
		reflect.TypeFor[dog.Receiver](), reflect.TypeFor[dog.OpenHandler](), reflect.TypeFor[dog.MessageHandler](),
		reflect.TypeFor[dog.CloseHandler](), reflect.TypeFor[dog.ErrorHandler](), reflect.TypeFor[dog.AlarmHandler](),
		reflect.TypeFor[dog.Starter](), reflect.TypeFor[dog.Stopper](), reflect.TypeFor[dog.GossipHandler](),
		reflect.TypeFor[dog.Gateway](), reflect.TypeFor[dog.Clusterizer](), reflect.TypeFor[dog.PresenceHandler](),
	} {
		for kind, typ := range bare {
			require.False(t, typ.Implements(standard), "embedding %s makes a type a %s", kind, standard)
		}
	}
	for _, v := range []any{&bareObject{}, &bareReplica{}, &bareGroup{}} {
		written, err := json.Marshal(v)
		require.NoError(t, err)
		require.JSONEq(t, "{}", string(written))
	}
}

// hiding has fields and methods with the names of what is promoted.
type hiding struct {
	dog.Object
	ID      int
	Name    string
	Storage []string
	Log     func()
}

// Broadcast has a meaning of its own.
func (h *hiding) Broadcast() string { return "mine" }

// Connect has a meaning of its own.
func (h *hiding) Connect() {}

func (h *hiding) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	return h.Object.Broadcast(h.Broadcast() + " " + h.Object.Name() + " " + m.String())
}

// Own returns what the library knows.
func (h *hiding) Own(context.Context) (dog.ID, error) {
	self, same := dog.Self(h), dog.NamespaceOf(h).Named("a")
	if self.ID() != same.ID() || self.Name() != h.Object.Name() || h.ID != 7 {
		return dog.ID{}, fmt.Errorf("%v is not %v", self.ID(), same.ID())
	}
	return self.ID(), dog.Put(h.Object.Storage(), "k", 1)
}

func TestEmbedding_OwnNamesMayHidePromotedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		objects, err := dog.RegisterObject(
			rt, "hiding", &dog.ObjectOptions[hiding]{New: func() *hiding { return &hiding{ID: 7} }},
		)
		require.NoError(t, err)
		stub := objects.Named("a")
		id, err := dog.Call0(t.Context(), stub, (*hiding).Own)
		require.NoError(t, err)
		require.Equal(t, stub.ID(), id)
		ada := dogtest.Serve(t, stub).Dial("/")
		ada.Send("hello")
		require.Equal(t, "mine a hello", ada.Receive().String())
		require.NoError(t, stub.Delete(t.Context()))
	})
}

const surfaceProgram = `package p

import (
	"context"
	"net/http"
	"time"

	"github.com/godurable/dog"
)

type (
	object  struct{ dog.Object }
	replica struct{ dog.Replica }
	group   struct{ dog.Group }
	nothing struct{}
	named   struct{ Object dog.Object }
	two     struct {
		dog.Object
		dog.Replica
	}
	club struct {
		dog.Object
		dog.Group
	}
	three struct {
		dog.Object
		dog.Replica
		dog.Group
	}
	hides struct {
		dog.Object
		Name string
	}
)

func (*object) Add(ctx context.Context, n int) (int, error)      { return n, nil }
func (*object) Nothing(ctx context.Context) error                { return nil }
func (*replica) Add(ctx context.Context, n int) (int, error)     { return n, nil }

func use(ctx context.Context, w http.ResponseWriter, r *http.Request, rt *dog.Runtime, s *dog.Socket,
	o *object, rp *replica, g *group, h *hides,
	objects *dog.Namespace[object], replicas *dog.Replicas[replica], groups *dog.Groups[group, replica],
	stub dog.Stub[object], room dog.Stub[replica], lobby dog.GroupStub[group, replica]) {
	_ = time.Second
	STATEMENT
}
`

func TestEmbedding_MisusesDoNotCompile(t *testing.T) {
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", exportData(t, "."))
	compile := func(statement string) error {
		file, err := parser.ParseFile(files, "p.go", strings.Replace(surfaceProgram, "STATEMENT", statement, 1), 0)
		require.NoError(t, err, statement)
		config := types.Config{Importer: imports}
		_, err = config.Check("p", files, []*ast.File{file}, nil)
		return err
	}
	for _, right := range []string{
		`dog.RegisterObject[object](rt, "x", nil)`,
		`dog.RegisterObject(rt, "x", &dog.ObjectOptions[object]{Hibernate: true})`,
		`dog.RegisterObject[dog.Object](rt, "x", nil)`,
		`dog.RegisterReplica[replica](rt, "x", nil)`,
		`dog.RegisterReplica[dog.Replica](rt, "x", nil)`,
		`dog.RegisterGroup(rt, "x", replicas, &dog.GroupOptions[group]{Limit: 1})`,
		`dog.RegisterGroup(rt, "x", replicas, &dog.GroupOptions[dog.Group]{Limit: 1})`,
		`dog.RegisterGroup[group](rt, "x", replicas, nil)`,
		`_, _ = dog.Call(ctx, stub, (*object).Add, 1)`,
		`_ = dog.CallErr0(ctx, stub, (*object).Nothing)`,
		`_, _ = dog.Call(ctx, room, (*replica).Add, 1)`,
		`_, _ = lobby.Identify(ctx, "ada")`,
		`_, _ = dog.GroupOf[group](rp).Gossip(ctx, 1)`,
		`_ = dog.NamespaceOf(o).Named("x")`,
		`_, _ = dog.Self(rp), dog.Self(g)`,
		`_ = o.Broadcast(1, dog.ExceptUID("ada"), dog.Coalesce("x"))`,
		`_, _ = o.Whisper("ada", 1)`,
		`_, _ = rp.Whisper(ctx, "ada", 1)`,
		`_, _ = o.Connect(w, r, nil)`,
		`o.Every(time.Second, o.Nothing).Stop()`,
		`_ = h.Object.Name()`,
		`stub.WithUID("ada").ServeHTTP(w, r)`,
	} {
		require.NoError(t, compile(right), right)
	}
	for name, wrong := range map[string]string{
		"an object that embeds nothing":   `dog.RegisterObject[nothing](rt, "x", nil)`,
		"an object that is a field":       `dog.RegisterObject[named](rt, "x", nil)`,
		"an object that is a replica too": `dog.RegisterObject[two](rt, "x", nil)`,
		"a replica that is an object too": `dog.RegisterReplica[two](rt, "x", nil)`,
		"a group that is everything": `
			dog.RegisterGroup(rt, "x", replicas, &dog.GroupOptions[three]{Limit: 1})`,
		"an object that is a group too": `dog.RegisterObject[club](rt, "x", nil)`,
		"a group that is an object too": `
			dog.RegisterGroup(rt, "x", replicas, &dog.GroupOptions[club]{Limit: 1})`,
		"a replica as an object": `dog.RegisterObject[replica](rt, "x", nil)`,
		"an object as a replica": `dog.RegisterReplica[object](rt, "x", nil)`,
		"a group as an object":   `dog.RegisterObject[group](rt, "x", nil)`,
		"a group of objects": `
			dog.RegisterGroup(rt, "x", objects, &dog.GroupOptions[group]{Limit: 1})`,
		"a group of groups": `
			dog.RegisterGroup(rt, "x", groups, &dog.GroupOptions[group]{Limit: 1})`,
		"a group before its replicas": `
			dog.RegisterGroup[group, replica](rt, "x", &dog.GroupOptions[group]{Limit: 1})`,
		"options of another kind":              `dog.RegisterObject[object](rt, "x", &dog.ReplicaOptions[object]{})`,
		"options of another type":              `dog.RegisterObject[object](rt, "x", &dog.ObjectOptions[hides]{})`,
		"a New of a value":                     `_ = dog.ObjectOptions[object]{New: func() object { return object{} }}`,
		"a Limit of an object":                 `_ = dog.ObjectOptions[object]{Limit: 1}`,
		"MaxSockets of a replica":              `_ = dog.ReplicaOptions[replica]{MaxSockets: 1}`,
		"sockets of a group":                   `_ = dog.GroupOptions[group]{Sockets: dog.SocketOptions{}}`,
		"an option that was a field":           `o.RollbackOnError = true`,
		"a name of a replica":                  `_ = replicas.Named("x")`,
		"a new replica":                        `_ = replicas.New()`,
		"a replica's stub in Identify":         `_, _ = room.Identify(ctx, "ada")`,
		"an object's stub in Identify":         `_, _ = stub.Identify(ctx, "ada")`,
		"a method of another type":             `_, _ = dog.Call(ctx, stub, (*replica).Add, 1)`,
		"an argument of another type":          `_, _ = dog.Call(ctx, stub, (*object).Add, "1")`,
		"a method without an argument":         `_, _ = dog.Call(ctx, stub, (*object).Nothing, 1)`,
		"a stub of a group in Call":            `_, _ = dog.Call(ctx, lobby, (*replica).Add, 1)`,
		"an object's Broadcast with a context": `_ = o.Broadcast(ctx, 1)(ctx)`,
		"an object's Whisper with a context":   `_, _ = o.Whisper(ctx, "ada", 1)`,
		"a replica's Whisper without one":      `_, _ = rp.Whisper("ada", 1)`,
		"a Gossip without a context":           `_, _ = rp.Gossip(1)`,
		"Emit of an object":                    `_ = o.Emit(1)`,
		"Gossip of an object":                  `_, _ = o.Gossip(ctx, 1)`,
		"Connect of a group":                   `_, _ = g.Connect(w, r, nil)`,
		"sockets of a group's object":          `_ = g.Sockets()`,
		"a group of an object":                 `_ = dog.GroupOf[group](o)`,
		"a namespace of a replica":             `_ = dog.NamespaceOf(rp)`,
		"a namespace made by hand":             `_ = dog.Namespace[object]{nil}`,
		"a stub made by hand":                  `_ = dog.Stub[object]{nil}`,
		"the inside of an object":              `_ = o.Object.crowd`,
		"the library's own look at an object":  `_ = o.base()`,
		"a hidden name":                        `_ = h.Name()`,
		"a timer's function without a context": `o.Every(time.Second, func() error { return nil })`,
		"an audience that is a word":           `_ = s.Broadcast(1, dog.IncludeSelf)`,
	} {
		require.Error(t, compile(wrong), name)
	}
}
