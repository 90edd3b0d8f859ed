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
	"github.com/godurable/dog/test/internal/fixture"
)

// gallery is a group of socket replicas.
type gallery struct{ dog.Group }

// Do runs a function in the turn.
func (g *gallery) Do(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// bench is what methods are tried on: one object of each kind, of which o, r
// and g are valid in the turn.
type bench struct {
	ctx    context.Context // of the handler
	rt     *dog.Runtime
	o      *fixture.SocketObject
	r      *fixture.SocketReplica
	g      *gallery
	self   handled                        // that of them in whose turn the methods are tried
	s      *dog.Socket                    // of self, unless that is a group
	timer  *dog.Timer                     // of self
	stub   dog.Stub[fixture.SocketObject] // of another object
	group  dog.GroupStub[gallery, fixture.SocketReplica]
	ns     *dog.Namespace[fixture.SocketObject]
	groups *dog.Groups[gallery, fixture.SocketReplica]
	rooms  *dog.Replicas[fixture.SocketReplica]
	id     dog.ID // of the replica
	keeps  bool   // the objects and the group have a history
	failed error  // of what should not fail
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
type try func(b *bench)

// A tryInContext calls a method that keeps the turn although it takes a context
// or a request, as documented.
type tryInContext func(b *bench)

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
	"After":     try(func(b *bench) { b.self.After(time.Hour, never).Stop() }),
	"Broadcast": try(func(b *bench) { _ = b.self.Broadcast("x") }),
	"Every":     try(func(b *bench) { b.self.Every(time.Hour, never).Stop() }),
	"History":   try(func(b *bench) { b.self.History() }),
	"ID":        try(func(b *bench) { b.self.ID() }),
	"Log":       try(func(b *bench) { b.self.Log() }),
	"Name":      try(func(b *bench) { b.self.Name() }),
	"Storage":   try(func(b *bench) { b.self.Storage() }),
}

func with(all map[string]any, more map[string]any) map[string]any {
	all = maps.Clone(all)
	maps.Copy(all, more)
	return all
}

// turnTable has every exported function of the library, and every exported
// method of its types but those of [fixture.ValueTypes].
var turnTable = map[string]subject{
	"Object": {object, with(coreMethods, map[string]any{
		"Connect":     elsewhere("TestTurn_ConnectKeepsTheTurn"),
		"Disconnect":  try(func(b *bench) { _, _ = b.o.Disconnect("ada", 1000, "") }),
		"MemberCount": try(func(b *bench) { b.o.MemberCount() }),
		"Members":     try(func(b *bench) { b.o.Members("", 10) }),
		"Sockets":     try(func(b *bench) { drain(b.o.Sockets()) }),
		"SocketsOf":   try(func(b *bench) { drain(b.o.SocketsOf("ada")) }),
		"Whisper":     try(func(b *bench) { _, _ = b.o.Whisper("ada", "x") }),
	})},
	"Replica": {[]dog.Kind{dog.KindReplica}, with(coreMethods, map[string]any{
		"Connect":    elsewhere("TestTurn_ConnectKeepsTheTurn"),
		"Disconnect": mayWait{},
		"Emit":       try(func(b *bench) { _ = b.r.Emit("x") }),
		"Gossip":     mayWait{},
		"GroupName":  try(func(b *bench) { b.r.GroupName() }),
		"SetLocked":  try(func(b *bench) { _ = b.r.SetLocked(true) }),
		"Sockets":    try(func(b *bench) { drain(b.r.Sockets()) }),
		"SocketsOf":  try(func(b *bench) { drain(b.r.SocketsOf("ada")) }),
		"Whisper":    mayWait{},
	})},
	"Group": {[]dog.Kind{dog.KindGroup}, with(coreMethods, map[string]any{
		"Disconnect":  mayWait{},
		"Drain":       try(func(b *bench) { _ = b.g.Drain(b.id) }),
		"Emit":        try(func(b *bench) { _ = b.g.Emit(b.id, "x") }),
		"Gossip":      mayWait{},
		"MemberCount": try(func(b *bench) { b.g.MemberCount() }),
		"Members":     try(func(b *bench) { b.g.Members("", 10) }),
		"Replicas":    try(func(b *bench) { drain(b.g.Replicas()) }),
		"SetLocked":   try(func(b *bench) { _ = b.g.SetLocked(b.id, true) }),
		"Whisper":     mayWait{},
	})},
	"Socket": {owners, map[string]any{
		"Attachment":    try(func(b *bench) { _ = b.s.Attachment(new(any)) }),
		"AutoReplied":   try(func(b *bench) { b.s.AutoReplied() }),
		"Resume":        try(func(b *bench) { b.s.Resume() }),
		"Broadcast":     try(func(b *bench) { _ = b.s.Broadcast("x") }),
		"Close":         try(func(b *bench) { _ = b.s.Close(1000, "") }),
		"Emit":          try(func(b *bench) { _ = b.s.Emit("x") }),
		"ID":            try(func(b *bench) { b.s.ID() }),
		"Send":          try(func(b *bench) { _ = b.s.Send("x") }),
		"SetAttachment": try(func(b *bench) { _ = b.s.SetAttachment(1) }),
		"SetPresence":   try(func(b *bench) { _ = b.s.SetPresence(1) }),
		"Subprotocol":   try(func(b *bench) { b.s.Subprotocol() }),
		"Supersede":     try(func(b *bench) { _ = b.s.Supersede() }),
		"Tags":          try(func(b *bench) { b.s.Tags() }),
		"UID":           try(func(b *bench) { b.s.UID() }),
		"Whisper":       mayWait{},
	}},
	"Timer": {everyKind, map[string]any{
		"Stop": try(func(b *bench) { b.timer.Stop() }),
	}},
	"Storage": {everyKind, map[string]any{
		"Alarms":    try(func(b *bench) { b.self.Storage().Alarms() }),
		"Delete":    try(func(b *bench) { _, _ = b.self.Storage().Delete("k") }),
		"DeleteAll": try(func(b *bench) { _ = b.self.Storage().DeleteAll() }),
		"Get":       try(func(b *bench) { _, _, _ = b.self.Storage().Get("k") }),
		"GetMany":   try(func(b *bench) { _, _ = b.self.Storage().GetMany("k", "l") }),
		"List":      try(func(b *bench) { drain2(b.self.Storage().List(dog.ListOptions{})) }),
		"Put":       try(func(b *bench) { _ = b.self.Storage().Put("k", nil) }),
		"PutMany":   try(func(b *bench) { _ = b.self.Storage().PutMany(map[string][]byte{"k": nil}) }),
		"SQL":       try(func(b *bench) { b.self.Storage().SQL() }),
		"Sync":      mayWait{},
		"Transaction": try(
			func(b *bench) {
				_ = b.self.Storage().Transaction(func() error { return b.self.Storage().Put("k", nil) })
			},
		),
	}},
	"SQL": {everyKind, map[string]any{
		"Exec":  try(func(b *bench) { _, _ = b.self.Storage().SQL().Exec("CREATE TABLE IF NOT EXISTS t (x)") }),
		"Query": try(func(b *bench) { drain2(b.self.Storage().SQL().Query("SELECT 1")) }),
	}},
	"Row": {everyKind, map[string]any{
		"Columns": try(func(b *bench) { b.row(func(r dog.Row) { r.Columns() }) }),
		"Scan":    try(func(b *bench) { b.row(func(r dog.Row) { _ = r.Scan(new(int)) }) }),
		"Value":   try(func(b *bench) { b.row(func(r dog.Row) { r.Value(0) }) }),
	}},
	"Alarms": {everyKind, map[string]any{
		"All":      try(func(b *bench) { drain2(b.self.Storage().Alarms().All()) }),
		"Delete":   try(func(b *bench) { _, _ = b.self.Storage().Alarms().Delete("a") }),
		"Get":      try(func(b *bench) { _, _, _ = b.self.Storage().Alarms().Get("a") }),
		"Set":      try(func(b *bench) { _ = b.self.Storage().Alarms().Set(time.Now().Add(time.Hour)) }),
		"SetNamed": try(func(b *bench) { _ = b.self.Storage().Alarms().SetNamed("a", time.Now().Add(time.Hour), nil) }),
	}},
	"Map": {everyKind, map[string]any{
		"Delete": try(func(b *bench) { _, _ = dog.MapOf[int](b.self.Storage(), "m/").Delete("k") }),
		"Get":    try(func(b *bench) { _, _, _ = dog.MapOf[int](b.self.Storage(), "m/").Get("k") }),
		"List":   try(func(b *bench) { drain2(dog.MapOf[int](b.self.Storage(), "m/").List(dog.ListOptions{})) }),
		"Put":    try(func(b *bench) { _ = dog.MapOf[int](b.self.Storage(), "m/").Put("k", 1) }),
		"Update": try(func(b *bench) {
			_, _ = dog.MapOf[int](b.self.Storage(), "m/").Update("k", func(n int) (int, error) { return n + 1, nil })
		}),
		"With": try(func(b *bench) { dog.MapOf[int](b.self.Storage(), "m/").With(dog.JSON) }),
	}},
	"History": {everyKind, map[string]any{
		"Position": try(func(b *bench) {
			b.histories(func(h dog.History) error { _, err := h.Position(); return err })
		}),
		"Read": try(func(b *bench) {
			_ = b.self.Broadcast("x")
			b.histories(func(h dog.History) error { _, err := h.Read("", 0); return err })
		}),
		"ServeHTTP": mayWait{},
		"WithUID":   try(func(b *bench) { b.self.History().WithUID("ada") }),
	}},
	"Stub": {object, stubMethods(func(b *bench) dog.Stub[fixture.SocketObject] { return b.stub })},
	"GroupStub": {object, with(stubMethods(func(b *bench) dog.Stub[gallery] { return b.group.Stub }), map[string]any{
		"Broadcast":  mayWait{},
		"Disconnect": mayWait{},
		"Drain":      mayWait{},
		"Emit":       mayWait{},
		"Gossip":     mayWait{},
		"Identify":   mayWait{},
		"Replicas":   try(func(b *bench) { drain(b.group.Replicas()) }),
		"SetLocked":  mayWait{},
		"Whisper":    mayWait{},
	})},
	"Namespace": {object, map[string]any{
		"ByID":    try(func(b *bench) { _, _ = b.ns.ByID(b.o.ID()) }),
		"List":    tryInContext(func(b *bench) { drain2(b.ns.List(b.ctx, dog.ObjectListOptions{})) }),
		"Named":   try(func(b *bench) { b.ns.Named("x") }),
		"New":     try(func(b *bench) { b.ns.New() }),
		"Objects": try(func(b *bench) { drain(b.ns.Objects()) }),
		"Parse":   try(func(b *bench) { _, _ = b.ns.Parse(b.o.ID().String()) }),
	}},
	"Groups": {object, map[string]any{
		"ByID":    try(func(b *bench) { _, _ = b.groups.ByID(b.id) }),
		"List":    tryInContext(func(b *bench) { drain2(b.groups.List(b.ctx, dog.ObjectListOptions{})) }),
		"Named":   try(func(b *bench) { b.groups.Named("x") }),
		"New":     try(func(b *bench) { b.groups.New() }),
		"Objects": try(func(b *bench) { drain(b.groups.Objects()) }),
		"Parse":   try(func(b *bench) { _, _ = b.groups.Parse(b.id.String()) }),
	}},
	"Replicas": {object, map[string]any{
		"ByID":    try(func(b *bench) { _, _ = b.rooms.ByID(b.id) }),
		"List":    tryInContext(func(b *bench) { drain2(b.rooms.List(b.ctx, dog.ObjectListOptions{})) }),
		"Objects": try(func(b *bench) { drain(b.rooms.Objects()) }),
		"Parse":   try(func(b *bench) { _, _ = b.rooms.Parse(b.id.String()) }),
	}},
	"Runtime": {object, map[string]any{
		"Backup":   mayWait{},
		"Objects":  try(func(b *bench) { drain(b.rt.Objects()) }),
		"Serve":    mayWait{},
		"Shutdown": mayWait{},
		"Start":    try(func(b *bench) { b.rt.Start() }),
		"Stats":    try(func(b *bench) { b.rt.Stats() }),
		"Stopping": try(func(b *bench) { b.rt.Stopping() }),
	}},
	"": {everyKind, map[string]any{
		"Await": mayWait{},
		"BlockConcurrencyWhile": tryInContext(func(b *bench) {
			_ = dog.BlockConcurrencyWhile(b.ctx, func(context.Context) error { time.Sleep(time.Second); return nil })
		}),
		"Call":            mayWait{},
		"Call0":           mayWait{},
		"CallErr":         mayWait{},
		"CallErr0":        mayWait{},
		"ClientGone":      tryInContext(func(b *bench) { dog.ClientGone(b.ctx) }),
		"Coalesce":        try(func(b *bench) { _ = b.self.Broadcast("x", dog.Coalesce("k")) }),
		"Encode":          try(func(*bench) { _, _ = dog.Encode("x") }),
		"ExceptUID":       try(func(b *bench) { _ = b.self.Broadcast("x", dog.ExceptUID("ada")) }),
		"Get":             try(func(b *bench) { _, _, _ = dog.Get[int](b.self.Storage(), "n") }),
		"Go":              tryInContext(func(b *bench) { _ = dog.Go(b.ctx, never) }),
		"GroupOf":         try(func(b *bench) { dog.GroupOf[gallery](b.r) }),
		"HTTPStatus":      try(func(*bench) { dog.HTTPStatus(dog.ErrGroupFull) }),
		"IsUpgrade":       tryInContext(func(*bench) { dog.IsUpgrade(fixture.NewUpgrade("/")) }),
		"MapOf":           try(func(b *bench) { dog.MapOf[int](b.self.Storage(), "m/") }),
		"NamespaceOf":     try(func(b *bench) { dog.NamespaceOf(b.o) }),
		"New":             elsewhere("it makes another runtime"),
		"Put":             try(func(b *bench) { _ = dog.Put(b.self.Storage(), "n", 1) }),
		"QueryAs":         try(func(b *bench) { drain2(dog.QueryAs[int](b.self.Storage().SQL(), "SELECT 1")) }),
		"QueryRowAs":      try(func(b *bench) { _, _, _ = dog.QueryRowAs[int](b.self.Storage().SQL(), "SELECT 1") }),
		"RegisterGroup":   elsewhere("it is for set-up"),
		"RegisterObject":  elsewhere("it is for set-up"),
		"RegisterReplica": elsewhere("it is for set-up"),
		"Self":            try(func(b *bench) { dog.Self(b.o) }),
		"Stopping":        tryInContext(func(b *bench) { dog.Stopping(b.ctx) }),
		"UID":             tryInContext(func(b *bench) { dog.UID(b.ctx) }),
		"Update": try(
			func(b *bench) { _, _ = dog.Update(b.self.Storage(), "n", func(n int) (int, error) { return n, nil }) },
		),
		"WriteError": try(func(*bench) { dog.WriteError(httptest.NewRecorder(), dog.ErrGroupFull) }),
	}},
}

// histories calls read with the histories of the object, of another one, and of
// the group. It notes errors of histories that exist.
func (b *bench) histories(read func(h dog.History) error) {
	for _, h := range []dog.History{b.self.History(), b.stub.History(), b.group.History()} {
		if err := read(h); b.keeps {
			b.failed = errors.Join(b.failed, err)
		}
	}
}

// row queries one row.
func (b *bench) row(use func(dog.Row)) {
	for row := range b.self.Storage().SQL().Query("SELECT 1") {
		use(row)
	}
}

// stubMethods are the methods of a stub.
func stubMethods[T any](of func(b *bench) dog.Stub[T]) map[string]any {
	return map[string]any{
		"Abort":       try(func(b *bench) { _ = of(b).Abort(nil) }),
		"Delete":      mayWait{},
		"Export":      mayWait{},
		"History":     try(func(b *bench) { of(b).History() }),
		"ID":          try(func(b *bench) { of(b).ID() }),
		"Import":      mayWait{},
		"MemberCount": mayWait{},
		"Members":     mayWait{},
		"Name":        try(func(b *bench) { _ = of(b).Name() }),
		"Release":     try(func(b *bench) { of(b).Release() }),
		"RoundTrip":   mayWait{},
		"ServeHTTP":   mayWait{},
		"WithUID":     try(func(b *bench) { of(b).WithUID("ada") }),
	}
}
