package dog

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/object"
)

var errLate = misuse("Connect", "Receive has returned already")

// connect is [Object.Connect]. If it returns an error, it has written a
// response to the client.
func (c *core) connect(w http.ResponseWriter, req *http.Request, options *SocketOptions) (*Socket, error) {
	o, err := c.running()
	fail := func(err error) (*Socket, error) {
		WriteError(w, err)
		o.refused(err)
		return nil, err
	}
	if err != nil {
		return fail(err)
	}
	a := inboundOf(req.Context())
	if a.event == nil || object.LifeOf(a.event) != c.life() {
		return fail(misuse("Connect", "the request is not the one that Receive got"))
	}
	slot := &a.slot
	if slot.over() {
		return fail(errLate)
	}
	rt := o.runtime()
	if rt.host.Work.Closed() {
		return fail(ErrShutdown)
	}
	special := options
	if special == nil {
		special = &SocketOptions{}
	}
	opts := special.over(o.ns.sockets)
	var attachment []byte
	v1, err := v1Of(req)
	if err != nil {
		return fail(err)
	}
	book, err := o.sessionBook(v1)
	if err != nil {
		return fail(err)
	}
	err = cmp.Or(special.checkSigns(), opts.check(), o.checkSlow(opts))
	if err == nil && opts.Attachment != nil {
		attachment, err = encodeAttachment(opts.Attachment)
	}
	if err != nil {
		o.Log().Error("WebSocket refused: its options are wrong", "error", err)
		return fail(err)
	}
	uid := cmp.Or(opts.UID, slot.uid)
	if o.replica != nil && uid != slot.uid {
		return fail(
			misuse("Connect", "the socket of a replica has the uid %q that was identified, not %q", slot.uid, uid),
		)
	}
	var set *socketSet
	connected := false
	defer func() {
		if set != nil && !connected { // even if a method of w panics
			set.unreserve()
		}
	}()
	admit := func() error {
		if uid != "" {
			if err := checkUID(uid); err != nil {
				return err
			}
		}
		if s := o.socketSet(); s.reserve(o.ns.maxSockets) {
			set = s
			return nil
		}
		return ErrSocketsFull
	}
	var nc *conn.Conn
	a.answer.Handshake(func() { nc, err = conn.AcceptIf(w, req, o.ns.accept(special, o.variant(v1 != nil)), admit) })
	if _, refused := errors.AsType[*conn.HandshakeError](err); refused {
		o.refused(err) // the client has its response
		return nil, err
	} else if err != nil {
		return fail(err)
	}
	s := newSocket(c.life(), uid, nc, opts.Tags)
	s.attachment = attachment
	if v1 != nil {
		v1.ping, v1.max = max(opts.PingInterval, 0), opts.MaxMessage
		s.v1 = newV1Client(v1)
	}
	if book != nil {
		s.v1.link = book.Open(v1.Session, unixNow(), o.objectState, (*sessionClient)(s))
	}
	if !slot.passOn(s) { // others have the socket from here on
		s.closeSession()
		nc.Abort(ErrSocketClosed)
		_, _, _ = nc.Read() // fails, and releases the connection
		nc.Wait()
		return nil, errLate
	}
	connected = true
	rt.host.Work.Add() // until finish
	set.enter(s)
	err = o.gated(func(lost error) {
		if lost != nil {
			s.lost.Store(true)
			go s.vanish(lost)
			return
		}
		o.ns.counts.opened.Add(1)
		s.join(v1)
		nc.Start() // the client sees the connection only after all others do
		go s.serve()
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// upgrades reports whether a request may be passed to an object of the type. If
// all that the type does with requests is to connect, and this one asks for no
// WebSocket or comes from a page of another origin, upgrades refuses it. So
// such a request starts no object, and gets its own status even if there is no
// room.
func (ns *namespace) upgrades(w http.ResponseWriter, r *http.Request, log func() *slog.Logger) bool {
	if !ns.connects || ns.receives {
		return true
	}
	err := conn.Check(w, r, ns.shared[0])
	if err != nil {
		ns.refused(log(), err)
	}
	return err == nil
}

// refused logs that the object has refused a client. o is nil for an object
// that is not running.
func (o *objectState) refused(err error) {
	if o != nil {
		o.ns.refused(o.Log(), err)
	}
}

// refused counts and logs that a client was refused, with a remedy if the
// program has one. The client has its response.
func (ns *namespace) refused(log *slog.Logger, err error) {
	ns.countRefusal(HTTPStatus(err), reasonFor(err))
	reason, cure := refusal(err)
	if cure == "" {
		log.Debug("WebSocket refused", "error", err)
		return
	}
	if reason == noUpgrade {
		err = nil // it only names the header that is missing
	}
	ns.rt.refusals.Warn(log, ns.Name, "WebSocket refused: "+reason+". "+cure, err)
}

// refuse answers a request with an error, and counts that. An overload is
// logged, because the program can do something about it.
func (ns *namespace) refuse(w http.ResponseWriter, err error) { ns.refuseFor(w, err, reasonFor(err)) }

// refuseFor is refuse for an error that does not have its reason any more.
func (ns *namespace) refuseFor(w http.ResponseWriter, err error, reason RefusalReason) {
	if errors.Is(err, ErrOverloaded) {
		ns.rt.refusals.Warn(ns.rt.opts.Logger, ns.Name, overloaded, err, "namespace", ns.Name)
	}
	ns.countRefusal(HTTPStatus(err), reason)
	WriteError(w, err)
}

// refuseBody is refuse for a request whose body cannot be passed to a handler.
func (ns *namespace) refuseBody(w http.ResponseWriter, err error) {
	ns.countRefusal(http.StatusBadRequest, RefusedRequest)
	WriteError(w, &StatusError{Status: http.StatusBadRequest, Err: err})
}

// noUpgrade is the reason for a request that is an ordinary one.
const noUpgrade = "the request does not ask for a WebSocket"

// overloaded is logged when a request is refused with ErrOverloaded.
const overloaded = "request refused: an object is overloaded. " +
	"Let slow handlers wait in Await, or raise MaxWaiting or MaxObjects (Options)"

// refusal returns the reason why a client was refused and the remedy that the
// program has, or "" if there is none.
func refusal(err error) (reason, cure string) {
	var handshake *conn.HandshakeError
	switch {
	case errors.Is(err, ErrInvalidName):
		return "its uid is invalid", "Set the uid of clients: SocketOptions.UID, Stub.WithUID"
	case errors.Is(err, ErrSocketsFull):
		return "the object is full", "Raise MaxSockets (ObjectOptions), or spread clients over replicas with a Group"
	case !errors.As(err, &handshake):
		return "", ""
	}
	switch handshake.Status {
	case http.StatusForbidden:
		return "its page is of another origin", "Add the page's host to SocketOptions.OriginPatterns if it may connect"
	case http.StatusUpgradeRequired, http.StatusMethodNotAllowed:
		return noUpgrade,
			"Give the type a Receive if it serves other requests too (IsUpgrade), " +
				"or let the proxy pass on the headers Connection and Upgrade"
	}
	return "", ""
}
