package dog

import (
	"cmp"
	"log/slog"
	"math"
	"time"
)

// Options configures a [Runtime]. The zero value is ready for production. If a
// time is negative where the field does not allow it, [New] returns an error
// that names the field.
type Options struct {
	// Logger receives records of errors made by handlers and clients, with the
	// object's namespace and ID. Nil: [slog.Default].
	Logger *slog.Logger

	// Trace holds hooks that are called at points of interest. Nil: no hooks.
	Trace *Trace

	// ReserveFor is how long a place is kept between Identify and the first
	// request through its stub, to the nanosecond. [GroupStub.Replicas] and
	// Stats may count an expired place for up to a second longer if nobody has
	// asked for it since. 0: 10 s; not negative.
	ReserveFor time.Duration

	// LingerFor is how long a uid without connections is sent back to the
	// replica it was on, to the nanosecond. GroupOptions.LingerFor overrides
	// it. 0: 30 s; negative: not at all.
	LingerFor time.Duration

	// RetireAfter is how long a replica without connections stays in memory,
	// and then how long a group without replicas stays after its last event. It
	// is never shorter than LingerFor (for a replica, the LingerFor of its
	// group).
	//
	// A replica is retired up to a second late, a group up to two seconds late.
	// If ReserveFor, LingerFor or RetireAfter is short, the delay is at most a
	// quarter of the shortest of them for a replica and half of it for a group,
	// or 10 and 20 ms if that is more. A replica or group that is busy at that
	// time is retired just as soon after it becomes idle. 0: 60 s; not
	// negative.
	RetireAfter time.Duration

	// GossipTimeout is how long Gossip waits for replies. The time starts when
	// the question is sent, which is when the asking object's writes are
	// durable. Gossip returns when it is over at the latest. A handler that
	// asks may have to wait longer to get its turn back. The context's own
	// deadline applies if it is earlier. 0: 5 s; not negative.
	GossipTimeout time.Duration

	// ParkAfter is how long a client must be silent before its socket gives up
	// its goroutine and leaves the waiting to the kernel. The socket does so
	// before twice that time has passed. This halves the memory of an idle
	// socket and costs its next message a few microseconds. It is on by default
	// because no socket in use is ever parked. 0: 10 s; negative: never. Values
	// below 10 ms count as 10 ms.
	//
	// Only the connections of a TCP or Unix listener on Linux can be parked
	// (epoll), and only these are written without a goroutine of their own.
	// TLS, other platforms, and listeners that wrap their connections, such as
	// a limiting listener, work at a higher cost.
	ParkAfter time.Duration

	// Store holds the data of objects. Nil: data is in memory only, without
	// SQL, and is lost with the process. disk.At("data") opens a data
	// directory. New opens the store, and Shutdown closes it.
	Store Store

	// Migrations lists all changes that releases have made to the namespaces of
	// a store, oldest first. See [Migration]. [New] fails with a
	// [MigrationError] if they contradict themselves or the store.
	Migrations []Migration

	// MaxWaiting is the maximum number of events that wait for the turn of one
	// object: calls, requests, gossip, and events started by [Go]. A further
	// event fails with [ErrOverloaded]. Sockets do not count. Each of them
	// waits with one message at a time. 0: 10,000; negative: no limit.
	MaxWaiting int

	// ShutdownTimeout is how long [Runtime.Serve] waits for the shutdown at its
	// end. 0: 10 s; not negative.
	ShutdownTimeout time.Duration

	// EvictAfter is how long a plain object without sockets stays in memory
	// after the end of its last event. The object is evicted, or its OnStop is
	// due (see [Stopper]), up to two seconds later. If EvictAfter or
	// HibernateAfter is short, the delay is at most half of the shorter one, or
	// 20 ms if that is more. An object whose writes are not durable yet stays
	// until they are. 0: 60 s; not negative.
	EvictAfter time.Duration

	// MaxObjects is the maximum number of plain objects in memory. When there
	// are more, those that have been idle longest are evicted early. Objects
	// with an event in progress, or with writes that are not durable yet, stay,
	// and do not prevent new objects: their number is bounded by that of the
	// events. A caller that creates an object while idle objects remain to be
	// evicted waits for that, for at most 5 s. When OnStop of more than
	// MaxObjects objects is due or hangs, the caller waits as long and then
	// gets [ErrOverloaded]. 0: 100,000; negative: no limit.
	MaxObjects int

	// StartTimeout is the time limit for OnStart and for the other parts of the
	// start of an object whose type has OnStart: its New and its [Schema]. For
	// other types, it limits only the Schema. When the time is over, the object
	// is reset, and all callers that waited for the start get that error. A
	// handler that hangs continues with its context cancelled, and its output
	// is dropped. 0: 30 s; negative: no limit.
	StartTimeout time.Duration

	// HibernateAfter is how long an object with sockets, a group or a replica
	// stays in memory after the end of its last event, if its type hibernates
	// (ObjectOptions.Hibernate). The delay is that of EvictAfter. 0: 10 s; not
	// negative.
	HibernateAfter time.Duration

	// Sockets holds the defaults for the sockets of all types.
	Sockets SocketOptions

	// CheckTurns detects two kinds of mistakes. A call that uses a running
	// handler's context in a foreign goroutine fails with [ErrOutsideTurn].
	// Output that a handler sends past the output gate of its object fails with
	// [ErrPastGate]. The check costs about 3 µs for each event, each wait and
	// each message, and is on in package dogtest. When it is off, contexts are
	// only checked for use after their handler.
	CheckTurns bool
}

// ObjectOptions configures a type that embeds [Object].
type ObjectOptions[T any] struct {
	// New creates the value for each life of an object, before its OnStart, and
	// passes it the dependencies of T. It runs for real objects only, never at
	// registration. It must not wait, and must not return a value twice. It
	// does not know which object the value is for. OnStart does. Nil: new(T).
	New func() *T

	// Schema lists the steps that bring the SQL database to its present form.
	Schema Schema

	// AllowNewerSchema accepts a database that has taken more steps than Schema
	// has, because a later release was rolled back. Without it the object does
	// not start.
	AllowNewerSchema bool

	// Hibernate lets an idle object be evicted from memory
	// (Options.HibernateAfter) even while it has sockets. They stay open with
	// their tags and attachments, and the next event starts the object again,
	// with OnStart. Without Hibernate, an object with sockets stays in memory.
	Hibernate bool

	// RollbackOnError undoes the writes of a handler's last transaction when
	// the handler returns an error. Without it only a panic does.
	RollbackOnError bool

	// MaxSockets is the maximum number of sockets of one object. It includes
	// sockets that are connecting and sockets whose OnClose has not returned. A
	// further socket is refused with 503 ([ErrSocketsFull]). 0: 10,000;
	// negative: no limit.
	MaxSockets int

	// Sockets holds the defaults for the type's sockets. A zero field stands
	// for that of Options.Sockets.
	Sockets SocketOptions
}

// defaultMaxSockets is the default of ObjectOptions.MaxSockets.
const defaultMaxSockets = 10_000

// ReplicaOptions configures a type that embeds [Replica]. The fields are those
// of [ObjectOptions]. The number of sockets of a replica is limited by its
// group's Limit.
type ReplicaOptions[T any] struct {
	New              func() *T
	Schema           Schema
	AllowNewerSchema bool
	Hibernate        bool
	RollbackOnError  bool
	Sockets          SocketOptions
}

// SocketOptions configures a socket. A zero field stands for the runtime's
// default (Options.Sockets). In Options.Sockets it stands for the default given
// below. An option that is on there cannot be turned off here. No size and no
// time may be negative, except PingInterval.
type SocketOptions struct {
	// UID is the uid of the client, for an object that determines it itself.
	// The rules are those of [GroupStub.Identify]. A replica's sockets count
	// for the uid that was identified. Default: [UID] of the request.
	UID string

	// Attachment is kept with the socket as by [Socket.SetAttachment]. Default:
	// none.
	Attachment any

	// Subprotocols lists the subprotocols that the server speaks, in order of
	// preference. The first one that the client also offers is chosen. The
	// comparison ignores case. [Socket.Subprotocol] returns it as written here.
	// The response has the client's spelling, because clients accept only what
	// they have offered. Default: none.
	Subprotocols []string

	// OriginPatterns lists further hosts whose pages may connect, in addition
	// to the host that serves the request. A pattern has the form of
	// [path.Match], such as "*.example.com", and includes the scheme if it
	// contains "://". Default: none; other origins get 403.
	OriginPatterns []string

	// AllowAnyOrigin turns off the origin check. Use it only for endpoints
	// without cookies or other ambient authority.
	AllowAnyOrigin bool

	// MaxMessage is the maximum size of a client's message in bytes. A larger
	// message closes the socket with 1009. Default: 64 KiB.
	MaxMessage int64

	// QueueBytes is the maximum number of bytes of messages, before
	// compression, that wait because the client does not take them. A message
	// longer than that never fits.
	//
	// A client is slow when more than QueueBytes waits and it has taken nothing
	// for a second, or for its reading time if that is longer. So neither a
	// burst, a replay nor a thin line makes a client slow. Until then, and
	// while a client takes something all the time, up to 8 MiB more may wait.
	// With DropOldest, whose messages should be fresh, a client is slow when
	// its queue has been over QueueBytes and has not been empty for a second.
	// Stats may count up to 1 MiB more, for messages that the machine has not
	// processed yet.
	//
	// On TCP, TLS over TCP and Unix sockets on Linux, a client takes the bytes
	// that its side has acknowledged. There its system takes messages before
	// the client reads them. When the system has no room for more, it reports
	// nothing until the client has read much of them. A client on these
	// connections therefore has a reading time: the time it takes to read the
	// bytes that its system has acknowledged (over Unix sockets, the bytes that
	// wait there, up to 64 KiB), up to 512 KiB, at 4 KiB a second, or at 40 KiB
	// in each WriteTimeout if that is faster. A client that never reads has
	// acknowledged as much as its system's buffer holds, by default about 100
	// KiB on Linux. It is slow after some 30 s. The maximum is 128 s. A client
	// whose system has room but does not answer has no reading time.
	//
	// On other connections a client takes the bytes that are written (in pieces
	// of 4 KiB), and less than 4 KiB a second counts as nothing.
	//
	// Default: 256 KiB.
	//
	// In addition, QueueBytes and 1 MiB may be held until the object's earlier
	// writes are durable. After that, Send returns ErrHeldBack. The same limit,
	// with the runtime's default of QueueBytes, applies to the messages that
	// one object sends to many sockets.
	QueueBytes int

	// Slow is the policy for a slow client, and for a message for which the 8
	// MiB do not suffice. Default: DisconnectSlow.
	Slow SlowPolicy

	// WriteTimeout is how long a client may take nothing while something waits
	// for it, including the response of the handshake. If the client's reading
	// time (see QueueBytes) is longer, that applies instead. Then the client is
	// disconnected (1006, [ErrSlowConsumer]), up to 1/16 of WriteTimeout later
	// and never earlier. So a client that keeps reading 4 KiB a second, and 40
	// KiB in each WriteTimeout, is never disconnected. Neither is a slower one
	// whose system reports more often that it reads. Default: 10 s.
	WriteTimeout time.Duration

	// PingInterval is how often a silent client is pinged, and how long it has
	// to answer. The first ping is sent between 7/8 of the interval and one
	// interval after the client's last byte. After that, one ping is sent every
	// interval. Answers to pings do not delay the next one. A client from which
	// nothing arrives within the interval after a ping is disconnected (1006),
	// which is between 1 7/8 and two intervals after its last byte.
	//
	// So no connection is idle for longer than the interval. A proxy in between
	// needs an idle timeout a few seconds longer. The default suits HAProxy as
	// configured by Debian (50 s) and nginx (60 s). A proxy that cuts after 20
	// s needs 15 s here.
	//
	// An answer is not due
	//
	//   - while it may lie unread because the client's handler runs;
	//   - while messages that arrived before the ping are being taken, after
	//     which the interval starts again;
	//   - while the client may be reading messages sent since it last answered:
	//     it gets one more interval for each interval that this takes at 4 KiB
	//     a second, up to 512 KiB.
	//
	// While a handler runs, pings go on over TCP, TLS and Unix sockets, but not
	// over connections of other types.
	//
	// Default: 25 s; negative: no pings.
	PingInterval time.Duration

	// CloseTimeout is the time limit for closing, whichever side starts it. The
	// client gets this long to take the messages sent before and the close
	// frame, to answer the close frame, and to hang up. Then the connection is
	// closed. If the client starts closing, messages that the object has sent
	// and its gate still holds first get the same time to become durable.
	// Default: 5 s.
	CloseTimeout time.Duration

	// AutoRequest is a text message that is answered with AutoReply without
	// waking the object, such as "ping" and "pong". Each is at most 2,048 bytes
	// of UTF-8, and each requires the other. Default: none.
	AutoRequest, AutoReply string

	// Compression lets clients that offer permessage-deflate (RFC 7692) send
	// compressed messages. It also compresses messages of 512 bytes or more to
	// these clients. A message is compressed once for all of them, so no
	// compression context is kept from one message to the next. Compression is
	// worth its cost for large texts over slow networks. MaxMessage applies to
	// the size after decompression.
	//
	// Do not use it for messages that contain both a secret and data that an
	// attacker may choose: their length reveals information about the secret
	// (the BREACH attack). Default: off.
	Compression bool

	// Tags mark the socket for [Object.Sockets]. A socket has at most 10
	// distinct tags of at most 256 bytes each.
	Tags []string
}

// SlowPolicy is the treatment of a client that does not take its messages, and
// of the messages beyond QueueBytes that wait for it. QueueBytes documents when
// a client is slow.
type SlowPolicy int

const (
	// DisconnectSlow drops the waiting messages and closes the socket with
	// 1008.
	DisconnectSlow SlowPolicy = iota + 1
	// DropOldest drops the oldest waiting messages until QueueBytes remain.
	DropOldest
	// CoalesceSlow replaces a waiting message by a newer one with the same key
	// (see [Coalesce]), which goes to the end of the queue. It does so whether
	// or not the client is slow. If that is not enough, it acts like
	// DisconnectSlow.
	CoalesceSlow
)

// maxAutoBytes is the maximum size of each side of an auto-response, as in
// Durable Objects.
const maxAutoBytes = 2048

// check returns an error if a time or a size is negative and must not be.
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

// checkDefaults is like check, for the defaults of sockets.
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

// checkSigns is like check, for the options of a socket.
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

// over returns o, with base's values for the fields that are not set in o.
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
