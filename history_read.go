package dog

import (
	"context"
	"slices"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/record"
)

// A History reads the messages that an object or a group keeps (see
// [HistoryOptions]), in Go or over HTTP, for one uid. It is for everything that
// has no WebSocket: scripts, servers, pages with an EventSource, and snapshots
// that state up to which message they are complete.
//
// Get it from a [Stub] ([Stub.History]), whether or not the object is in
// memory, or in a handler ([Object.History], [Group.History],
// [Replica.History]). A History for a uid reads what the sockets of the uid
// would get: no message that is whispered to another uid, and none that
// [ExceptUID] keeps from it. Without a uid it reads what is whispered to
// nobody.
//
// A message of an object that waits for earlier writes to become durable is not
// in its history yet. Reading takes no place on a replica.
//
// Histories are small values, safe for concurrent use. The methods of the zero
// History, and of one whose type has no HistoryOptions, return a [UsageError].
type History struct {
	to  target // nil: none
	uid string // "": somebody
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
// for nobody in particular.
func (h History) WithUID(uid string) History { return History{h.to, uid} }

// Position returns the position after the newest message. A snapshot that is
// sent with it can be continued by a Read or request after it.
func (h History) Position() (Position, error) {
	var last Position
	err := h.reach(context.Background(), "History.Position", func(r *record.Record, _ *objectState) error {
		now := r.Now()
		last = Position(now.Place(now.Last()))
		return nil
	})
	return last, err
}

// A HistoryPage is a number of messages that follow each other in a history.
type HistoryPage struct {
	Messages []KeptMessage
	Next     Position  // the position after the messages, for the next Read
	More     bool      // there are messages after Next
	Gap      GapReason // why messages are missing before the first; "" if none are
}

// A KeptMessage is a message in a history.
type KeptMessage struct {
	Message
	Position Position
}

// Read returns the messages after a position, at most limit of them unless
// limit is 0. If messages after the position are missing, Gap is set and the
// page begins with the oldest message that is kept. "" stands for the position
// before all messages, and always has a Gap ([GapFirst]). Read does not wait
// for messages. It returns a [UsageError] if limit is negative.
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

// reach calls f with the record and its owner, an object or a group, which is
// brought into memory if needed. It repeats this if the owner turns out to have
// been forgotten.
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

// historyPiece is the size of the messages that are read at a time, unless a
// single one is larger.
const historyPiece = 64 << 10

// readPage is History.Read.
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
