package dog

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/godurable/dog/internal/conn"
)

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
// so for another client. err is nil if the message says it all.
func (r *refusals) warn(log *slog.Logger, namespace, message string, err error) {
	switch {
	case !r.first(refusalKey{namespace, message}):
	case err == nil:
		log.Warn(message)
	default:
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

// refused logs that the object has refused a client. o is nil for an object
// that is not running.
func (o *objectState) refused(err error) {
	if o != nil {
		o.ns.refused(o.Log(), err)
	}
}

// refused logs that a client was refused, with a remedy if the program has one.
func (ns *namespace) refused(log *slog.Logger, err error) {
	reason, cure := refusal(err)
	if cure == "" {
		log.Debug("WebSocket refused", "error", err)
		return
	}
	if reason == noUpgrade {
		err = nil // it only names the header that is missing
	}
	ns.rt.refusals.warn(log, ns.Name, "WebSocket refused: "+reason+". "+cure, err)
}

// noUpgrade is the reason for a request that is an ordinary one.
const noUpgrade = "the request does not ask for a WebSocket"

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

// refused logs that a request with an invalid name or uid was refused.
func (a *address) refused(err error) {
	if a.refusal != nil {
		a.warn("request refused: the name of the object is invalid. "+
			"Check names that clients choose before Named, New or Parse", err)
		return
	}
	a.warn(
		"request refused: its uid is invalid. Pass the uid of the client: GroupStub.Identify, Stub.WithUID, a Gateway",
		err,
	)
}

// turnedAway logs that the group's Gateway has refused a request with err, and
// returns the error that the client gets.
func (a *address) turnedAway(err error) error {
	status := HTTPStatus(err)
	if _, chosen := errors.AsType[*StatusError](err); !chosen && status == http.StatusInternalServerError {
		a.warn("request refused by the gateway, with 403 since its error has no status. "+
			"Return a StatusError to choose the response", err)
		return &StatusError{Status: http.StatusForbidden, Err: err}
	}
	level := slog.LevelDebug // the program's own answer, such as 401 for each anonymous visitor
	if status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	a.log().Log(context.Background(), level, "request refused by the gateway", "error", err)
	return err
}

// warn logs why a request was refused, and the remedy, once a minute.
func (a *address) warn(message string, err error) {
	a.ns.rt.refusals.warn(a.log(), a.ns.Name, message, err)
}

func (a *address) log() *slog.Logger {
	return a.ns.rt.opts.Logger.With("namespace", a.ns.Name, "object", a.id.String())
}
