package dog

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/record"
	"github.com/godurable/dog/internal/stream"
	"github.com/godurable/dog/internal/tail"
	"github.com/godurable/dog/internal/wire"
)

// A History reads the messages that an object or a group keeps (see
// [HistoryOptions]), in Go or over HTTP, for one uid. Use it where there is no
// WebSocket: in scripts, servers and pages with an EventSource, and for
// snapshots that include the position of their last message.
//
// Get it from a [Stub] ([Stub.History]), whether or not the object is in
// memory, or in a handler ([Object.History], [Group.History],
// [Replica.History]). A History for a uid reads the messages that the sockets
// of that uid would get: no whispers to other uids, and no messages sent with
// [ExceptUID] of this uid. Without a uid it reads no whispers.
//
// A message that is held until earlier writes of its object are durable is not
// in the history yet. Reading takes no place on a replica, and does not start
// the object or the group.
//
// Histories are small values, safe for concurrent use. The methods of the zero
// History, and of one whose type has no HistoryOptions, return a [UsageError].
// Other errors are [ErrInvalidName], [ErrReplicaGone], [ErrOverloaded] when
// there is no room for another object, [ErrShutdown], and the store's read
// errors.
type History struct {
	to  target // nil: none
	uid string // "": none
}

// History returns the history of the object or the group. That of a replica is
// the history of its group. It reads for the uid of the stub (see
// [Stub.WithUID]).
func (s Stub[T]) History() History {
	switch to := s.to.(type) {
	case *address:
		return History{to, to.uid}
	case *reservation:
		return historyOf(to.replica.group.obj).WithUID(to.uid)
	}
	return History{}
}

// History returns the history of the object, for no uid.
func (o *Object) History() History { return historyOf(o.object()) }

// History returns the history of the group, for no uid.
func (g *Group) History() History { return historyOf(g.object()) }

// History returns the history of the replica's group, for no uid.
func (r *Replica) History() History {
	if o := r.object(); o != nil {
		return historyOf(o.replica.group.obj)
	}
	return History{}
}

func historyOf(o *objectState) History {
	if o == nil {
		return History{}
	}
	return History{to: o.address()}
}

// WithUID returns the same history for a uid: the messages that its sockets
// would get. The rules for uids are those of [GroupStub.Identify]. "" stands
// for no uid.
func (h History) WithUID(uid string) History { return History{h.to, uid} }

// Position returns the position after the newest message. A reader that gets it
// together with a snapshot can continue from there: with Read, or with a
// request that has it as offset.
func (h History) Position() (Position, error) {
	var last Position
	err := h.reach(context.Background(), "History.Position", func(r *record.Record, _ *objectState) error {
		now := r.Now()
		last = Position(now.Place(now.Last()))
		return nil
	})
	return last, err
}

// A HistoryPage is a run of consecutive messages of a history.
type HistoryPage struct {
	Messages []KeptMessage
	Next     Position  // the position after the messages, for the next Read
	More     bool      // there are messages after Next
	Gap      GapReason // why messages are missing before the first; "" if none are missing
}

// A KeptMessage is a message in a history.
type KeptMessage struct {
	Message
	Position Position
}

// Read returns the messages after a position, at most limit of them unless
// limit is 0. If messages after the position are missing, Gap is set and the
// page begins with the oldest kept message. "" is the position before all
// messages, and always has a Gap ([GapFirst]). Read does not wait for messages.
// It returns a [UsageError] if limit is negative.
func (h History) Read(after Position, limit int) (HistoryPage, error) {
	if limit < 0 {
		return HistoryPage{}, misuse("History.Read", "the limit is negative")
	}
	var page HistoryPage
	err := h.reach(context.Background(), "History.Read", func(r *record.Record, _ *objectState) error {
		page = readPage(r, after, h.uid, limit)
		return nil
	})
	return page, err
}

// reach calls f with the record and its owner, an object or a group, which it
// loads into memory if needed. It tries again if the owner has been retired in
// between.
func (h History) reach(ctx context.Context, op string, f func(r *record.Record, owner *objectState) error) error {
	if h.to == nil {
		return notRunning(op)
	}
	if err := h.to.runtime().over(); err != nil {
		return err
	}
	if h.uid != "" {
		if err := checkUID(h.uid); err != nil {
			return err
		}
	}
	none := misuse(op, "the type keeps no history: set History in the options of the object or the group")
	if ns := h.to.namespace(); ns.kind != KindReplica && !ns.history.on() {
		return none // before the object is brought into memory
	}
	return on(ctx, h.to, func(o *objectState) error {
		if o.replica != nil {
			o = o.replica.group.obj
		}
		r := o.ownHistory()
		if r == nil {
			return none
		}
		if err := r.Load(o.runtime().host.Ctx); err != nil {
			return err
		}
		if err := f(r, o); err != nil {
			return err
		}
		if o.Retired() {
			return object.ErrRetired
		}
		return nil
	})
}

// historyPiece is the size of the messages read at a time, unless a single one
// is larger.
const historyPiece = 64 << 10

// readPage implements History.Read.
func readPage(r *record.Record, after Position, uid string, limit int) HistoryPage {
	reader := history.Reader{UID: uid}
	res := r.Resume(reader, string(after), false)
	now, at := res.Chapter, res.After
	place := func(offset uint64) Position { return Position(now.Place(offset)) }
	page := HistoryPage{Next: place(at), Gap: GapReason(res.Gap)}
	for {
		part, more, gap := now.Page(at, historyPiece, reader)
		if gap && len(page.Messages) > 0 { // the next Read will find it
			page.More = true
			return page
		}
		if gap { // messages have expired since
			page.Gap = GapExpired
		}
		for m := range part.Messages() {
			if limit > 0 && len(page.Messages) == limit {
				page.More = true
				return page
			}
			page.Next = place(m.Offset)
			page.Messages = append(page.Messages, KeptMessage{
				Message: Message{Type: MessageType(m.Op), Data: slices.Clone(m.Payload)}, Position: page.Next,
			})
		}
		at, page.Next = part.End, place(part.End)
		if !gap && !more {
			return page
		}
	}
}

// ServeHTTP serves the messages by the read protocol of Durable Streams, which
// has clients in many languages. A browser needs no client:
//
//	new EventSource("/history?offset=now&live=sse").addEventListener("data", show)
//
// The parameters of the query are:
//   - offset: a [Position] for the messages after it, -1 for all kept messages,
//     or now for new messages only. Default: -1.
//   - live: long-poll to wait up to 25 seconds if there are no messages, or sse
//     for a minute of server-sent events. Either needs an offset. Default: the
//     response has the messages kept now.
//   - cursor: the Stream-Cursor of the previous response.
//
// A response has up to 64 KiB of messages, or a single larger one, as a JSON
// array: a message of JSON is an element as it is, other text is a JSON string,
// and binary is {"$base64":"…"}. Stream-Next-Offset is the offset for the next
// request. Stream-Up-To-Date: true means that no messages follow so far.
//
// In an event stream, each array is a "data" event. A "control" event with the
// next offset follows, and that offset is the id of both. An EventSource that
// loses its connection sends the id as Last-Event-ID, which replaces the
// offset, so it continues where it was.
//
// The status is 200, or
//   - 204 if a long poll ends without messages,
//   - 304 if the client's If-None-Match has the ETag of the response,
//   - 400 for a malformed parameter or uid,
//   - 404 if the type has no HistoryOptions,
//   - 405 for a method other than GET and HEAD. HEAD returns the offset after
//     the newest message,
//   - 410 if messages after the offset are missing. The body is JSON: from is
//     the offset, to is the offset from which messages are kept, and why is the
//     [GapReason].
//
// For other errors it is that of [WriteError]. A stream of events ends when
// messages expire before the client has taken them, and the next request gets
// 410.
//
// Live responses end when the client is gone and when Shutdown begins. A client
// has Options.Sockets.WriteTimeout (10 seconds) to take each 16 KiB of a
// response. At most one part of the response is in memory for it: 64 KiB, or a
// single larger message.
//
// The number of readers is not limited. MaxSockets of an object and Limit of a
// group count sockets only, and a waiting client costs little more than its
// connection. A program with untrusted clients should limit their requests
// before it calls ServeHTTP. While a client waits, the object or the group
// stays in memory.
//
// In a handler, with the handler's context in the request, ServeHTTP gives up
// the turn, like [Await]:
//
//	func (r *Room) Receive(w http.ResponseWriter, req *http.Request) error {
//		if !dog.IsUpgrade(req) {
//			r.History().WithUID(dog.UID(req.Context())).ServeHTTP(w, req)
//			return nil
//		}
//		…
//	}
//
// ServeHTTP does not authorize its clients. Do this before, as for a WebSocket.
func (h History) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "private, no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
	err := h.serve(w, r)
	if err == nil {
		return
	}
	if _, misused := errors.AsType[*UsageError](err); misused {
		err = &StatusError{Status: http.StatusNotFound, Err: err}
	} else if h.to != nil && HTTPStatus(err) == http.StatusInternalServerError {
		h.to.runtime().opts.Logger.Error("a history cannot be read", "namespace", h.to.namespace().Name, "error", err)
	}
	if h.to != nil {
		h.to.namespace().countRefusal(HTTPStatus(err), reasonFor(err))
	}
	WriteError(w, err)
}

// serve implements ServeHTTP. If it returns an error, it has written nothing.
func (h History) serve(w http.ResponseWriter, r *http.Request) error {
	if h.to == nil {
		return notRunning("History.ServeHTTP")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return &StatusError{Status: http.StatusMethodNotAllowed}
	}
	query, err := stream.Parse(r, time.Now())
	if err == nil && query.After != "" {
		_, err = wire.ParsePosition(query.After)
	}
	if err != nil {
		return &StatusError{Status: http.StatusBadRequest, Err: err}
	}
	rt := h.to.runtime()
	leave, err := rt.host.EnterFrom(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	client, release := clientOf(r.Context())
	defer release()
	return object.Await(r.Context(), nil, func() error {
		var to tail.Reader
		err := h.reach(client, "History.ServeHTTP", func(rec *record.Record, owner *objectState) error {
			if err := rec.Enter(owner.Retired); err != nil {
				return err
			}
			to = tail.Reader{
				Record: rec, Client: history.Reader{UID: h.uid}, Query: query,
				Timeout: rt.opts.Sockets.WriteTimeout, Gone: client.Done(), Stopping: rt.stopping.Done(),
			}
			return nil
		})
		if err != nil {
			return err
		}
		defer to.Record.Leave(query.Mode != stream.CatchUp)
		return to.Serve(w, r)
	})
}
