package life_test

import (
	"context"
	"iter"
	"net/http"
	"net/http/httptest"
	"reflect"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// socketGroup is a group of socket replicas.
type socketGroup struct {
	dog.Group
	of *leftover
}

// OnStop calls leftover.stop.
func (h *socketGroup) OnStop(context.Context, dog.StopReason) error {
	if h.of.stop != nil {
		h.of.stop()
	}
	return nil
}

// Do runs a function in the turn.
func (h *socketGroup) Do(_ context.Context, f func(*socketGroup) error) error { return f(h) }

// leftover is what a program may still hold of a runtime that has been shut
// down.
type leftover struct {
	ctx      context.Context // of a handler that has returned
	rt       *dog.Runtime
	object   *fixture.SocketObject
	replica  *fixture.SocketReplica
	group    *socketGroup
	socket   *dog.Socket
	objects  *dog.Namespace[fixture.SocketObject]
	replicas *dog.Replicas[fixture.SocketReplica]
	groups   *dog.Groups[socketGroup, fixture.SocketReplica]

	stop func() // OnStop of the group; nil: nothing
}

// outside is the context of a caller outside any handler.
func outside() context.Context { return context.Background() }

func (l *leftover) stub() dog.Stub[fixture.SocketObject] { return l.objects.Named("main") }

func (l *leftover) groupStub() dog.GroupStub[socketGroup, fixture.SocketReplica] {
	return l.groups.Named("main")
}

func (l *leftover) storage() *dog.Storage { return l.object.Storage() }

func (l *leftover) scores() dog.Map[int] { return dog.MapOf[int](l.storage(), "score/") }

// An outcome is what a call returns once Shutdown has returned.
type outcome struct {
	want error // nil: the call needs no runtime, or what it asks for is so already
	call func(l *leftover) error
}

// shutDown is the outcome of a call that can have no effect any more.
func shutDown(call func(l *leftover) error) outcome { return outcome{dog.ErrShutdown, call} }

// noTurn is the outcome of a call that belongs into a handler.
func noTurn(call func(l *leftover) error) outcome { return outcome{dog.ErrOutsideTurn, call} }

// harmless is the outcome of a call that works without a runtime.
func harmless(call func(l *leftover) error) outcome { return outcome{nil, call} }

// only drops all results but the error.
func only[T any](_ T, err error) error { return err }

// only2 is only for two results before the error.
func only2[T, U any](_ T, _ U, err error) error { return err }

// last returns the error of a sequence.
func last[V any](seq iter.Seq2[V, error]) (err error) {
	for _, err = range seq { //nolint:revive // to read it is all
	}
	return err
}

func idle(context.Context) error { return nil }

// afterShutdown lists every exported function and method that returns an error
// and needs a runtime, a value that a runtime has made, or the context of a
// handler.
var afterShutdown = map[reflect.Type]map[string]outcome{
	reflect.TypeFor[*dog.Object](): {
		"Broadcast": shutDown(func(l *leftover) error { return l.object.Broadcast("x") }),
		"Connect": shutDown(func(l *leftover) error {
			return only(l.object.Connect(httptest.NewRecorder(), fixture.NewUpgrade("/"), nil))
		}),
		"Disconnect": shutDown(func(l *leftover) error { return only(l.object.Disconnect("ada", 1000, "")) }),
		"Whisper":    shutDown(func(l *leftover) error { return only(l.object.Whisper("ada", "x")) }),
	},
	reflect.TypeFor[*dog.Replica](): {
		"Broadcast": shutDown(func(l *leftover) error { return l.replica.Broadcast("x") }),
		"Connect": shutDown(func(l *leftover) error {
			return only(l.replica.Connect(httptest.NewRecorder(), fixture.NewUpgrade("/"), nil))
		}),
		"Disconnect": shutDown(
			func(l *leftover) error { return only(l.replica.Disconnect(outside(), "ada", 1000, "")) },
		),
		"Emit":      shutDown(func(l *leftover) error { return l.replica.Emit("x") }),
		"Gossip":    shutDown(func(l *leftover) error { return only(l.replica.Gossip(outside(), "x")) }),
		"SetLocked": shutDown(func(l *leftover) error { return l.replica.SetLocked(true) }),
		"Whisper":   shutDown(func(l *leftover) error { return only(l.replica.Whisper(outside(), "ada", "x")) }),
	},
	reflect.TypeFor[*dog.Group](): {
		"Broadcast":  shutDown(func(l *leftover) error { return l.group.Broadcast("x") }),
		"Disconnect": shutDown(func(l *leftover) error { return only(l.group.Disconnect(outside(), "ada", 1000, "")) }),
		"Drain":      shutDown(func(l *leftover) error { return l.group.Drain(l.replica.ID()) }),
		"Emit":       shutDown(func(l *leftover) error { return l.group.Emit(l.replica.ID(), "x") }),
		"Gossip":     shutDown(func(l *leftover) error { return only(l.group.Gossip(outside(), "x")) }),
		"SetLocked":  shutDown(func(l *leftover) error { return l.group.SetLocked(l.replica.ID(), true) }),
		"Whisper":    shutDown(func(l *leftover) error { return only(l.group.Whisper(outside(), "ada", "x")) }),
	},
	reflect.TypeFor[*dog.Socket](): {
		"Attachment":    harmless(func(l *leftover) error { return l.socket.Attachment(new(any)) }),
		"Broadcast":     shutDown(func(l *leftover) error { return l.socket.Broadcast("x") }),
		"Close":         harmless(func(l *leftover) error { return l.socket.Close(1000, "") }), // it is closed
		"Emit":          shutDown(func(l *leftover) error { return l.socket.Emit("x") }),
		"Send":          {dog.ErrSocketClosed, func(l *leftover) error { return l.socket.Send("x") }},
		"SetAttachment": harmless(func(l *leftover) error { return l.socket.SetAttachment(1) }),
		"SetPresence":   {dog.ErrSocketClosed, func(l *leftover) error { return l.socket.SetPresence(1) }},
		"Supersede":     shutDown(func(l *leftover) error { return l.socket.Supersede() }),
		"Whisper":       shutDown(func(l *leftover) error { return only(l.socket.Whisper(outside(), "ada", "x")) }),
	},
	reflect.TypeFor[*dog.Storage](): {
		"Delete":      noTurn(func(l *leftover) error { return only(l.storage().Delete("k")) }),
		"DeleteAll":   noTurn(func(l *leftover) error { return l.storage().DeleteAll() }),
		"Get":         noTurn(func(l *leftover) error { return only2(l.storage().Get("k")) }),
		"GetMany":     noTurn(func(l *leftover) error { return only(l.storage().GetMany("k")) }),
		"List":        noTurn(func(l *leftover) error { return last(l.storage().List(dog.ListOptions{})) }),
		"Put":         noTurn(func(l *leftover) error { return l.storage().Put("k", nil) }),
		"PutMany":     noTurn(func(l *leftover) error { return l.storage().PutMany(map[string][]byte{"k": nil}) }),
		"Sync":        noTurn(func(l *leftover) error { return l.storage().Sync(l.ctx) }),
		"Transaction": noTurn(func(l *leftover) error { return l.storage().Transaction(func() error { return nil }) }),
	},
	reflect.TypeFor[*dog.SQL](): {
		"Exec":  noTurn(func(l *leftover) error { return only(l.storage().SQL().Exec("SELECT 1")) }),
		"Query": noTurn(func(l *leftover) error { return last(l.storage().SQL().Query("SELECT 1")) }),
	},
	reflect.TypeFor[*dog.Alarms](): {
		"All":      noTurn(func(l *leftover) error { return last(l.storage().Alarms().All()) }),
		"Delete":   noTurn(func(l *leftover) error { return only(l.storage().Alarms().Delete("a")) }),
		"Get":      noTurn(func(l *leftover) error { return only2(l.storage().Alarms().Get("a")) }),
		"Set":      noTurn(func(l *leftover) error { return l.storage().Alarms().Set(time.Now()) }),
		"SetNamed": noTurn(func(l *leftover) error { return l.storage().Alarms().SetNamed("a", time.Now(), nil) }),
	},
	reflect.TypeFor[dog.Map[int]](): {
		"Delete": noTurn(func(l *leftover) error { return only(l.scores().Delete("k")) }),
		"Get":    noTurn(func(l *leftover) error { return only2(l.scores().Get("k")) }),
		"List":   noTurn(func(l *leftover) error { return last(l.scores().List(dog.ListOptions{})) }),
		"Put":    noTurn(func(l *leftover) error { return l.scores().Put("k", 1) }),
		"Update": noTurn(func(l *leftover) error {
			return only(l.scores().Update("k", func(n int) (int, error) { return n, nil }))
		}),
	},
	reflect.TypeFor[dog.Stub[fixture.SocketObject]](): {
		"Abort":       shutDown(func(l *leftover) error { return l.stub().Abort(nil) }),
		"Delete":      shutDown(func(l *leftover) error { return l.stub().Delete(outside()) }),
		"Export":      shutDown(func(l *leftover) error { return l.stub().Export(outside(), "file") }),
		"Import":      shutDown(func(l *leftover) error { return l.stub().Import(outside(), "file") }),
		"MemberCount": shutDown(func(l *leftover) error { return only(l.stub().MemberCount(outside())) }),
		"Members":     shutDown(func(l *leftover) error { return only(l.stub().Members(outside(), "", 1)) }),
		"RoundTrip": shutDown(
			func(l *leftover) error { return refused(l.stub().RoundTrip(fixture.NewRequest("http://object/"))) },
		),
	},
	reflect.TypeFor[dog.History](): {
		"Position": shutDown(func(l *leftover) error { return only(l.stub().History().Position()) }),
		"Read":     shutDown(func(l *leftover) error { return only(l.stub().History().Read("", 0)) }),
	},
	reflect.TypeFor[dog.GroupStub[socketGroup, fixture.SocketReplica]](): {
		"Abort":     shutDown(func(l *leftover) error { return l.groupStub().Abort(nil) }),
		"Broadcast": shutDown(func(l *leftover) error { return l.groupStub().Broadcast(outside(), "x") }),
		"Delete":    shutDown(func(l *leftover) error { return l.groupStub().Delete(outside()) }),
		"Disconnect": shutDown(
			func(l *leftover) error { return only(l.groupStub().Disconnect(outside(), "ada", 1000, "")) },
		),
		"Drain":       shutDown(func(l *leftover) error { return l.groupStub().Drain(outside(), l.replica.ID()) }),
		"Emit":        shutDown(func(l *leftover) error { return l.groupStub().Emit(outside(), l.replica.ID(), "x") }),
		"Export":      shutDown(func(l *leftover) error { return l.groupStub().Export(outside(), "file") }),
		"Gossip":      shutDown(func(l *leftover) error { return only(l.groupStub().Gossip(outside(), "x")) }),
		"Identify":    shutDown(func(l *leftover) error { return only(l.groupStub().Identify(outside(), "ada")) }),
		"Import":      shutDown(func(l *leftover) error { return l.groupStub().Import(outside(), "file") }),
		"MemberCount": shutDown(func(l *leftover) error { return only(l.groupStub().MemberCount(outside())) }),
		"Members":     shutDown(func(l *leftover) error { return only(l.groupStub().Members(outside(), "", 1)) }),
		"RoundTrip": shutDown(
			func(l *leftover) error { return refused(l.groupStub().RoundTrip(fixture.NewRequest("http://object/"))) },
		),
		"SetLocked": shutDown(
			func(l *leftover) error { return l.groupStub().SetLocked(outside(), l.replica.ID(), true) },
		),
		"Whisper": shutDown(func(l *leftover) error { return only(l.groupStub().Whisper(outside(), "ada", "x")) }),
	},
	reflect.TypeFor[*dog.Namespace[fixture.SocketObject]](): {
		"ByID":  harmless(func(l *leftover) error { return only(l.objects.ByID(l.object.ID())) }),
		"List":  shutDown(func(l *leftover) error { return last(l.objects.List(outside(), dog.ObjectListOptions{})) }),
		"Parse": harmless(func(l *leftover) error { return only(l.objects.Parse(l.object.ID().String())) }),
	},
	reflect.TypeFor[*dog.Replicas[fixture.SocketReplica]](): {
		"ByID":  harmless(func(l *leftover) error { return only(l.replicas.ByID(l.replica.ID())) }),
		"List":  shutDown(func(l *leftover) error { return last(l.replicas.List(outside(), dog.ObjectListOptions{})) }),
		"Parse": harmless(func(l *leftover) error { return only(l.replicas.Parse(l.replica.ID().String())) }),
	},
	reflect.TypeFor[*dog.Groups[socketGroup, fixture.SocketReplica]](): {
		"ByID":  harmless(func(l *leftover) error { return only(l.groups.ByID(l.group.ID())) }),
		"List":  shutDown(func(l *leftover) error { return last(l.groups.List(outside(), dog.ObjectListOptions{})) }),
		"Parse": harmless(func(l *leftover) error { return only(l.groups.Parse(l.group.ID().String())) }),
	},
	reflect.TypeFor[*dog.Runtime](): {
		"Backup":   shutDown(func(l *leftover) error { return l.rt.Backup(outside(), "directory") }),
		"Serve":    shutDown(func(l *leftover) error { return l.rt.Serve(outside(), new(http.Server), nil) }),
		"Shutdown": harmless(func(l *leftover) error { return l.rt.Shutdown(outside()) }),
	},
	nil: { // functions
		"Await": noTurn(func(l *leftover) error {
			return dog.Await(l.ctx, func() error { return nil })
		}),
		"BlockConcurrencyWhile": noTurn(func(l *leftover) error { return dog.BlockConcurrencyWhile(l.ctx, idle) }),
		"Call": shutDown(func(l *leftover) error {
			return only(dog.Call(outside(), l.stub(), (*fixture.SocketObject).Add, 1))
		}),
		"Call0": shutDown(
			func(l *leftover) error { return only(dog.Call0(outside(), l.stub(), (*fixture.SocketObject).Count)) },
		),
		"CallErr": shutDown(
			func(l *leftover) error { return dog.CallErr(outside(), l.stub(), (*fixture.SocketObject).Do, nil) },
		),
		"CallErr0": shutDown(
			func(l *leftover) error { return dog.CallErr0(outside(), l.stub(), (*fixture.SocketObject).Nothing) },
		),
		"Get":     noTurn(func(l *leftover) error { return only2(dog.Get[int](l.storage(), "k")) }),
		"Go":      noTurn(func(l *leftover) error { return dog.Go(l.ctx, idle) }),
		"Put":     noTurn(func(l *leftover) error { return dog.Put(l.storage(), "k", 1) }),
		"QueryAs": noTurn(func(l *leftover) error { return last(dog.QueryAs[int](l.storage().SQL(), "SELECT 1")) }),
		"QueryRowAs": noTurn(
			func(l *leftover) error { return only2(dog.QueryRowAs[int](l.storage().SQL(), "SELECT 1")) },
		),
		"RegisterGroup": shutDown(func(l *leftover) error {
			return only(dog.RegisterGroup(l.rt, "h", l.replicas, &dog.GroupOptions[socketGroup]{Limit: 1}))
		}),
		"RegisterObject": shutDown(
			func(l *leftover) error { return only(dog.RegisterObject[dog.Object](l.rt, "o", nil)) },
		),
		"RegisterReplica": shutDown(func(l *leftover) error {
			return only(dog.RegisterReplica[dog.Replica](l.rt, "r", nil))
		}),
		"Update": noTurn(func(l *leftover) error {
			return only(dog.Update(l.storage(), "k", func(n int) (int, error) { return n, nil }))
		}),
	},
}

// needNoRuntime are the exported functions and types whose errors are about
// their arguments and values alone.
var needNoRuntime = []string{
	"Encode", "New", // which makes another one
	"CloseError", "Durations", "EventKind", "ID", "Kind", "Message", "PanicError", "Reply", "ResetError", "SchemaError",
	"StatusError", "StoreStats",
	"Row", // which is valid in its loop only
}

// refused returns the error for the status of an answer to RoundTrip, which
// makes responses of refusals.
func refused(answer *http.Response, err error) error {
	if err == nil && answer.StatusCode == http.StatusServiceUnavailable {
		return dog.ErrShutdown
	}
	return err
}
