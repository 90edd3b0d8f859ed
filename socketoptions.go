package dog

import (
	"cmp"
	"path"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/wire"
)

// SocketOptions configures a socket. A zero field gets its value from the
// options of the type (field Sockets). If it is zero there too, it gets the
// value of the runtime (Options.Sockets), and then the default given below. An
// empty list that is not nil counts as set. No size and no time may be
// negative, except PingInterval.
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
	// The response has the client's spelling, because clients accept only a
	// subprotocol that they have offered. Default: none.
	Subprotocols []string

	// OriginPatterns lists further hosts whose pages may connect, in addition
	// to the host that serves the request. A pattern has the form of
	// [path.Match], such as "*.example.com", and includes the scheme if it
	// contains "://". "*" stands for all origins. Use it only for endpoints
	// without cookies or other ambient authority. Default: none; other origins
	// get 403.
	OriginPatterns []string

	// MaxMessage is the maximum size of a client's message in bytes. A larger
	// message closes the socket with 1009. Default: 64 KiB.
	MaxMessage int64

	// QueueBytes is the maximum number of bytes of messages, before
	// compression, that wait because the client does not take them. A message
	// longer than that never fits.
	//
	// A client is slow when more than QueueBytes waits and it has taken nothing
	// for a second, or for its reading time if that is longer. So a client does
	// not become slow by a burst, by a replay or on a narrow connection. Until
	// then, and while a client keeps taking bytes, up to 8 MiB more may wait.
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
	// one object sends to many sockets. The limit of a response is 16 MiB.
	QueueBytes int

	// Slow is the policy for a slow client, and for a message that has no room
	// within QueueBytes and the 8 MiB more that may wait. Default: CatchUp for
	// a type with a History, otherwise DisconnectSlow.
	Slow SlowPolicy

	// WriteTimeout is how long a client may take nothing while something waits
	// for it, including the response of the handshake. If the client's reading
	// time (see QueueBytes) is longer, that applies instead. Then the client is
	// disconnected (1006, [ErrSlowConsumer]), up to 1/16 of WriteTimeout later
	// and never earlier. So a client that keeps reading 4 KiB a second, and 40
	// KiB in each WriteTimeout, is never disconnected. A slower client is not
	// disconnected either, if its system acknowledges some bytes in each
	// WriteTimeout. Default: 10 s.
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
	// No answer is due
	//
	//   - while it may lie unread because the client's handler runs;
	//   - while messages that arrived before the ping are being taken, after
	//     which the interval starts again;
	//   - while the client may still be reading messages sent since its last
	//     answer. It has as many more intervals as it needs to read them, up to
	//     512 KiB, at 4 KiB a second.
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

	// With CompressionOn, clients that offer permessage-deflate (RFC 7692) send
	// compressed messages, and get messages of 512 bytes or more compressed. A
	// message is compressed once for all of them, so no compression context is
	// kept from one message to the next. Compression is worth its cost for
	// large texts over slow networks. MaxMessage applies to the size after
	// decompression.
	//
	// Do not use it for messages that contain both a secret and data that an
	// attacker may choose: their length reveals information about the secret
	// (the BREACH attack). Default: CompressionOff.
	Compression Compression

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
	// CatchUp lets the client take kept messages from the history once they
	// exceed QueueBytes, so that its socket is never closed for being slow. It
	// needs a History, and is the default for types that have one. If messages
	// expire before the client has taken them, a client that speaks dog.v1 gets
	// a gap, and any other client is disconnected with 1008. Messages that are
	// not kept are treated as by DisconnectSlow. For clients that speak dog.v1,
	// CatchUp replaces the other policies.
	CatchUp
)

// Compression is whether the messages of a socket are compressed.
type Compression int

// The compressions. The zero value stands for the default.
const (
	CompressionOff Compression = iota + 1
	CompressionOn
)

// maxAutoBytes is the maximum size of each side of an auto-response, as in
// Durable Objects.
const maxAutoBytes = 2048

// checkDefaults is like check, for options that are the defaults of sockets.
func (o SocketOptions) checkDefaults() error {
	if o.UID != "" {
		return misuse("SocketOptions.UID", "it belongs to one socket: pass it to Connect")
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

// over returns o, with base's values for the fields that are not set in o.
func (o SocketOptions) over(base SocketOptions) SocketOptions {
	if o.Subprotocols == nil {
		o.Subprotocols = base.Subprotocols
	}
	if o.OriginPatterns == nil {
		o.OriginPatterns = base.OriginPatterns
	}
	o.Compression = cmp.Or(o.Compression, base.Compression)
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

// check validates the options that an application can get wrong.
func (o SocketOptions) check() error {
	distinct := slices.Compact(slices.Sorted(slices.Values(o.Tags)))
	if len(distinct) > maxTags ||
		slices.ContainsFunc(distinct, func(tag string) bool { return len(tag) > maxTagBytes }) {
		return misuse("SocketOptions", "more than 10 distinct tags, or one over 256 bytes")
	}
	if o.Slow < 0 || o.Slow > CatchUp {
		return misuse("SocketOptions", "unknown SlowPolicy %d", o.Slow)
	}
	if o.Compression < 0 || o.Compression > CompressionOn {
		return misuse("SocketOptions", "unknown Compression %d", o.Compression)
	}
	if len(o.AutoRequest) > maxAutoBytes || len(o.AutoReply) > maxAutoBytes ||
		!utf8.ValidString(o.AutoRequest+o.AutoReply) {
		return misuse("SocketOptions", "AutoRequest or AutoReply has more than 2,048 bytes, or is not UTF-8")
	}
	if (o.AutoRequest == "") != (o.AutoReply == "") {
		return misuse("SocketOptions", "AutoRequest and AutoReply must be set together")
	}
	for _, pattern := range o.OriginPatterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return misuse("SocketOptions", "origin pattern %q: %v", pattern, err)
		}
	}
	return nil
}

// A variant is a set of conditions on which the options for package conn
// depend.
type variant int

const (
	speaksV1 variant = 1 << iota // the client speaks dog.v1
	keeps                        // there is a history
	variants = 1 << iota
)

func (o SocketOptions) accept(ns *namespace, as variant) *conn.Options {
	rt := ns.rt
	policy, v1 := conn.Disconnect, as&speaksV1 != 0
	switch {
	case as&keeps != 0 && (v1 || o.Slow == 0 || o.Slow == CatchUp):
		policy = conn.CatchUp
	case o.Slow == DropOldest:
		policy = conn.DropOldest
	case o.Slow == CoalesceSlow:
		policy = conn.Coalesce
	}
	if v1 {
		o.Subprotocols = []string{wire.Protocol}
		o.AutoRequest, o.AutoReply = wire.Ping, wire.Pong
	}
	opts := conn.Options{
		Marked:         v1,
		Subprotocols:   o.Subprotocols,
		OriginPatterns: o.OriginPatterns,
		MaxMessage:     o.MaxMessage,
		QueueBytes:     o.QueueBytes,
		Slow:           policy,
		WriteTimeout:   o.WriteTimeout,
		CloseTimeout:   o.CloseTimeout,
		AutoRequest:    o.AutoRequest,
		AutoReply:      o.AutoReply,
		Compression:    o.Compression == CompressionOn,
		Poller:         rt.poller,
		Heart:          rt.heart(o.PingInterval),
		Traffic:        &ns.counts.traffic,
		Last:           func(c *conn.Conn) { c.Data.(*Socket).last() },
		Wake:           func(c *conn.Conn) { go c.Data.(*Socket).attend() },
	}
	return opts.WithDefaults()
}

// accept returns a socket's options for package conn. Sockets without special
// options share those of their type.
func (ns *namespace) accept(o *SocketOptions, as variant) *conn.Options {
	special := *o
	special.UID, special.Tags, special.Attachment = "", nil, nil
	if reflect.ValueOf(special).IsZero() {
		return ns.shared[as]
	}
	return o.over(ns.sockets).accept(ns, as)
}

// variant returns the variant of options for a socket of the object.
func (o *objectState) variant(v1 bool) (as variant) {
	if v1 {
		as |= speaksV1
	}
	if o.record() != nil {
		as |= keeps
	}
	return as
}

// checkSlow returns an error if a socket with these options cannot catch up.
func (o *objectState) checkSlow(opts SocketOptions) error {
	if opts.Slow == CatchUp && o.record() == nil {
		return misuse("SocketOptions.Slow", "CatchUp needs a History, which the object or its group does not have")
	}
	return nil
}
