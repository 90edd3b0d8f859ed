package client

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned after [Client.Close].
	ErrClosed = errors.New("client: closed")

	// ErrInvalid is returned for a URL, options or a message that no server
	// could accept. The error that wraps it has the reason.
	ErrInvalid = errors.New("client: invalid argument")

	// ErrQueueFull is returned by [Client.Send] when too many messages, or too
	// many bytes, wait to be sent or acknowledged.
	ErrQueueFull = errors.New("client: too many messages wait")

	// ErrExpired is returned by [Client.Send] for a message that could not be
	// sent within Options.MaxAge.
	ErrExpired = errors.New("client: the message could not be sent in time")

	// ErrTooLarge is returned by [Client.Send] for a message that is larger
	// than the server or Options.QueueBytes allows.
	ErrTooLarge = errors.New("client: the message is too large")

	// ErrUncertain is returned by [Client.Send], together with the cause, for a
	// message that has left the client and was not acknowledged. The server may
	// have handled it. Every other error means that it has not.
	ErrUncertain = errors.New("client: the message may have been handled")
)

// A RefusedError is returned when the server does not want the client to come
// back. Either Status or Code is set.
type RefusedError struct {
	Status int    // of the response to the handshake: 400, 401, 403 or 404
	Code   int    // with which the server closed the connection: 4000 to 4099
	Reason string // with which the server closed the connection
}

// Error describes the refusal.
func (e *RefusedError) Error() string {
	switch {
	case e.Status != 0:
		return fmt.Sprintf("client: the server refused the connection with the status %d", e.Status)
	case e.Reason != "":
		return fmt.Sprintf("client: the server closed the connection for good with the code %d: %s", e.Code, e.Reason)
	}
	return fmt.Sprintf("client: the server closed the connection for good with the code %d", e.Code)
}

// Reasons why a connection ended. Options.OnState gets these errors, which may
// be wrapped.
var (
	errAttempt  = errors.New("client: no connection within 10 s")
	errSilent   = errors.New("client: the server does not answer")
	errProtocol = errors.New("client: the server does not speak dog.v1")
)
