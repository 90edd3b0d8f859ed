package dog

import (
	"cmp"
	"log/slog"
	"math"
	"time"
)

// Options configure a [Runtime]. The zero value is ready for production. [New]
// refuses a negative time where none is allowed below, and names its field.
type Options struct {
	// Logger gets what a handler or a client did wrong, with the object's
	// namespace and ID. Nil: [slog.Default].
	Logger *slog.Logger

	// Trace is called at points of interest. Nil: nothing is.
	Trace *Trace

	// ReserveFor is how long a place is kept between Identify and the first
	// request through its stub, to the nanosecond. [GroupStub.Replicas] and
	// Stats may count a place up to a second longer that nobody has asked for
	// since. 0: 10 s; not negative.
	ReserveFor time.Duration

	// LingerFor is how long a uid without connections is sent back to the
	// replica it was on, to the nanosecond. GroupOptions.LingerFor overrides
	// it. 0: 30 s; negative: not at all.
	LingerFor time.Duration

	// RetireAfter is how long a replica without connections stays in memory,
	// and then a group without replicas after its last event. It is never
	// shorter than LingerFor, for a replica that of its group. A replica goes
	// up to a second later, a group up to two; up to a quarter and a half of
	// the shortest of ReserveFor, LingerFor and RetireAfter, but 10 and 20 ms,
	// where that is less. What is busy then goes as soon after as that. 0: 60
	// s; not negative.
	RetireAfter time.Duration

	// GossipTimeout bounds the wait for the answers to a gossip, from when the
	// question is sent, which is once what the asker has stored is durable.
	// Gossip returns then at the latest, but for its turn, which a handler that
	// asks has to get back. The context's own deadline counts when it is
	// earlier. 0: 5 s; not negative.
	GossipTimeout time.Duration

	// ParkAfter is how long a client is silent before its socket gives its
	// goroutine back and leaves waiting to the kernel, at the earliest; it does
	// so before twice that has passed. This halves the memory of an idle
	// socket, and costs its next message a few microseconds. On by default
	// because no socket that is in use is ever parked. 0: 10 s; negative:
	// never; less than 10 ms counts as that.
	//
	// Only the connections of a TCP or Unix listener on Linux can be parked
	// (epoll), and only these are written without a goroutine of their own.
	// TLS, other platforms, and listeners that wrap their connections, as a
	// limiting listener does, work, at more cost.
	ParkAfter time.Duration

	// Store keeps what objects store. Nil: memory alone, without SQL, and
	// everything is lost with the process. disk.At("data") opens a data
	// directory. New opens it, and Shutdown closes it.
	Store Store

	// Migrations are all changes that releases have made to the namespaces of a
	// store, oldest first. See [Migration]. [New] fails with a [MigrationError]
	// when they contradict themselves or the store.
	Migrations []Migration

	// MaxWaiting bounds the events that wait for the turn of one object: calls,
	// requests, gossip, events started by [Go]. One more is refused with
	// [ErrOverloaded]. Sockets wait besides, each with one message at a time.
	// 0: 10,000; negative: no bound.
	MaxWaiting int

	// ShutdownTimeout is the patience of [Runtime.Serve] at its end. 0: 10 s;
	// not negative.
	ShutdownTimeout time.Duration

	// EvictAfter is how long a plain object without sockets stays in memory
	// after the end of its last event. It goes, or its OnStop is due (see
	// [Stopper]), up to two seconds later; up to half of the shorter of
	// EvictAfter and HibernateAfter, but 20 ms, where that is less. One with
	// writes that are not durable yet stays until they are. 0: 60 s; not
	// negative.
	EvictAfter time.Duration

	// MaxObjects is how many plain objects may be in memory; when there are
	// more, those that have been idle longest are dropped early. Objects with
	// an event under way, or with writes that are not durable yet, stay, and do
	// not keep others from being made: their number is bounded by that of the
	// events. Who makes one while idle ones have yet to be dropped waits for
	// that, for 5 s at the most. When OnStop of more objects than MaxObjects is
	// due or hangs, it waits as long and then gets [ErrOverloaded]. 0: 100,000;
	// negative: no bound.
	MaxObjects int

	// StartTimeout is how long OnStart may take, and what else starts an object
	// whose type has one: its New and its [Schema], which is bounded by it for
	// other types as well. At that moment the object is reset, and all that
	// waited for it get that error. What hangs goes on unheard, its context
	// cancelled. 0: 30 s; negative: no bound.
	StartTimeout time.Duration

	// HibernateAfter is how long an object with sockets, a group or a replica
	// whose type hibernates (ObjectOptions.Hibernate) stays in memory after the
	// end of its last event. It goes as late as EvictAfter says. 0: 10 s; not
	// negative.
	HibernateAfter time.Duration

	// Sockets are the defaults of the sockets of all types.
	Sockets SocketOptions

	// CheckTurns finds uses of a running handler's context in a foreign
	// goroutine and answers them with [ErrOutsideTurn], and what a handler says
	// past the output gate of its object, for which the answer is
	// [ErrPastGate]. It costs about 3 µs an event, a wait and a word, and is on
	// in package dogtest. Off, contexts are only checked for use after their
	// handler.
	CheckTurns bool
}

// ObjectOptions configure a type that embeds [Object].
type ObjectOptions[T any] struct {
	// New makes the value of each life of an object, before its OnStart; it
	// hands over what T depends on. It runs for real objects only, never at
	// registration. It must not wait, and must not return a value twice. It
	// does not know which object it is for; OnStart does. Nil: new(T).
	New func() *T

	// Schema are the steps that bring the SQL database to its present form.
	Schema Schema

	// AllowNewerSchema accepts a database that has taken more steps than these,
	// in a later release that has been rolled back. Without it the object does
	// not start.
	AllowNewerSchema bool

	// Hibernate lets an idle object be dropped from memory
	// (Options.HibernateAfter) even while it has sockets: they stay open with
	// their tags and attachments, and the next event starts the object again,
	// with OnStart. Without it, an object with sockets stays in memory.
	Hibernate bool

	// RollbackOnError undoes what a handler stored in its last transaction when
	// the handler returns an error. Without it only a panic does.
	RollbackOnError bool

	// MaxSockets bounds the sockets of one object, those included that are
	// connecting and those whose OnClose has not returned. One more is refused
	// with 503 ([ErrSocketsFull]). 0: 10,000; negative: no bound.
	MaxSockets int

	// Sockets are the defaults of the type's sockets. A zero field stands for
	// that of Options.Sockets.
	Sockets SocketOptions
}

// defaultMaxSockets is what ObjectOptions.MaxSockets is by default.
const defaultMaxSockets = 10_000

// ReplicaOptions configure a type that embeds [Replica]. The fields are those
// of [ObjectOptions]; how many sockets a replica has is up to its group's
// Limit.
type ReplicaOptions[T any] struct {
	New              func() *T
	Schema           Schema
	AllowNewerSchema bool
	Hibernate        bool
	RollbackOnError  bool
	Sockets          SocketOptions
}

// SocketOptions configure a socket. A zero field stands for the runtime's
// default (Options.Sockets), and there for the default given below. What is
// switched on there cannot be switched off here. No size and no time may be
// negative.
type SocketOptions struct {
	// UID says who connects, where the object finds that out itself. The rules
	// are those of [GroupStub.Identify]; a replica's sockets count for the uid
	// that was identified. Default: [UID] of the request.
	UID string

	// Attachment is kept with the socket as [Socket.SetAttachment] does.
	// Default: none.
	Attachment any

	// Subprotocols that the server speaks, its favourite first: the first of
	// them that the client offers too is chosen, whatever its case.
	// [Socket.Subprotocol] returns it as it is written here; the client is
	// answered in its own spelling, because it takes nothing that it has not
	// offered. Default: none.
	Subprotocols []string

	// OriginPatterns are further hosts whose pages may connect, besides the one
	// that serves them, in the form of [path.Match], such as "*.example.com";
	// with a scheme if the pattern has "://". Default: none, other origins get
	// 403.
	OriginPatterns []string

	// AllowAnyOrigin turns the check of the origin off. Only for endpoints
	// without cookies or other ambient authority.
	AllowAnyOrigin bool

	// MaxMessage bounds a client's message in bytes; one over it closes the
	// socket with 1009. Default: 64 KiB.
	MaxMessage int64

	// QueueBytes bounds the bytes of messages, before compression, that wait
	// because the client does not take them. A longer message never fits.
	//
	// A client is slow when more waits and it has taken nothing for a
	// second, or for its reading time if that is longer; so neither a burst
	// nor a replay makes it slow, nor a thin line. Up to 8 MiB more may wait
	// until then, and for a client that takes something all the time.
	// DropOldest, whose messages are to be fresh, finds a client slow when
	// the queue has been over QueueBytes and has not been empty for a
	// second. What Stats counts may be 1 MiB more, for messages that the
	// machine has not got round to.
	//
	// What a client takes is what its side has acknowledged on TCP, TLS
	// over TCP and Unix sockets on Linux. There its system takes messages
	// before it reads them, and when it has no room for more says nothing
	// until much of that has been read. So there it has a reading time: as
	// long as it takes to read what its system has acknowledged (over Unix
	// sockets, what waits there, up to 64 KiB), up to 512 KiB, at 4 KiB a
	// second, or at 40 KiB in each WriteTimeout where that is faster. One
	// that never reads has acknowledged what its system's buffer holds, by
	// default about 100 KiB on Linux: it is slow after some 30 s. The most is
	// 128 s. A client whose system has room, but does not answer, has no
	// reading time.
	//
	// Elsewhere a client takes what is written (in pieces of 4 KiB), and
	// less than 4 KiB a second counts as nothing.
	//
	// Default: 256 KiB.
	//
	// As much and 1 MiB may be held back besides until what the replica has
	// stored before is durable; then Send returns ErrHeldBack. So may, by the
	// runtime's default, what one object sends to many sockets.
	QueueBytes int

	// Slow says what happens to a client that is slow, and to a message for
	// which the 8 MiB do not suffice. Default: DisconnectSlow.
	Slow SlowPolicy

	// WriteTimeout is how long a client may take nothing while something
	// waits for it, were it the answer of the handshake, or its reading time
	// (see QueueBytes) if that is longer; then it is cut off (1006,
	// [ErrSlowConsumer]), at that moment at the earliest and 1/16 of
	// WriteTimeout later at the latest. So one that goes on reading 4 KiB a
	// second, and 40 KiB in each WriteTimeout, is never cut off, nor is a
	// slower one whose system says more often that it reads. Default: 10 s.
	WriteTimeout time.Duration

	// PingInterval is how often a silent client is pinged, and how long it has
	// to answer. The first ping leaves between 7/8 of the interval and one
	// interval after the client's last byte, and then one leaves every
	// interval: answers to pings put none off. A client of which nothing
	// arrives within the interval after a ping is gone (1006): between 1 7/8
	// and two intervals after its last byte.
	//
	// So no connection is idle for longer than the interval, and a proxy in
	// between needs an idle time of a few seconds more: the default suits
	// HAProxy as Debian sets it up (50 s) and nginx (60 s); one that cuts
	// after 20 s needs 15 s here.
	//
	// An answer is not due while it may lie unread, because the client's
	// handler runs; while messages that wait before the ping go on being
	// taken, after which the interval begins again; and while the client may be
	// reading what was sent since it last answered: it gets one interval
	// more for each that this takes at 4 KiB a second, up to 512 KiB.
	// While a handler runs, pings go on over TCP, TLS and Unix sockets, but
	// not over connections of other types.
	//
	// Default: 25 s; negative: no pings.
	PingInterval time.Duration

	// CloseTimeout bounds closing, whoever began it: the client gets this long
	// to take what was sent before and the close frame, to answer it, and to
	// hang up. At that moment the connection is closed. When the client begins
	// it, what the replica has said to it and holds back gets as long to become
	// durable before. Default: 5 s.
	CloseTimeout time.Duration

	// AutoRequest is a text message that is answered with AutoReply without
	// waking the replica, such as "ping" and "pong". At most 2,048 bytes of
	// UTF-8 each; one needs the other. Default: none.
	AutoRequest, AutoReply string

	// Compression lets clients that offer permessage-deflate (RFC 7692) send
	// compressed messages, and compresses messages to them of 512 bytes and
	// more: once for all of them, so without a context that passes from one
	// message to the next. Worth it for large texts over slow networks.
	// MaxMessage bounds messages as they are after decompression. Not for
	// messages that hold both a secret and something that an attacker may
	// choose: their length tells about the secret (the BREACH attack). Default:
	// off.
	Compression bool

	// Tags mark the socket for [Object.Sockets]: at most 10 distinct ones of at
	// most 256 bytes.
	Tags []string
}

// SlowPolicy says what happens to a client that does not take its messages,
// and what with more than QueueBytes that wait for it; see there for when a
// client is slow.
type SlowPolicy int

const (
	// DisconnectSlow drops what waits and closes the socket with 1008.
	DisconnectSlow SlowPolicy = iota + 1
	// DropOldest drops the oldest messages that wait, down to QueueBytes.
	DropOldest
	// CoalesceSlow replaces a waiting message by a newer one of the same key
	// (see [Coalesce]) at the end of the queue, whether or not the client is
	// slow, and does as DisconnectSlow when that is not enough.
	CoalesceSlow
)

// maxAutoBytes bounds each side of an auto-response, as Durable Objects do.
const maxAutoBytes = 2048

// check looks at the times and sizes that must not be negative.
func (o Options) check() error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"ReserveFor", o.ReserveFor}, {"RetireAfter", o.RetireAfter}, {"GossipTimeout", o.GossipTimeout},
		{"EvictAfter", o.EvictAfter}, {"ShutdownTimeout", o.ShutdownTimeout}, {"HibernateAfter", o.HibernateAfter},
	} {
		if f.value < 0 {
			return misuse("Options."+f.name, "%v: it must not be negative; 0 stands for the default", f.value)
		}
	}
	return o.Sockets.checkDefaults()
}

// checkDefaults is check for the defaults of sockets.
func (o SocketOptions) checkDefaults() error {
	if o.UID != "" {
		return misuse("SocketOptions.UID", "it is that of one socket: give it to Connect")
	}
	if o.Attachment != nil {
		if _, err := encodeAttachment(o.Attachment); err != nil {
			return err
		}
	}
	return o.checkSigns()
}

// checkSigns is check for the options of a socket.
func (o SocketOptions) checkSigns() error {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxMessage", o.MaxMessage}, {"QueueBytes", int64(o.QueueBytes)},
		{"WriteTimeout", int64(o.WriteTimeout)}, {"CloseTimeout", int64(o.CloseTimeout)},
	} {
		if f.value < 0 {
			return misuse("SocketOptions."+f.name, "it is negative; 0 stands for the default")
		}
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Trace == nil {
		o.Trace = &Trace{}
	}
	o.ReserveFor = cmp.Or(o.ReserveFor, 10*time.Second)
	o.LingerFor = max(cmp.Or(o.LingerFor, 30*time.Second), 0)
	o.RetireAfter = max(cmp.Or(o.RetireAfter, 60*time.Second), o.LingerFor)
	if o.MaxWaiting = cmp.Or(o.MaxWaiting, 10_000); o.MaxWaiting < 0 {
		o.MaxWaiting = 0
	}
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 10*time.Second)
	o.EvictAfter = cmp.Or(o.EvictAfter, 60*time.Second)
	o.MaxObjects = min(cmp.Or(o.MaxObjects, 100_000), math.MaxInt/2) // leaves room for sums
	o.StartTimeout = max(cmp.Or(o.StartTimeout, 30*time.Second), 0)
	o.HibernateAfter = cmp.Or(o.HibernateAfter, 10*time.Second)
	o.GossipTimeout = cmp.Or(o.GossipTimeout, 5*time.Second)
	if o.ParkAfter = cmp.Or(o.ParkAfter, 10*time.Second); o.ParkAfter > 0 {
		o.ParkAfter = max(o.ParkAfter, 10*time.Millisecond)
	}
	o.Sockets = o.Sockets.over(SocketOptions{
		MaxMessage:   64 << 10,
		QueueBytes:   256 << 10,
		Slow:         DisconnectSlow,
		WriteTimeout: 10 * time.Second,
		CloseTimeout: 5 * time.Second,
		PingInterval: 25 * time.Second,
	})
	return o
}

// over returns o with base's values where o has none.
func (o SocketOptions) over(base SocketOptions) SocketOptions {
	if o.Subprotocols == nil {
		o.Subprotocols = base.Subprotocols
	}
	if o.OriginPatterns == nil {
		o.OriginPatterns = base.OriginPatterns
	}
	o.AllowAnyOrigin = o.AllowAnyOrigin || base.AllowAnyOrigin
	o.Compression = o.Compression || base.Compression
	o.MaxMessage = cmp.Or(o.MaxMessage, base.MaxMessage)
	o.QueueBytes = cmp.Or(o.QueueBytes, base.QueueBytes)
	o.Slow = cmp.Or(o.Slow, base.Slow)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, base.WriteTimeout)
	o.CloseTimeout = cmp.Or(o.CloseTimeout, base.CloseTimeout)
	o.PingInterval = cmp.Or(o.PingInterval, base.PingInterval)
	if o.AutoRequest == "" && o.AutoReply == "" {
		o.AutoRequest, o.AutoReply = base.AutoRequest, base.AutoReply
	}
	if o.Tags == nil {
		o.Tags = base.Tags
	}
	if o.Attachment == nil {
		o.Attachment = base.Attachment
	}
	return o
}
