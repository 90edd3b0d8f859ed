package dog

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

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
	if o.replica != nil && uid != v.uid {
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
	o.gate.Say(func(lost error) {
		if lost != nil {
			go s.vanish(lost)
			return
		}
		s.join()
		nc.Start() // the client sees the connection only after all others do
		go s.serve()
	})
	return s, nil
}

// refusalPause is the time between two log entries for the same reason to
// refuse clients of a namespace.
const refusalPause = time.Minute

// refusals logs why clients were refused. Each reason is logged once a minute
// for each namespace, since refused clients try again.
type refusals struct {
	mu     sync.Mutex
	logged map[refusalKey]time.Time // guarded by mu; bounded by the number of reasons
}

type refusalKey struct{ namespace, message string }

// warn logs why a client was refused, and the remedy, unless it has just done
// so for another client.
func (r *refusals) warn(log *slog.Logger, namespace, message string, err error) {
	if r.first(refusalKey{namespace, message}) {
		log.Warn(message, "error", err)
	}
}

// first reports whether the message should be logged now.
func (r *refusals) first(key refusalKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if at, found := r.logged[key]; found && now.Sub(at) < refusalPause {
		return false
	}
	if r.logged == nil {
		r.logged = make(map[refusalKey]time.Time)
	}
	r.logged[key] = now
	return true
}

// refused logs that the object has refused a client, with a remedy if the
// program has one. o is nil for an object that is not running.
func (o *object) refused(err error) {
	if o == nil {
		return
	}
	reason, cure := refusal(err)
	if cure == "" {
		o.log().Debug("WebSocket refused", "error", err)
		return
	}
	o.runtime().refusals.warn(o.log(), o.ns.name, "WebSocket refused: "+reason+". "+cure, err)
}

// refused logs that a request with an invalid name or uid was refused.
func (a *address) refused(err error) {
	message := "request refused: its uid is invalid. Pass the uid of the client: GroupStub.Identify, Stub.WithUID, a Gateway"
	if a.refusal != nil {
		message = "request refused: the name of the object is invalid. Check names that clients choose before Named, New or Parse"
	}
	log := a.ns.rt.opts.Logger.With("namespace", a.ns.name, "object", a.id.String())
	a.ns.rt.refusals.warn(log, a.ns.name, message, err)
}

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
		return "the request does not ask for a WebSocket", "Give the type a Receive if it serves other requests too (IsUpgrade)"
	}
	return "", ""
}
