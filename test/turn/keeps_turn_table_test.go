package turn_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net/http/httptest"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/shard"
	"github.com/godurable/dog/test/internal/fixture"
)

// tryGroup is a group of socket replicas.
type tryGroup struct{ dog.Group }

// Do runs a function in the turn.
func (g *tryGroup) Do(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// trial is what methods are tried on: one object of each kind, of which o, r
// and g are valid in the turn.
type trial struct {
	ctx    context.Context // of the handler
	rt     *dog.Runtime
	o      *fixture.SocketObject
	r      *fixture.SocketReplica
	g      *tryGroup
	self   handled                        // that of them in whose turn the methods are tried
	s      *dog.Socket                    // of self, unless that is a group
	timer  *dog.Timer                     // of self
	stub   dog.Stub[fixture.SocketObject] // of another object
	group  dog.GroupStub[tryGroup, fixture.SocketReplica]
	ns     *dog.Namespace[fixture.SocketObject]
	groups *dog.Groups[tryGroup, fixture.SocketReplica]
	rooms  *dog.Replicas[fixture.SocketReplica]
	id     dog.ID       // of the replica
	queue  outbox.Queue // of the object
	spare  *dog.Socket  // of the object, of a device that is not attached
	shards *shard.Set[fixture.SocketObject]
	keeps  bool  // the objects and the group have a history
	failed error // of what should not fail
}

// A subject is a type, or the package for its functions, of which every
// exported method has an entry: try, tryInContext, mayWait or elsewhere.
type subject struct {
	in      []dog.Kind // the objects in whose turns the methods are tried
	methods map[string]any
}

// mayWait is the entry of a method that may give up the turn.
type mayWait struct{}

// A try calls a method that keeps the turn.
type try func(b *trial)

// A tryInContext calls a method that keeps the turn although it takes a context
// or a request, as documented.
type tryInContext func(b *trial)

// elsewhere states where a method is tried that cannot be called many times in
// a turn, or why it is not.
type elsewhere string

var (
	object    = []dog.Kind{dog.KindObject}
	owners    = []dog.Kind{dog.KindObject, dog.KindReplica}
	everyKind = []dog.Kind{dog.KindObject, dog.KindReplica, dog.KindGroup}
)

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
	Log() *slog.Logger
	Storage() *dog.Storage
	After(time.Duration, func(context.Context) error) *dog.Timer
	Every(time.Duration, func(context.Context) error) *dog.Timer
	Broadcast(any, ...dog.SendOption) error
	History() dog.History
}

// coreMethods are the methods of that.
var coreMethods = map[string]any{
	"Abort":     elsewhere("it ends the object"),
	"After":     try(func(b *trial) { b.self.After(time.Hour, never).Stop() }),
	"Broadcast": try(func(b *trial) { _ = b.self.Broadcast("x") }),
	"Every":     try(func(b *trial) { b.self.Every(time.Hour, never).Stop() }),
	"History":   try(func(b *trial) { b.self.History() }),
	"ID":        try(func(b *trial) { b.self.ID() }),
	"Log":       try(func(b *trial) { b.self.Log() }),
	"Name":      try(func(b *trial) { b.self.Name() }),
	"Storage":   try(func(b *trial) { b.self.Storage() }),
}

func with[E any](all map[string]E, more map[string]E) map[string]E {
	all = maps.Clone(all)
	maps.Copy(all, more)
	return all
}

// turnTable has every exported function of the library and of packages outbox
// and shard, and every exported method of their types but those of
// [fixture.ValueTypes].
var turnTable = with(besides, map[string]subject{
	"Object": {object, with(coreMethods, map[string]any{
		"Connect":     elsewhere("TestTurn_ConnectKeepsTheTurn"),
		"Disconnect":  try(func(b *trial) { _, _ = b.o.Disconnect("ada", 1000, "") }),
		"MemberCount": try(func(b *trial) { b.o.MemberCount() }),
		"Members":     try(func(b *trial) { b.o.Members("", 10) }),
		"Sockets":     try(func(b *trial) { drain(b.o.Sockets()) }),
		"SocketsOf":   try(func(b *trial) { drain(b.o.SocketsOf("ada")) }),
		"Whisper":     try(func(b *trial) { _, _ = b.o.Whisper("ada", "x") }),
	})},
	"Replica": {[]dog.Kind{dog.KindReplica}, with(coreMethods, map[string]any{
		"Connect":    elsewhere("TestTurn_ConnectKeepsTheTurn"),
		"Disconnect": mayWait{},
		"Emit":       try(func(b *trial) { _ = b.r.Emit("x") }),
		"Gossip":     mayWait{},
		"GroupName":  try(func(b *trial) { b.r.GroupName() }),
		"SetLocked":  try(func(b *trial) { _ = b.r.SetLocked(true) }),
		"Sockets":    try(func(b *trial) { drain(b.r.Sockets()) }),
		"SocketsOf":  try(func(b *trial) { drain(b.r.SocketsOf("ada")) }),
		"Whisper":    mayWait{},
	})},
	"Group": {[]dog.Kind{dog.KindGroup}, with(coreMethods, map[string]any{
		"Disconnect":  mayWait{},
		"Drain":       try(func(b *trial) { _ = b.g.Drain(b.id) }),
		"Emit":        try(func(b *trial) { _ = b.g.Emit(b.id, "x") }),
		"Gossip":      mayWait{},
		"MemberCount": try(func(b *trial) { b.g.MemberCount() }),
		"Members":     try(func(b *trial) { b.g.Members("", 10) }),
		"Replicas":    try(func(b *trial) { drain(b.g.Replicas()) }),
		"SetLocked":   try(func(b *trial) { _ = b.g.SetLocked(b.id, true) }),
		"Whisper":     mayWait{},
	})},
	"Socket": {owners, map[string]any{
		"Attachment":    try(func(b *trial) { _ = b.s.Attachment(new(any)) }),
		"AutoReplied":   try(func(b *trial) { b.s.AutoReplied() }),
		"Resume":        try(func(b *trial) { b.s.Resume() }),
		"Broadcast":     try(func(b *trial) { _ = b.s.Broadcast("x") }),
		"Close":         try(func(b *trial) { _ = b.s.Close(1000, "") }),
		"Emit":          try(func(b *trial) { _ = b.s.Emit("x") }),
		"ID":            try(func(b *trial) { b.s.ID() }),
		"Send":          try(func(b *trial) { _ = b.s.Send("x") }),
		"SetAttachment": try(func(b *trial) { _ = b.s.SetAttachment(1) }),
		"SetPresence":   try(func(b *trial) { _ = b.s.SetPresence(1) }),
		"Subprotocol":   try(func(b *trial) { b.s.Subprotocol() }),
		"Supersede":     try(func(b *trial) { _ = b.s.Supersede() }),
		"Tags":          try(func(b *trial) { b.s.Tags() }),
		"UID":           try(func(b *trial) { b.s.UID() }),
		"Whisper":       mayWait{},
	}},
	"Timer": {everyKind, map[string]any{
		"Stop": try(func(b *trial) { b.timer.Stop() }),
	}},
	"Storage": {everyKind, map[string]any{
		"Alarms":    try(func(b *trial) { b.self.Storage().Alarms() }),
		"Delete":    try(func(b *trial) { _, _ = b.self.Storage().Delete("k") }),
		"DeleteAll": try(func(b *trial) { _ = b.self.Storage().DeleteAll() }),
		"Get":       try(func(b *trial) { _, _, _ = b.self.Storage().Get("k") }),
		"GetMany":   try(func(b *trial) { _, _ = b.self.Storage().GetMany("k", "l") }),
		"List":      try(func(b *trial) { drain2(b.self.Storage().List(dog.ListOptions{})) }),
		"Put":       try(func(b *trial) { _ = b.self.Storage().Put("k", nil) }),
		"PutMany":   try(func(b *trial) { _ = b.self.Storage().PutMany(map[string][]byte{"k": nil}) }),
		"SQL":       try(func(b *trial) { b.self.Storage().SQL() }),
		"Sync":      mayWait{},
		"Transaction": try(
			func(b *trial) {
				_ = b.self.Storage().Transaction(func() error { return b.self.Storage().Put("k", nil) })
			},
		),
	}},
	"SQL": {everyKind, map[string]any{
		"Exec":  try(func(b *trial) { _, _ = b.self.Storage().SQL().Exec("CREATE TABLE IF NOT EXISTS t (x)") }),
		"Query": try(func(b *trial) { drain2(b.self.Storage().SQL().Query("SELECT 1")) }),
	}},
	"Row": {everyKind, map[string]any{
		"Columns": try(func(b *trial) { b.row(func(r dog.Row) { r.Columns() }) }),
		"Scan":    try(func(b *trial) { b.row(func(r dog.Row) { _ = r.Scan(new(int)) }) }),
		"Value":   try(func(b *trial) { b.row(func(r dog.Row) { r.Value(0) }) }),
	}},
	"Alarms": {everyKind, map[string]any{
		"All":      try(func(b *trial) { drain2(b.self.Storage().Alarms().All()) }),
		"Delete":   try(func(b *trial) { _, _ = b.self.Storage().Alarms().Delete("a") }),
		"Get":      try(func(b *trial) { _, _, _ = b.self.Storage().Alarms().Get("a") }),
		"Set":      try(func(b *trial) { _ = b.self.Storage().Alarms().Set(time.Now().Add(time.Hour)) }),
		"SetNamed": try(func(b *trial) { _ = b.self.Storage().Alarms().SetNamed("a", time.Now().Add(time.Hour), nil) }),
	}},
	"Map": {everyKind, map[string]any{
		"Delete": try(func(b *trial) { _, _ = dog.MapOf[int](b.self.Storage(), "m/").Delete("k") }),
		"Get":    try(func(b *trial) { _, _, _ = dog.MapOf[int](b.self.Storage(), "m/").Get("k") }),
		"List":   try(func(b *trial) { drain2(dog.MapOf[int](b.self.Storage(), "m/").List(dog.ListOptions{})) }),
		"Put":    try(func(b *trial) { _ = dog.MapOf[int](b.self.Storage(), "m/").Put("k", 1) }),
		"Update": try(func(b *trial) {
			_, _ = dog.MapOf[int](b.self.Storage(), "m/").Update("k", func(n int) (int, error) { return n + 1, nil })
		}),
		"With": try(func(b *trial) { dog.MapOf[int](b.self.Storage(), "m/").With(dog.JSON) }),
	}},
	"History": {everyKind, map[string]any{
		"Position": try(func(b *trial) {
			b.histories(func(h dog.History) error { _, err := h.Position(); return err })
		}),
		"Read": try(func(b *trial) {
			_ = b.self.Broadcast("x")
			b.histories(func(h dog.History) error { _, err := h.Read("", 0); return err })
		}),
		"ServeHTTP": mayWait{},
		"WithUID":   try(func(b *trial) { b.self.History().WithUID("ada") }),
	}},
	"Stub": {object, stubMethods(func(b *trial) dog.Stub[fixture.SocketObject] { return b.stub })},
	"GroupStub": {object, with(stubMethods(func(b *trial) dog.Stub[tryGroup] { return b.group.Stub }), map[string]any{
		"Broadcast":  mayWait{},
		"Disconnect": mayWait{},
		"Drain":      mayWait{},
		"Emit":       mayWait{},
		"Gossip":     mayWait{},
		"Identify":   mayWait{},
		"Replicas":   try(func(b *trial) { drain(b.group.Replicas()) }),
		"SetLocked":  mayWait{},
		"Whisper":    mayWait{},
	})},
	"Namespace": {object, map[string]any{
		"ByID":    try(func(b *trial) { _, _ = b.ns.ByID(b.o.ID()) }),
		"List":    tryInContext(func(b *trial) { drain2(b.ns.List(b.ctx, dog.ObjectListOptions{})) }),
		"Named":   try(func(b *trial) { b.ns.Named("x") }),
		"New":     try(func(b *trial) { b.ns.New() }),
		"Objects": try(func(b *trial) { drain(b.ns.Objects()) }),
		"Parse":   try(func(b *trial) { _, _ = b.ns.Parse(b.o.ID().String()) }),
	}},
	"Groups": {object, map[string]any{
		"ByID":    try(func(b *trial) { _, _ = b.groups.ByID(b.id) }),
		"List":    tryInContext(func(b *trial) { drain2(b.groups.List(b.ctx, dog.ObjectListOptions{})) }),
		"Named":   try(func(b *trial) { b.groups.Named("x") }),
		"New":     try(func(b *trial) { b.groups.New() }),
		"Objects": try(func(b *trial) { drain(b.groups.Objects()) }),
		"Parse":   try(func(b *trial) { _, _ = b.groups.Parse(b.id.String()) }),
	}},
	"Replicas": {object, map[string]any{
		"ByID":    try(func(b *trial) { _, _ = b.rooms.ByID(b.id) }),
		"List":    tryInContext(func(b *trial) { drain2(b.rooms.List(b.ctx, dog.ObjectListOptions{})) }),
		"Objects": try(func(b *trial) { drain(b.rooms.Objects()) }),
		"Parse":   try(func(b *trial) { _, _ = b.rooms.Parse(b.id.String()) }),
	}},
	"Runtime": {object, map[string]any{
		"Backup":      mayWait{},
		"Objects":     try(func(b *trial) { drain(b.rt.Objects()) }),
		"Serve":       mayWait{},
		"Shutdown":    mayWait{},
		"SlowSockets": try(func(b *trial) { b.rt.SlowSockets(10) }),
		"Start":       try(func(b *trial) { b.rt.Start() }),
		"Stats":       try(func(b *trial) { b.rt.Stats() }),
		"Totals":      try(func(b *trial) { b.rt.Totals() }),
		"Stopping":    try(func(b *trial) { b.rt.Stopping() }),
	}},
	"": {everyKind, map[string]any{
		"Await": mayWait{},
		"BlockConcurrencyWhile": tryInContext(func(b *trial) {
			_ = dog.BlockConcurrencyWhile(b.ctx, func(context.Context) error { time.Sleep(time.Second); return nil })
		}),
		"Call":            mayWait{},
		"Call0":           mayWait{},
		"CallErr":         mayWait{},
		"CallErr0":        mayWait{},
		"ClientGone":      tryInContext(func(b *trial) { dog.ClientGone(b.ctx) }),
		"Coalesce":        try(func(b *trial) { _ = b.self.Broadcast("x", dog.Coalesce("k")) }),
		"Encode":          try(func(*trial) { _, _ = dog.Encode("x") }),
		"ExceptUID":       try(func(b *trial) { _ = b.self.Broadcast("x", dog.ExceptUID("ada")) }),
		"Get":             try(func(b *trial) { _, _, _ = dog.Get[int](b.self.Storage(), "n") }),
		"Go":              tryInContext(func(b *trial) { _ = dog.Go(b.ctx, never) }),
		"GroupOf":         try(func(b *trial) { dog.GroupOf[tryGroup](b.r) }),
		"HTTPStatus":      try(func(*trial) { dog.HTTPStatus(dog.ErrGroupFull) }),
		"IsUpgrade":       tryInContext(func(*trial) { dog.IsUpgrade(fixture.NewUpgrade("/")) }),
		"MapOf":           try(func(b *trial) { dog.MapOf[int](b.self.Storage(), "m/") }),
		"NamespaceOf":     try(func(b *trial) { dog.NamespaceOf(b.o) }),
		"New":             elsewhere("it makes another runtime"),
		"Put":             try(func(b *trial) { _ = dog.Put(b.self.Storage(), "n", 1) }),
		"QueryAs":         try(func(b *trial) { drain2(dog.QueryAs[int](b.self.Storage().SQL(), "SELECT 1")) }),
		"QueryRowAs":      try(func(b *trial) { _, _, _ = dog.QueryRowAs[int](b.self.Storage().SQL(), "SELECT 1") }),
		"RegisterGroup":   elsewhere("it is for set-up"),
		"RegisterObject":  elsewhere("it is for set-up"),
		"RegisterReplica": elsewhere("it is for set-up"),
		"Self":            try(func(b *trial) { dog.Self(b.o) }),
		"Stopping":        tryInContext(func(b *trial) { dog.Stopping(b.ctx) }),
		"UID":             tryInContext(func(b *trial) { dog.UID(b.ctx) }),
		"Update": try(
			func(b *trial) { _, _ = dog.Update(b.self.Storage(), "n", func(n int) (int, error) { return n, nil }) },
		),
		"WriteError": try(func(*trial) { dog.WriteError(httptest.NewRecorder(), dog.ErrGroupFull) }),
	}},
})

// histories calls read with the histories of the object, of another one, and of
// the group. It notes errors of histories that exist.
func (b *trial) histories(read func(h dog.History) error) {
	for _, h := range []dog.History{b.self.History(), b.stub.History(), b.group.History()} {
		if err := read(h); b.keeps {
			b.failed = errors.Join(b.failed, err)
		}
	}
}

// row queries one row.
func (b *trial) row(use func(dog.Row)) {
	for row := range b.self.Storage().SQL().Query("SELECT 1") {
		use(row)
	}
}

// stubMethods are the methods of a stub.
func stubMethods[T any](of func(b *trial) dog.Stub[T]) map[string]any {
	return map[string]any{
		"Abort":       try(func(b *trial) { _ = of(b).Abort(nil) }),
		"Delete":      mayWait{},
		"Export":      mayWait{},
		"History":     try(func(b *trial) { of(b).History() }),
		"ID":          try(func(b *trial) { of(b).ID() }),
		"Import":      mayWait{},
		"MemberCount": mayWait{},
		"Members":     mayWait{},
		"Name":        try(func(b *trial) { _ = of(b).Name() }),
		"Release":     try(func(b *trial) { of(b).Release() }),
		"RoundTrip":   mayWait{},
		"ServeHTTP":   mayWait{},
		"WithUID":     try(func(b *trial) { of(b).WithUID("ada") }),
	}
}
