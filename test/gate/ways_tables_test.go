package gate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/godurable/dog"
	"github.com/godurable/dog/shard"
)

// A wayOut is one by which something leaves an object.
type wayOut struct {
	by      actorFunc
	send    func(s *stage, ctx context.Context) error
	noticed func(s *stage) bool // what others notice besides; nil: nothing
	before  func(s *stage)      // what the way needs besides the stage; nil: nothing

	waits   bool // it waits for the disk
	yields  bool // it gives up the turn, with which the transaction ends
	context bool // its context identifies the sending object
}

// outputs are the ways out of handlers of all kinds.
var outputs = map[string]wayOut{
	"outbox.Queue.Put": queuePut, "outbox.Queue.Attach": queueAttach, "outbox.Queue.OnAlarm": queueOnAlarm,
	"outbox.Queue.Cancel": queueCancel, "outbox.Queue.Requeue": queueRequeue, "outbox.Ask": queueAsk,

	"Socket.Send": {by: inReplica, send: func(s *stage, _ context.Context) error {
		return s.socket.Send("w")
	}},
	"Socket.Emit": {by: inReplica, send: func(s *stage, _ context.Context) error {
		return s.socket.Emit("w")
	}},
	"Socket.Close": {by: inReplica, send: func(s *stage, _ context.Context) error {
		return s.socket.Close(4000, "w")
	}},
	"Socket.Supersede": {by: inObject, send: func(s *stage, _ context.Context) error {
		return s.newer.Supersede()
	}},
	"Socket.Broadcast": {by: inReplica, send: func(s *stage, _ context.Context) error {
		return s.socket.Broadcast("w")
	}},
	"Socket.Whisper": {by: inReplica, send: second(func(s *stage, ctx context.Context) (int, error) {
		return s.socket.Whisper(ctx, "eve", "w")
	}), waits: true, context: true},
	"Socket.SetPresence": {by: inReplica, send: func(s *stage, _ context.Context) error {
		return s.socket.SetPresence("w")
	}, noticed: valued},
	"Replica.Emit": {by: inReplica, send: func(s *stage, _ context.Context) error {
		return s.replica.Emit("w")
	}},
	"Replica.SetLocked": {by: inReplica, send: func(s *stage, _ context.Context) error {
		return s.replica.SetLocked(true)
	}, noticed: locked},
	"Replica.Broadcast": {by: inReplica, send: func(s *stage, _ context.Context) error {
		return s.replica.Broadcast("w")
	}},
	"Replica.Whisper": {by: inReplica, send: second(func(s *stage, ctx context.Context) (int, error) {
		return s.replica.Whisper(ctx, "eve", "w")
	}), waits: true, context: true},
	"Replica.Disconnect": {by: inReplica, send: second(func(s *stage, ctx context.Context) (int, error) {
		return s.replica.Disconnect(ctx, "eve", 4000, "w")
	}), waits: true, context: true},
	"Replica.Gossip": {by: inReplica, send: second(func(s *stage, ctx context.Context) ([]dog.Reply, error) {
		return s.replica.Gossip(ctx, "w")
	}), waits: true, context: true},

	"Object.Broadcast": {by: inObject, send: func(s *stage, _ context.Context) error {
		return s.object.Broadcast("w")
	}},
	"Object.Whisper": {by: inObject, send: second(func(s *stage, _ context.Context) (int, error) {
		return s.object.Whisper("fay", "w")
	})},
	"Object.Disconnect": {by: inObject, send: second(func(s *stage, _ context.Context) (int, error) {
		return s.object.Disconnect("fay", 4000, "w")
	})},

	"Group.Emit": {by: inGroup, send: func(s *stage, _ context.Context) error {
		return s.main.Emit(s.far, "w")
	}},
	"Group.Drain": {by: inGroup, send: func(s *stage, _ context.Context) error {
		return s.main.Drain(s.far)
	}, noticed: draining},
	"Group.SetLocked": {by: inGroup, send: func(s *stage, _ context.Context) error {
		return s.main.SetLocked(s.far, true)
	}, noticed: locked},
	"Group.Broadcast": {by: inGroup, send: func(s *stage, _ context.Context) error {
		return s.main.Broadcast("w")
	}},
	"Group.Whisper": {by: inGroup, send: second(func(s *stage, ctx context.Context) (int, error) {
		return s.main.Whisper(ctx, "eve", "w")
	}), waits: true, context: true},
	"Group.Disconnect": {by: inGroup, send: second(func(s *stage, ctx context.Context) (int, error) {
		return s.main.Disconnect(ctx, "eve", 4000, "w")
	}), waits: true, context: true},
	"Group.Gossip": {by: inGroup, send: second(func(s *stage, ctx context.Context) ([]dog.Reply, error) {
		return s.main.Gossip(ctx, "w")
	}), waits: true, context: true},

	"GroupStub.Emit": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return s.group().Emit(ctx, s.far, "w")
	}, yields: true, context: true},
	"GroupStub.Broadcast": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return s.group().Broadcast(ctx, "w")
	}, yields: true, context: true},
	"GroupStub.Drain": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return s.group().Drain(ctx, s.far)
	}, noticed: draining, waits: true, context: true},
	"GroupStub.SetLocked": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return s.group().SetLocked(ctx, s.far, true)
	}, noticed: locked, waits: true, context: true},
	"GroupStub.Whisper": {by: inObject, send: second(func(s *stage, ctx context.Context) (int, error) {
		return s.group().Whisper(ctx, "eve", "w")
	}), waits: true, context: true},
	"GroupStub.Disconnect": {by: inObject, send: second(func(s *stage, ctx context.Context) (int, error) {
		return s.group().Disconnect(ctx, "eve", 4000, "w")
	}), waits: true, context: true},
	"GroupStub.Gossip": {by: inObject, send: second(func(s *stage, ctx context.Context) ([]dog.Reply, error) {
		return s.group().Gossip(ctx, "w")
	}), waits: true, context: true},

	"Call": {by: inObject, send: second(func(s *stage, ctx context.Context) (int, error) {
		return dog.Call(ctx, s.listener(), (*stageObject).Repeat, 1)
	}), waits: true, context: true},
	"Call0": {by: inObject, send: second(func(s *stage, ctx context.Context) (int, error) {
		return dog.Call0(ctx, s.listener(), (*stageObject).Answer)
	}), waits: true, context: true},
	"CallErr": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return dog.CallErr(ctx, s.listener(), (*stageObject).Listen, 1)
	}, waits: true, context: true},
	"CallErr0": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return dog.CallErr0(ctx, s.listener(), (*stageObject).Visit)
	}, waits: true, context: true},
	"Go": {by: inReplica, send: func(s *stage, ctx context.Context) error {
		return dog.Go(ctx, func(context.Context) error { return s.replica.Emit("w") })
	}, context: true},
	"Await": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return dog.Await(ctx, s.reach)
	}, waits: true, context: true},
	"GroupStub.Identify": {by: inObject, send: func(s *stage, ctx context.Context) error {
		_, err := s.group().Identify(ctx, "dan")
		return err
	}, noticed: reserved, waits: true, context: true},
	"shard.Ask": {by: inObject, send: func(s *stage, ctx context.Context) error {
		shards, err := shard.New(s.objects, "shards", 2)
		if err != nil {
			return err
		}
		results, err := shard.Ask(
			ctx, shards, shard.Options{},
			func(ctx context.Context, d dog.Stub[stageObject]) (int, error) {
				return dog.Call0(ctx, d, (*stageObject).Answer)
			},
		)
		return errors.Join(err, shard.Errors(results))
	}, waits: true, context: true},
	"Stub.ServeHTTP": {by: inObject, send: func(s *stage, ctx context.Context) error {
		w := httptest.NewRecorder()
		s.listener().ServeHTTP(w, httptest.NewRequest("GET", "/visit", nil).WithContext(ctx))
		if w.Code != http.StatusOK {
			return errors.New(w.Body.String())
		}
		return nil
	}, waits: true, context: true},
	"History.ServeHTTP": {by: inObject, send: func(s *stage, ctx context.Context) error {
		w := httptest.NewRecorder()
		s.listener().History().ServeHTTP(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		if w.Code != http.StatusNotFound { // which is written when the writes are durable
			return errors.New(w.Body.String())
		}
		return s.reach()
	}, waits: true, context: true},
	"Stub.RoundTrip": {by: inObject, send: func(s *stage, ctx context.Context) error {
		answer, err := s.listener().RoundTrip(httptest.NewRequest("GET", "/visit", nil).WithContext(ctx))
		if err != nil {
			return err
		}
		return answer.Body.Close()
	}, waits: true, context: true},
	"Stub.Delete": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return s.objects.Named("noted").Delete(ctx)
	}, noticed: deleted, waits: true, context: true},
	"Stub.Export": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return s.objects.Named("noted").Export(ctx, "file")
	}, waits: true, context: true},
	"Stub.Import": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return s.listener().Import(ctx, "file")
	}, waits: true, context: true},
	"Runtime.Backup": {by: inObject, send: func(s *stage, ctx context.Context) error {
		return s.rt.Backup(ctx, "dir")
	}, waits: true, context: true},
	"Storage.Sync": {by: inReplica, send: func(s *stage, ctx context.Context) error {
		if err := s.replica.Storage().Sync(ctx); err != nil {
			return err
		}
		return s.reach()
	}, waits: true, context: true},
}

// answers are the ways out of a Receive.
var answers = map[string]struct {
	send func(w http.ResponseWriter) error

	waits  bool // as in wayOut
	breaks bool // it ends the handler by a panic of its own
	long   bool // it waits for the gate: then the client only sees that a reset has broken it off
}{
	"response.Write": {send: func(w http.ResponseWriter) error {
		_, err := io.WriteString(w, "output")
		return err
	}},
	"response.Write of a long answer": {long: true, send: func(w http.ResponseWriter) error {
		_, err := io.WriteString(w, strings.Repeat("output", 1<<20))
		return err
	}},
	"response.Header": {send: func(w http.ResponseWriter) error { w.Header().Set("Output", "w"); return nil }},
	"response.WriteHeader": {send: func(w http.ResponseWriter) error {
		w.Header().Set("Output", "w")
		w.WriteHeader(http.StatusAccepted)
		return nil
	}},
	"response.WriteHeader of 1xx": {send: func(w http.ResponseWriter) error {
		w.Header().Set("Output", "w")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Output")
		return nil
	}},
	"a trailer": {send: func(w http.ResponseWriter) error {
		w.Header().Set(http.TrailerPrefix+"Output", "w")
		_, err := io.WriteString(w, "no")
		return err
	}},
	"response.Flush": {send: func(w http.ResponseWriter) error {
		_, err := io.WriteString(w, "output")
		w.(http.Flusher).Flush()
		return err
	}},
	"response.FlushError": {send: func(w http.ResponseWriter) error {
		_, err := io.WriteString(w, "output")
		return errors.Join(err, http.NewResponseController(w).Flush())
	}},
	"hijackable.Hijack": {send: func(w http.ResponseWriter) error {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\noutput")
		return errors.Join(err, c.Close())
	}, waits: true},
	"http.ErrAbortHandler": {send: func(http.ResponseWriter) error { panic(http.ErrAbortHandler) }, breaks: true},
	"WriteError": {send: func(w http.ResponseWriter) error {
		w.Header().Set("Output", "w")
		dog.WriteError(w, dog.ErrGroupFull)
		return nil
	}},
}

// silent are the exported functions and methods that let nothing out of the
// handler that calls them, by why that is so.
var silent = map[string][]string{
	"it returns something to its caller": {
		"History.Position", "History.Read",
		"ClientGone", "UID", "IsUpgrade", "Stopping", "Encode", "HTTPStatus", "Get", "QueryRowAs", "QueryAs",
		"Alarms.All", "Alarms.Get", "GroupStub.Replicas", "Group.Replicas", "Namespace.List", "Namespace.Objects",
		"Replicas.List", "Replicas.Objects", "Groups.List", "Groups.Objects",
		"Group.Members", "Group.MemberCount", "Object.Members", "Object.MemberCount",
		"Stub.Members", "Stub.MemberCount",
		"Object.ID", "Object.Name", "Object.Storage", "Object.Sockets", "Object.SocketsOf", "Replica.GroupName",
		"Row.Columns", "Row.Scan", "Row.Value", "Runtime.Objects", "Runtime.SlowSockets", "Runtime.Stats",
		"Runtime.Stopping", "Runtime.Totals", "SQL.Query",
		"Socket.Attachment", "Socket.AutoReplied", "Socket.ID", "Socket.Resume", "Socket.Subprotocol", "Socket.Tags",
		"Socket.UID",
		"Storage.Alarms", "Storage.Get", "Storage.GetMany", "Storage.List", "Storage.SQL", "Stub.ID", "Stub.Name",
		"Map.Get", "Map.List", "outbox.Queue.Connected", "outbox.Queue.Dead", "outbox.Queue.Outcome",
		"outbox.Queue.Status", "outbox.Queue.Waiting", "shard.Errors", "shard.Set.Index", "shard.Set.Len",
		"response.Unwrap", "response.EnableFullDuplex", "response.SetReadDeadline", "response.SetWriteDeadline",
	},
	"it makes an address of an object": {
		"Namespace.Named", "Namespace.New", "Namespace.Parse", "Namespace.ByID", "Replicas.Parse", "Replicas.ByID",
		"shard.New", "shard.Set.At", "shard.Set.For",
		"Groups.Named", "Groups.New", "Groups.Parse", "Groups.ByID", "Self", "NamespaceOf", "GroupOf", "Stub.WithUID",
		"Stub.History", "Object.History", "Group.History", "Replica.History", "History.WithUID",
	},
	"it stores, which others see when it is durable": {
		"Alarms.Delete", "Alarms.Set", "Alarms.SetNamed", "SQL.Exec", "Storage.Delete", "Storage.DeleteAll",
		"Storage.Put", "Storage.PutMany", "Map.Delete", "Map.Put", "Map.Update", "Put", "Update",
		"outbox.Queue.Discard",
	},
	"it runs a function in place": {
		"BlockConcurrencyWhile",
		"Storage.Transaction",
	},
	"it keeps something with the socket, for its replica":                        {"Socket.SetAttachment"},
	"it gives back a place that nobody has used, whatever becomes of the object": {"Stub.Release"},
	"it writes to the log, which is for who runs the program":                    {"Object.Log"},
	"it ends an object, another one only past the gate (abort_test.go)":          {"Object.Abort", "Stub.Abort"},
	"a handler that calls it waits for itself":                                   {"Runtime.Shutdown", "Runtime.Serve"},
	"it runs a function later, as an event of the same object": {
		"Object.After",
		"Object.Every",
		"Timer.Stop",
		"outbox.Queue.Bind",
	},
	"it states how something is stored": {"MapOf", "Map.With"},
	"it is for set-up": {
		"New",
		"RegisterGroup",
		"RegisterObject",
		"RegisterReplica",
		"Runtime.Start",
	},
	"it is an option of another": {"Coalesce", "ExceptUID", "outbox.Key", "outbox.Replace", "outbox.TTL"},
}

// second is a way without its first result.
func second[T any](f func(s *stage, ctx context.Context) (T, error)) func(*stage, context.Context) error {
	return func(s *stage, ctx context.Context) error {
		_, err := f(s, ctx)
		return err
	}
}

func (s *stage) listener() dog.Stub[stageObject] { return s.objects.Named("listener") }

func draining(s *stage) bool {
	for r := range s.group().Replicas() {
		if r.Draining {
			return true
		}
	}
	return false
}

func locked(s *stage) bool {
	for r := range s.group().Replicas() {
		if r.Locked {
			return true
		}
	}
	return false
}

func valued(s *stage) bool {
	members, err := s.group().Members(s.t.Context(), "", 0)
	return err == nil && slices.ContainsFunc(members, func(m dog.Member) bool { return m.Value != nil })
}

func reserved(s *stage) bool {
	for r := range s.group().Replicas() {
		if r.Reserved > 0 {
			return true
		}
	}
	return false
}

func deleted(s *stage) bool {
	noted, err := dog.Call0(s.t.Context(), s.objects.Named("noted"), (*stageObject).Noted)
	return err == nil && !noted
}

var errUndoIt = errors.New("undo it")
