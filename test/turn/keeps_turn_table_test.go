package turn_test

import (
	"context"
	"iter"
	"maps"
	"reflect"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// gallery is a group of socket replicas.
type gallery struct{ dog.Group }

// Do runs a function in the turn.
func (g *gallery) Do(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// bench is what methods are tried on: one object of each kind with a socket, of
// which o, r and g are valid in the turn.
type bench struct {
	ctx    context.Context // of the handler
	rt     *dog.Runtime
	o      *fixture.SocketObject
	r      *fixture.SocketReplica
	g      *gallery
	s      *dog.Socket // of o, or of r
	timer  *dog.Timer
	stub   dog.Stub[fixture.SocketObject] // of another object
	group  dog.GroupStub[gallery, fixture.SocketReplica]
	ns     *dog.Namespace[fixture.SocketObject]
	groups *dog.Groups[gallery, fixture.SocketReplica]
	rooms  *dog.Replicas[fixture.SocketReplica]
	id     dog.ID // of the replica
}

// mayWait is the entry of a method that may give up the turn.
type mayWait struct{}

// A try calls a method that keeps the turn.
type try func(b *bench)

// elsewhere says where a method is tried that cannot be called many times in a
// turn.
type elsewhere string

func drain[V any](seq iter.Seq[V]) {
	for range seq { //nolint:revive // to read it is all
	}
}

func drain2[K, V any](seq iter.Seq2[K, V]) {
	for range seq { //nolint:revive // to read it is all
	}
}

func never(context.Context) error { return nil }

// handled is what all kinds of objects have.
type handled interface {
	ID() dog.ID
	Name() string
	Storage() *dog.Storage
	After(time.Duration, func(context.Context) error) *dog.Timer
	Every(time.Duration, func(context.Context) error) *dog.Timer
	Broadcast(any, ...dog.SendOption) error
}

// coreMethods are the methods of that.
func coreMethods(of func(b *bench) handled, log func(b *bench),
) map[string]any {
	return map[string]any{
		"Abort":     elsewhere("it ends the object"),
		"After":     try(func(b *bench) { of(b).After(time.Hour, never).Stop() }),
		"Broadcast": try(func(b *bench) { _ = of(b).Broadcast("x") }),
		"Every":     try(func(b *bench) { of(b).Every(time.Hour, never).Stop() }),
		"ID":        try(func(b *bench) { of(b).ID() }),
		"Log":       try(log),
		"Name":      try(func(b *bench) { of(b).Name() }),
		"Storage":   try(func(b *bench) { of(b).Storage() }),
	}
}

func with(all map[string]any, more map[string]any) map[string]any {
	all = maps.Clone(all)
	maps.Copy(all, more)
	return all
}

// turnTable lists every exported method of what handlers use.
var turnTable = map[reflect.Type]map[string]any{
	reflect.TypeFor[*dog.Object](): with(coreMethods(func(b *bench) handled {
		return b.o
	}, func(b *bench) { b.o.Log() }), map[string]any{
		"Connect":    elsewhere("TestTurn_ConnectKeepsTheTurn"),
		"Disconnect": try(func(b *bench) { _, _ = b.o.Disconnect("ada", 1000, "") }),
		"Sockets":    try(func(b *bench) { drain(b.o.Sockets()) }),
		"SocketsOf":  try(func(b *bench) { drain(b.o.SocketsOf("ada")) }),
		"Whisper":    try(func(b *bench) { _, _ = b.o.Whisper("ada", "x") }),
	}),
	reflect.TypeFor[*dog.Replica](): with(coreMethods(func(b *bench) handled {
		return b.r
	}, func(b *bench) { b.r.Log() }), map[string]any{
		"Connect":    elsewhere("TestTurn_ConnectKeepsTheTurn"),
		"Disconnect": mayWait{},
		"Emit":       try(func(b *bench) { _ = b.r.Emit("x") }),
		"Gossip":     mayWait{},
		"GroupName":  try(func(b *bench) { b.r.GroupName() }),
		"SetLocked":  try(func(b *bench) { _ = b.r.SetLocked(true) }),
		"Sockets":    try(func(b *bench) { drain(b.r.Sockets()) }),
		"SocketsOf":  try(func(b *bench) { drain(b.r.SocketsOf("ada")) }),
		"Whisper":    mayWait{},
	}),
	reflect.TypeFor[*dog.Group](): with(coreMethods(func(b *bench) handled {
		return b.g
	}, func(b *bench) { b.g.Log() }), map[string]any{
		"Disconnect": mayWait{},
		"Drain":      try(func(b *bench) { _ = b.g.Drain(b.id) }),
		"Emit":       try(func(b *bench) { _ = b.g.Emit(b.id, "x") }),
		"Gossip":     mayWait{},
		"Replicas":   try(func(b *bench) { drain(b.g.Replicas()) }),
		"SetLocked":  try(func(b *bench) { _ = b.g.SetLocked(b.id, true) }),
		"Whisper":    mayWait{},
	}),
	reflect.TypeFor[*dog.Socket](): {
		"Attachment":    try(func(b *bench) { _ = b.s.Attachment(new(any)) }),
		"AutoReplied":   try(func(b *bench) { b.s.AutoReplied() }),
		"Broadcast":     try(func(b *bench) { _ = b.s.Broadcast("x") }),
		"Close":         try(func(b *bench) { _ = b.s.Close(1000, "") }),
		"Emit":          try(func(b *bench) { _ = b.s.Emit("x") }),
		"ID":            try(func(b *bench) { b.s.ID() }),
		"Send":          try(func(b *bench) { _ = b.s.Send("x") }),
		"SetAttachment": try(func(b *bench) { _ = b.s.SetAttachment(1) }),
		"Subprotocol":   try(func(b *bench) { b.s.Subprotocol() }),
		"Tags":          try(func(b *bench) { b.s.Tags() }),
		"UID":           try(func(b *bench) { b.s.UID() }),
		"Whisper":       mayWait{},
	},
	reflect.TypeFor[*dog.Timer](): {
		"Stop": try(func(b *bench) { b.timer.Stop() }),
	},
	reflect.TypeFor[*dog.Storage](): {
		"Alarms":    try(func(b *bench) { b.o.Storage().Alarms() }),
		"Delete":    try(func(b *bench) { _, _ = b.o.Storage().Delete("k") }),
		"DeleteAll": try(func(b *bench) { _ = b.o.Storage().DeleteAll() }),
		"Get":       try(func(b *bench) { _, _, _ = b.o.Storage().Get("k") }),
		"GetMany":   try(func(b *bench) { _, _ = b.o.Storage().GetMany("k", "l") }),
		"List":      try(func(b *bench) { drain2(b.o.Storage().List(dog.ListOptions{})) }),
		"Put":       try(func(b *bench) { _ = b.o.Storage().Put("k", nil) }),
		"PutMany":   try(func(b *bench) { _ = b.o.Storage().PutMany(map[string][]byte{"k": nil}) }),
		"SQL":       try(func(b *bench) { b.o.Storage().SQL() }),
		"Sync":      mayWait{},
		"Transaction": try(
			func(b *bench) { _ = b.o.Storage().Transaction(func() error { return b.o.Storage().Put("k", nil) }) },
		),
	},
	reflect.TypeFor[*dog.SQL](): {
		"Exec":  try(func(b *bench) { _, _ = b.o.Storage().SQL().Exec("CREATE TABLE IF NOT EXISTS t (x)") }),
		"Query": try(func(b *bench) { drain2(b.o.Storage().SQL().Query("SELECT 1")) }),
	},
	reflect.TypeFor[*dog.Alarms](): {
		"All":      try(func(b *bench) { drain2(b.o.Storage().Alarms().All()) }),
		"Delete":   try(func(b *bench) { _, _ = b.o.Storage().Alarms().Delete("a") }),
		"Get":      try(func(b *bench) { _, _, _ = b.o.Storage().Alarms().Get("a") }),
		"Set":      try(func(b *bench) { _ = b.o.Storage().Alarms().Set(time.Now().Add(time.Hour)) }),
		"SetNamed": try(func(b *bench) { _ = b.o.Storage().Alarms().SetNamed("a", time.Now().Add(time.Hour), nil) }),
	},
	reflect.TypeFor[dog.Map[int]](): {
		"Delete": try(func(b *bench) { _, _ = dog.MapOf[int](b.o.Storage(), "m/").Delete("k") }),
		"Get":    try(func(b *bench) { _, _, _ = dog.MapOf[int](b.o.Storage(), "m/").Get("k") }),
		"List":   try(func(b *bench) { drain2(dog.MapOf[int](b.o.Storage(), "m/").List(dog.ListOptions{})) }),
		"Put":    try(func(b *bench) { _ = dog.MapOf[int](b.o.Storage(), "m/").Put("k", 1) }),
		"Update": try(func(b *bench) {
			_, _ = dog.MapOf[int](b.o.Storage(), "m/").Update("k", func(n int) (int, error) { return n + 1, nil })
		}),
		"With": try(func(b *bench) { dog.MapOf[int](b.o.Storage(), "m/").With(dog.JSON) }),
	},
	reflect.TypeFor[dog.Stub[fixture.SocketObject]](): stubMethods,
	reflect.TypeFor[dog.GroupStub[gallery, fixture.SocketReplica]](): with(stubMethods, map[string]any{
		"Abort":      try(func(b *bench) { _ = b.group.Abort(nil) }),
		"Broadcast":  mayWait{},
		"Disconnect": mayWait{},
		"Drain":      mayWait{},
		"Emit":       mayWait{},
		"Gossip":     mayWait{},
		"Identify":   mayWait{},
		"Replicas":   try(func(b *bench) { drain(b.group.Replicas()) }),
		"SetLocked":  mayWait{},
		"Whisper":    mayWait{},
	}),
	reflect.TypeFor[*dog.Namespace[fixture.SocketObject]](): {
		"ByID":    try(func(b *bench) { _, _ = b.ns.ByID(b.o.ID()) }),
		"List":    try(func(b *bench) { drain2(b.ns.List(b.ctx, dog.ObjectListOptions{})) }),
		"Named":   try(func(b *bench) { b.ns.Named("x") }),
		"New":     try(func(b *bench) { b.ns.New() }),
		"Objects": try(func(b *bench) { drain(b.ns.Objects()) }),
		"Parse":   try(func(b *bench) { _, _ = b.ns.Parse(b.o.ID().String()) }),
	},
	reflect.TypeFor[*dog.Groups[gallery, fixture.SocketReplica]](): {
		"ByID":    try(func(b *bench) { _, _ = b.groups.ByID(b.id) }),
		"List":    try(func(b *bench) { drain2(b.groups.List(b.ctx, dog.ObjectListOptions{})) }),
		"Named":   try(func(b *bench) { b.groups.Named("x") }),
		"New":     try(func(b *bench) { b.groups.New() }),
		"Objects": try(func(b *bench) { drain(b.groups.Objects()) }),
		"Parse":   try(func(b *bench) { _, _ = b.groups.Parse(b.id.String()) }),
	},
	reflect.TypeFor[*dog.Replicas[fixture.SocketReplica]](): {
		"ByID":    try(func(b *bench) { _, _ = b.rooms.ByID(b.id) }),
		"List":    try(func(b *bench) { drain2(b.rooms.List(b.ctx, dog.ObjectListOptions{})) }),
		"Objects": try(func(b *bench) { drain(b.rooms.Objects()) }),
		"Parse":   try(func(b *bench) { _, _ = b.rooms.Parse(b.id.String()) }),
	},
	reflect.TypeFor[*dog.Runtime](): {
		"Backup":   mayWait{},
		"Objects":  try(func(b *bench) { drain(b.rt.Objects()) }),
		"Serve":    mayWait{},
		"Shutdown": mayWait{},
		"Start":    try(func(b *bench) { b.rt.Start() }),
		"Stats":    try(func(b *bench) { b.rt.Stats() }),
		"Stopping": try(func(b *bench) { b.rt.Stopping() }),
	},
	nil: { // functions
		"ClientGone":  try(func(b *bench) { dog.ClientGone(b.ctx) }),
		"Get":         try(func(b *bench) { _, _, _ = dog.Get[int](b.o.Storage(), "n") }),
		"Go":          try(func(b *bench) { _ = dog.Go(b.ctx, never) }),
		"GroupOf":     try(func(b *bench) { dog.GroupOf[gallery](b.r) }),
		"NamespaceOf": try(func(b *bench) { dog.NamespaceOf(b.o) }),
		"Put":         try(func(b *bench) { _ = dog.Put(b.o.Storage(), "n", 1) }),
		"QueryAs":     try(func(b *bench) { drain2(dog.QueryAs[int](b.o.Storage().SQL(), "SELECT 1")) }),
		"QueryRowAs":  try(func(b *bench) { _, _, _ = dog.QueryRowAs[int](b.o.Storage().SQL(), "SELECT 1") }),
		"Self":        try(func(b *bench) { dog.Self(b.o) }),
		"Stopping":    try(func(b *bench) { dog.Stopping(b.ctx) }),
		"UID":         try(func(b *bench) { dog.UID(b.ctx) }),
		"Update": try(
			func(b *bench) { _, _ = dog.Update(b.o.Storage(), "n", func(n int) (int, error) { return n, nil }) },
		),
	},
}

var stubMethods = map[string]any{
	"Abort":     try(func(b *bench) { _ = b.stub.Abort(nil) }),
	"Delete":    mayWait{},
	"Export":    mayWait{},
	"ID":        try(func(b *bench) { b.stub.ID() }),
	"Import":    mayWait{},
	"Name":      try(func(b *bench) { _ = b.stub.Name() }),
	"Release":   try(func(b *bench) { b.stub.Release() }),
	"RoundTrip": mayWait{},
	"ServeHTTP": mayWait{},
	"WithUID":   try(func(b *bench) { b.stub.WithUID("ada") }),
}
