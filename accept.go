package dog

import (
	"cmp"
	"net/http"
	"path"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/godurable/dog/internal/conn"
)

var errLate = misuse("Connect", "Receive has returned already")

// connect is [Object.Connect]. If it returns an error, it has written a
// response to the client.
func (c *core) connect(w http.ResponseWriter, req *http.Request, options *SocketOptions) (*Socket, error) {
	o, err := c.speaker()
	fail := func(err error) (*Socket, error) {
		WriteError(w, err)
		o.refused(err)
		return nil, err
	}
	if err != nil {
		return fail(err)
	}
	a := arrivalOf(req.Context())
	if a.event == nil || a.event.Owner() != c.inst {
		return fail(misuse("Connect", "the request is not the one that Receive got"))
	}
	v := &a.visit
	if v.over() {
		return fail(errLate)
	}
	rt := o.runtime()
	if rt.work.Closed() {
		return fail(ErrShutdown)
	}
	special := options
	if special == nil {
		special = &SocketOptions{}
	}
	opts := special.over(o.ns.sockets)
	var attachment []byte
	err = cmp.Or(special.checkSigns(), opts.check())
	if err == nil && opts.Attachment != nil {
		attachment, err = encodeAttachment(opts.Attachment)
	}
	if err != nil {
		o.log().Error("WebSocket refused: its options are wrong", "error", err)
		return fail(err)
	}
	uid := cmp.Or(opts.UID, v.uid)
	if o.member != nil && uid != v.uid {
		return fail(misuse("Connect", "the socket of a replica has the uid %q that was identified, not %q", v.uid, uid))
	}
	if uid != "" {
		if err := checkUID(uid); err != nil {
			return fail(err)
		}
	}
	set := o.socketSet()
	if !set.reserve(o.ns.maxSockets) {
		return fail(ErrSocketsFull)
	}
	connected := false
	defer func() {
		if !connected { // even if a method of w panics
			set.unreserve()
		}
	}()
	var nc *conn.Conn
	a.answer.Handshake(func() { nc, err = conn.Accept(w, req, o.ns.accept(special)) })
	if err != nil {
		o.refused(err)
		return nil, err
	}
	s := newSocket(c.inst, uid, nc, opts.Tags)
	s.attachment = attachment
	if !v.passOn(s) {
		nc.Abort(ErrSocketClosed)
		_, _, _ = nc.Read() // fails, and releases the connection
		nc.Wait()
		return nil, errLate
	}
	connected = true
	rt.work.Add() // until finish
	set.enter(s)
	o.gate.Say(func(lost error) {
		if lost != nil {
			s.lost.Store(true)
			go s.vanish(lost)
			return
		}
		s.join()
		nc.Start() // the client sees the connection only after all others do
		go s.serve()
	})
	return s, nil
}

// check validates the options that an application can get wrong.
func (o SocketOptions) check() error {
	distinct := slices.Compact(slices.Sorted(slices.Values(o.Tags)))
	if len(distinct) > maxTags || slices.ContainsFunc(distinct, func(tag string) bool { return len(tag) > maxTagBytes }) {
		return misuse("SocketOptions", "more than 10 distinct tags, or one over 256 bytes")
	}
	if o.Slow < 0 || o.Slow > CoalesceSlow {
		return misuse("SocketOptions", "unknown SlowPolicy %d", o.Slow)
	}
	if len(o.AutoRequest) > maxAutoBytes || len(o.AutoReply) > maxAutoBytes || !utf8.ValidString(o.AutoRequest+o.AutoReply) {
		return misuse("SocketOptions", "AutoRequest or AutoReply has more than 2,048 bytes, or is not UTF-8")
	}
	if (o.AutoRequest == "") != (o.AutoReply == "") {
		return misuse("SocketOptions", "AutoRequest and AutoReply need each other")
	}
	for _, pattern := range o.OriginPatterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return misuse("SocketOptions", "origin pattern %q: %v", pattern, err)
		}
	}
	return nil
}

// accept returns a socket's options for package conn. Sockets without special
// options share those of their type.
func (ns *namespace) accept(o *SocketOptions) *conn.Options {
	special := *o
	special.UID, special.Tags, special.Attachment = "", nil, nil
	if reflect.ValueOf(special).IsZero() {
		return ns.shared
	}
	return o.over(ns.sockets).accept(ns.rt)
}

func (o SocketOptions) accept(rt *Runtime) *conn.Options {
	policy := conn.Disconnect
	switch o.Slow {
	case DropOldest:
		policy = conn.DropOldest
	case CoalesceSlow:
		policy = conn.Coalesce
	}
	return &conn.Options{
		Subprotocols:       o.Subprotocols,
		OriginPatterns:     o.OriginPatterns,
		InsecureSkipVerify: o.AllowAnyOrigin,
		MaxMessage:         o.MaxMessage,
		QueueBytes:         o.QueueBytes,
		Slow:               policy,
		WriteTimeout:       o.WriteTimeout,
		CloseTimeout:       o.CloseTimeout,
		AutoRequest:        o.AutoRequest,
		AutoReply:          o.AutoReply,
		Compression:        o.Compression,
		Poller:             rt.poller,
		Heart:              rt.heart(o.PingInterval),
		Last:               func(c *conn.Conn) { c.Data.(*Socket).last() },
		Wake:               func(c *conn.Conn) { go c.Data.(*Socket).attend() },
	}
}
