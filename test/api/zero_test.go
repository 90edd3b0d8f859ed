package api_test

import (
	"cmp"
	"context"
	"encoding/json"
	"go/ast"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/shard"
	"github.com/godurable/dog/test/internal/fixture"
)

// zeros are pointers to the zero values of all exported types that are no
// interfaces.
var zeros = []any{
	new(dog.Alarm), new(dog.AlarmStats), new(dog.Alarms), new(dog.CloseError), new(dog.Compression),
	new(dog.Durations), new(dog.Entry[[]byte]),
	new(dog.EventInfo), new(dog.EventKind), new(dog.EventTotals), new(dog.GapReason), new(dog.Group),
	new(dog.GroupOptions[fixture.Lobby]),
	new(dog.GroupStats),
	new(dog.GroupStub[fixture.Lobby, fixture.Room]), new(dog.Groups[fixture.Lobby, fixture.Room]),
	new(dog.History), new(dog.HistoryOptions), new(dog.HistoryPage), new(dog.HistoryStats),
	new(dog.ID), new(dog.IdentifyTotals), new(dog.KeptMessage),
	new(dog.Kind), new(dog.ListOptions),
	new(dog.LiveObject), new(dog.Map[int]), new(dog.Member), new(dog.Message), new(dog.MessageType),
	new(dog.Migration),
	new(dog.MigrationError), new(dog.Namespace[fixture.Object]), new(dog.Object), new(dog.ObjectEntry),
	new(dog.ObjectInfo),
	new(dog.ObjectListOptions), new(dog.ObjectOptions[fixture.Object]), new(dog.Options), new(dog.Order),
	new(dog.PanicError), new(dog.Position), new(dog.Presence), new(dog.PresenceChange), new(dog.RefusalReason),
	new(dog.RegistrationError), new(dog.Replica), new(dog.ReplicaOptions[fixture.Room]), new(dog.ReplicaStats),
	new(dog.Replicas[fixture.Room]), new(dog.Reply), new(dog.ResetError), new(dog.Resume), new(dog.Row),
	new(dog.Runtime), new(dog.SQL),
	new(dog.SQLResult), new(dog.Schema), new(dog.SchemaError), new(dog.SendOption), new(dog.SlowPolicy),
	new(dog.SlowSocket),
	new(dog.Socket), new(dog.SocketOptions), new(dog.Stats), new(dog.StatusError), new(dog.StopReason),
	new(dog.Storage), new(dog.StoreStats), new(dog.Stub[fixture.Room]), new(dog.Timer), new(dog.Totals), new(dog.Trace),
	new(dog.Traffic),
	new(dog.TurnStats), new(dog.TypeTotals), new(dog.UsageError),

	new(outbox.Command), new(outbox.FailedError), new(outbox.Option), new(outbox.Outcome), new(outbox.Policy),
	new(outbox.Queue), new(outbox.State), new(outbox.Status),
	new(shard.Options), new(shard.Result[int]), new(shard.Set[fixture.Object]),
}

// sensible are the methods of zero values whose error is not that no runtime
// has made them: nil, or one of their own.
var sensible = map[string]bool{
	"CloseError.Unwrap": true, "PanicError.Unwrap": true, "ResetError.Unwrap": true, // have no cause
	"SchemaError.Unwrap": true, "MigrationError.Unwrap": true, "StatusError.Unwrap": true,
	"ID.MarshalText": true, "ID.UnmarshalText": true, "Message.Decode": true, "Reply.Decode": true, // parse
	"KeptMessage.Decode": true,
	"Kind.MarshalText":   true, "EventKind.UnmarshalText": true, "Kind.UnmarshalText": true,
	"EventKind.MarshalText": true, "StoreStats.MarshalJSON": true,
	"Durations.MarshalJSON": true,
	"Outcome.Err":           true, "Queue.OnAlarm": true, // of another alarm
}

// problems are what is said of zero values that no runtime makes.
var problems = map[string]string{"Queue": "is n"} // not bound, or nil

// exportedTypes returns the names of the exported types of the library, and of
// packages outbox and shard after them, that are no interfaces.
func exportedTypes(t *testing.T) []string {
	t.Helper()
	of := make(map[string][]string)
	for _, file := range publicFiles(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
				if _, ok := spec.Type.(*ast.InterfaceType); !ok && !spec.Assign.IsValid() {
					of[file.Name.Name] = append(of[file.Name.Name], spec.Name.Name)
				}
			}
			return true
		})
	}
	var names []string
	for _, name := range []string{"dog", "outbox", "shard"} {
		names = append(names, slices.Sorted(slices.Values(of[name]))...)
	}
	return names
}

// typeName returns the name of the type that a pointer points to, without type
// arguments.
func typeName(pointer any) string {
	name, _, _ := strings.Cut(reflect.TypeOf(pointer).Elem().Name(), "[")
	return name
}

func TestZeroValue_TableIsComplete(t *testing.T) {
	var names []string
	for _, zero := range zeros {
		names = append(names, typeName(zero))
	}
	require.Equal(t, exportedTypes(t), names)
}

// callAll calls every method of a value with plain arguments and gives what
// each returns to check.
func callAll(value any, check func(method string, results []reflect.Value)) {
	arguments := map[reflect.Type]any{
		reflect.TypeFor[context.Context]():     context.Background(),
		reflect.TypeFor[http.ResponseWriter](): httptest.NewRecorder(),
		reflect.TypeFor[*http.Request]():       httptest.NewRequest(http.MethodGet, "/", nil),
	}
	v := reflect.ValueOf(value)
	for i := range v.NumMethod() {
		method := v.Method(i)
		var in []reflect.Value
		for parameter := range method.Type().Ins() {
			if a, ok := arguments[parameter]; ok {
				in = append(in, reflect.ValueOf(a))
			} else {
				in = append(in, reflect.Zero(parameter))
			}
		}
		if method.Type().IsVariadic() {
			in = in[:len(in)-1]
		}
		check(v.Type().Method(i).Name, method.Call(in))
	}
}

func TestZeroValue_EveryMethodIsHarmless(t *testing.T) {
	nils := []any{
		(*dog.Runtime)(nil), (*dog.Namespace[fixture.Object])(nil), (*dog.Replicas[fixture.Room])(nil),
		(*dog.Groups[fixture.Lobby, fixture.Room])(nil), (*dog.Socket)(nil),
		(*outbox.Queue)(nil), (*shard.Set[fixture.Object])(nil),
	}
	for _, value := range append(nils, zeros...) {
		callAll(value, func(method string, results []reflect.Value) {
			name := typeName(value) + "." + method
			for _, result := range results {
				switch r := result.Interface().(type) {
				case error:
					if !sensible[name] {
						problem := cmp.Or(problems[typeName(value)], "not made by a runtime")
						fixture.RequireUsage(t, r, problem, "%s: %v", name, r)
					}
				case nil:
					require.True(
						t, sensible[name] || result.Type() != reflect.TypeFor[error](), "%s returns no error",
						name,
					)
				}
				if result.Type().CanSeq() && result.Kind() == reflect.Func {
					for range result.Seq() {
						require.Fail(t, name+" has elements")
					}
				}
			}
		})
	}
}

func TestZeroValue_UnregisteredTypeIsHarmless(t *testing.T) {
	w := httptest.NewRecorder()
	err := (&fixture.Room{On: &fixture.Hooks{}}).Receive(w, httptest.NewRequest(http.MethodGet, "/ws", nil))
	fixture.RequireUsage(t, err, "not made by a runtime")
	require.Equal(t, http.StatusInternalServerError, w.Code)
	fixture.RequireUsage(t, new(fixture.Room).Broadcast("x"), "not made by a runtime")
	fixture.RequireUsage(t, new(fixture.Lobby).Broadcast("x"), "not made by a runtime")
	require.NotNil(t, new(fixture.Lobby).Log())
}

func TestZeroValue_StubAnswers500(t *testing.T) {
	w := httptest.NewRecorder()
	dog.Stub[fixture.Room]{}.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusInternalServerError, w.Code)
}

func TestZeroValue_FunctionsTakeZeroValues(t *testing.T) {
	ctx := t.Context()
	_, err := dog.GroupStub[fixture.Lobby, fixture.Room]{}.Identify(ctx, "ada")
	fixture.RequireUsage(t, err, "not made by a runtime")
	require.Equal(t, dog.Stub[fixture.Room]{}, dog.Self(new(fixture.Room)))
	require.Equal(t, dog.GroupStub[fixture.Lobby, fixture.Room]{}, dog.GroupOf[fixture.Lobby](new(fixture.Room)))
	require.Nil(t, dog.NamespaceOf(new(fixture.Object)))

	rt, err := dog.New(dog.Options{})
	require.NoError(t, err)
	require.NoError(t, rt.Shutdown(ctx))

	m, err := dog.Encode(nil)
	require.NoError(t, err)
	require.Equal(t, "null", m.String())
	m, err = dog.Encode(dog.Message{})
	require.NoError(t, err)
	require.Equal(t, dog.Message{Type: dog.Text}, m)
	require.Equal(t, dog.SendOption{}, dog.Coalesce(""))

	for _, queue := range []*outbox.Queue{nil, new(outbox.Queue)} {
		_, err = outbox.Ask[string](ctx, queue, nil)
		fixture.RequireUsage(t, err, "the queue is")
		for _, err := range queue.Waiting() {
			fixture.RequireUsage(t, err, "the queue is")
		}
		for _, err := range queue.Dead() {
			fixture.RequireUsage(t, err, "the queue is")
		}
	}
	_, err = shard.New[fixture.Object](nil, "", 1)
	fixture.RequireUsage(t, err, "not made by a runtime")
	for _, shards := range []*shard.Set[fixture.Object]{nil, new(shard.Set[fixture.Object])} {
		_, err = shard.Ask(ctx, shards, shard.Options{}, func(context.Context, dog.Stub[fixture.Object]) (int, error) {
			return 0, nil
		})
		fixture.RequireUsage(t, err, "not made by New")
	}
	require.NoError(t, shard.Errors[int](nil))
}

func TestZeroValue_IDIsInvalid(t *testing.T) {
	var id dog.ID
	require.True(t, id.IsZero())
	text, err := json.Marshal(map[string]dog.ID{"id": id})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"`+strings.Repeat("0", 64)+`"}`, string(text))
}
