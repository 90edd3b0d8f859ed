package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Options configures a client. A zero field stands for its default. [New]
// returns [ErrInvalid] for a negative size or time.
type Options struct {
	// Session identifies the client to the server, which handles each message
	// of a session once: 8 to 64 letters, digits, - or _. Two clients must not
	// use the same session at a time. The default is random.
	Session string

	// After is the position to resume from: that of the last event that the
	// program has handled. Nil means new messages only, and "" all messages
	// that the server has kept.
	After *string

	// SavePosition, if set, is called with the position of an event after the
	// event has been handled, which is when the next one is received. It runs
	// in Receive, which returns its error and calls it again the next time.
	SavePosition func(ctx context.Context, position string) error

	// OnCommand, if set, carries out the commands that the server has queued
	// for this client (package outbox), one at a time and in their order. Its
	// result is the reply, encoded as by Send. An error means that the command
	// cannot be carried out, unless it is one of Retry. ctx ends when the
	// client is closed or the command expires. OnCommand must not call Close.
	//
	// A command may arrive again, if the reply to it was lost. The client
	// remembers the commands that this process has done. For those of earlier
	// processes see LastCommand.
	OnCommand func(ctx context.Context, c Command) (reply any, err error)

	// LastCommand is the last command that has been carried out, and LastReply
	// its reply. Commands of its epoch up to it are not carried out again. A
	// program that stores both together with the effect of the command, and
	// passes them here when it starts, has each effect exactly once. Without
	// them, a command may be carried out twice.
	LastCommand CommandID
	LastReply   any

	// Token, if set, is called before each attempt to connect. Its result is
	// sent as the header Authorization: Bearer. An error is a failed attempt.
	Token func(ctx context.Context) (string, error)

	// Header is sent with each attempt to connect.
	Header http.Header

	// HTTPClient makes the connections. The default is http.DefaultClient.
	HTTPClient *http.Client

	// OnState, if set, is called when the state changes, with the error that
	// ended the connection or the attempt to connect. It must not block, and
	// must not call Close.
	OnState func(state State, err error)

	// MaxAge is how long a message may wait before it is first sent. The
	// default is one minute.
	MaxAge time.Duration

	// QueueMessages and QueueBytes limit the messages that wait to be sent or
	// acknowledged, and separately the received ones that wait for Receive,
	// before the client stops reading. The defaults are 1,000 and 1 MiB.
	QueueMessages int
	QueueBytes    int

	// ReadLimit is the maximum size of a message from the server. A larger one
	// ends the connection. The default is 16 MiB.
	ReadLimit int64
}

const (
	defaultMaxAge        = time.Minute
	defaultQueueMessages = 1000
	defaultQueueBytes    = 1 << 20
	defaultReadLimit     = 16 << 20
)

// State is the state of a client's connection.
type State int

// The states of a connection.
const (
	Connecting State = iota + 1 // an attempt is in progress
	Open                        // the server's first frame has arrived
	Waiting                     // for the next attempt
	Closed                      // for good
)

// String returns the name of the state in lower case.
func (s State) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case Open:
		return "open"
	case Waiting:
		return "waiting"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

var sessionForm = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)

// maxPosition is the maximum length of a position.
const maxPosition = 34

// withDefaults returns the options with the defaults in place of zeros.
func (o Options) withDefaults() (Options, error) {
	invalid := func(format string, args ...any) (Options, error) {
		return Options{}, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	switch {
	case o.Session == "":
		o.Session = uuid.NewString()
	case !sessionForm.MatchString(o.Session):
		return invalid("the session %.80q", o.Session)
	}
	if o.After != nil {
		if len(*o.After) > maxPosition {
			return invalid("the position %.80q", *o.After)
		}
		o.After = new(*o.After)
	}
	switch {
	case o.MaxAge < 0:
		return invalid("MaxAge is %v", o.MaxAge)
	case o.QueueMessages < 0:
		return invalid("QueueMessages is %d", o.QueueMessages)
	case o.QueueBytes < 0:
		return invalid("QueueBytes is %d", o.QueueBytes)
	case o.ReadLimit < 0:
		return invalid("ReadLimit is %d", o.ReadLimit)
	}
	if o.MaxAge == 0 {
		o.MaxAge = defaultMaxAge
	}
	if o.QueueMessages == 0 {
		o.QueueMessages = defaultQueueMessages
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = defaultQueueBytes
	}
	if o.ReadLimit == 0 {
		o.ReadLimit = defaultReadLimit
	}
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	o.Header = o.Header.Clone()
	return o, nil
}

// parseURL checks the address of a server.
func parseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch strings.ToLower(u.Scheme) {
	case "ws", "wss", "http", "https":
	default:
		return nil, fmt.Errorf("%w: the scheme of %q is not ws, wss, http or https", ErrInvalid, u.Redacted())
	}
	if u.Host == "" {
		return nil, fmt.Errorf("%w: %q has no host", ErrInvalid, u.Redacted())
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}
