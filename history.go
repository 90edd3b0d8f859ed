package dog

import (
	"math"
	"time"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/record"
)

// HistoryOptions makes an object or a group keep what it sends to its sockets,
// for clients that come back and for those that are slow. The zero value keeps
// nothing and costs nothing. If any field is set, the others have the defaults
// given below.
//
// The messages of Broadcast and Whisper are kept, and those of Emit by an
// object, except for [Transient] ones. Messages of Send, and of Emit to one
// replica, are not. A message is kept when it is sent, which is when the
// object's earlier writes are durable. Of the messages with the same key (see
// [Coalesce]), only the newest is kept. A Whisper to a uid without sockets is
// kept for it, and returns 0 without an error.
//
// A client that speaks the subprotocol dog.v1, such as dog.js and package
// client, gets each kept message exactly once and in order, however often its
// connection breaks. If some are missing, it gets a gap instead. See
// [Socket.Resume]. Clients are never disconnected because they take their
// messages slowly (see [CatchUp]). Other clients get new messages only.
//
// An object or group with messages that are not older than Age stays in memory.
// [Runtime.Shutdown] stores the messages if there is a store, so that a planned
// restart loses none. After a crash, all clients get a gap. A Durable history
// is in the store at all times: its object or group need not stay in memory,
// and a crash leaves no gap.
type HistoryOptions struct {
	// Count is the maximum number of messages. 0: 10,000.
	Count int

	// Bytes is the maximum size of all messages, each with about 10 bytes for
	// its frame. A message larger than that is not kept, and removes all
	// earlier messages: a client that missed it gets a gap. 0: 1 MiB.
	Bytes int

	// Age is how long a message is kept. Some are kept for up to an eighth
	// longer, together with newer ones. It is rounded up to seconds. 0: 5
	// minutes.
	Age time.Duration

	// Durable keeps the messages in the store. A message is part of the
	// transaction of the turn that sends it, even if the turn stores nothing
	// else, and is sent when it is durable. So a crash keeps both the message
	// and its handler's writes, or neither, and never loses a message that a
	// client has received. A message sent outside of a turn, such as by
	// [GroupStub].Broadcast, is stored in a transaction of its own. A message
	// sent while its handler waits is part of the event that then has the turn,
	// if there is one. A turn that is undone sends nothing. If the message
	// cannot be stored, it is not sent, and Broadcast returns the error, such
	// as [ErrStoreFull]. A failed [Storage].Transaction does not undo messages.
	//
	// A crash leaves no gap once the history has had a message. Clients get a
	// gap after the object or group has deleted its data ([Storage].DeleteAll,
	// [Stub].Delete), and when the store is a restored backup. The messages do
	// not keep their object or group in memory, and are read when it starts.
	// Without Options.Store they are lost with the process, like all other
	// data.
	Durable bool
}

// on reports whether messages are kept.
func (o HistoryOptions) on() bool { return o != HistoryOptions{} }

// check returns an error if an option is invalid.
func (o HistoryOptions) check() error {
	if o.Count < 0 || o.Bytes < 0 || o.Age < 0 {
		return misuse("HistoryOptions", "a bound is negative; 0 stands for the default")
	}
	return nil
}

func (o HistoryOptions) config() history.Config {
	c := history.Config{Count: 10_000, Bytes: 1 << 20, Age: 5 * 60}
	if o.Count > 0 {
		c.Count = o.Count
	}
	if o.Bytes > 0 {
		c.Bytes = o.Bytes
	}
	if o.Age > 0 {
		c.Age = int64(math.Ceil(o.Age.Seconds()))
	}
	return c
}

// Transient keeps a message out of the history, such as "ada is typing". A
// client that is behind does not get it.
var Transient = SendOption{transient: true}

// A Position is a place in the history of an object or a group. Its text is
// opaque to programs and clients. Positions of one history sort in the order of
// their messages. "" is the position before all messages.
type Position string

// GapReason is why messages between two positions are missing. "" means that
// none are missing.
type GapReason string

// The reasons of a gap.
const (
	GapFirst   GapReason = record.First   // the client has no position
	GapExpired GapReason = record.Expired // the messages are no longer kept
	GapEpoch   GapReason = record.Epoch   // the position belongs to another history, as after a crash or an import
	GapAhead   GapReason = record.Ahead   // the history has no such position
	GapSlow    GapReason = record.Slow    // the messages expired before the client, which was connected, took them
)

// A Resume is the place in the history from which a socket gets messages.
type Resume struct {
	Asked Position  // the position of the client; "" if it had none
	From  Position  // the position after which it gets all messages; "" if none are kept
	Gap   GapReason // why messages between Asked and From are missing; "" if none are missing
}

// Resume returns the place in the history from which the socket gets messages.
// If Gap is "", the client gets every message that it missed, and OnOpen need
// not send anything. Otherwise the client needs the current state, like a new
// client:
//
//	func (r *Room) OnOpen(ctx context.Context, s *dog.Socket) error {
//		if s.Resume().Gap == "" {
//			return nil
//		}
//		return s.Send(r.snapshot())
//	}
//
// In an object, the messages after such a snapshot are exactly those that it
// does not contain. In a replica, a message that another replica sent shortly
// before may be in the snapshot and also follow it. Gap is [GapFirst] until the
// socket has joined, and for a client that does not speak dog.v1.
func (s *Socket) Resume() Resume {
	if s == nil || s.v1 == nil {
		return Resume{Gap: GapFirst}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Resume{
		Asked: Position(s.v1.asked.String()), From: Position(s.v1.from.String()), Gap: gapReasons[s.v1.gap],
	}
}
