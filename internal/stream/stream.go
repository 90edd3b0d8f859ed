// Package stream speaks the read protocol of Durable Streams
// (github.com/durable-streams/durable-streams, PROTOCOL.md, sections 5.5 to 5.8
// and 9.1): it parses what a client asks for, and formats messages as a JSON
// array or as server-sent events.
//
// It does not know histories, what a position means, or how long a reader
// waits.
package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ErrMalformed is returned for a query that does not have the form that the
// protocol asks for.
var ErrMalformed = errors.New("dog: malformed query")

// The header fields of responses.
const (
	NextOffset = "Stream-Next-Offset"
	UpToDate   = "Stream-Up-To-Date"
	Cursor     = "Stream-Cursor"
)

// Mode is how a client reads.
type Mode int

// The modes.
const (
	CatchUp  Mode = iota // what is there
	LongPoll             // what is there, or else the next messages
	Events               // what is there and what follows, as server-sent events
)

// A Query is what a client asks for.
type Query struct {
	Mode  Mode
	After string // a position, as the client gave it; "": from the beginning
	Now   bool   // only what follows; After is ""

	least int64 // the least cursor to be returned
}

// Parse parses a request. The position of a client that reads events is that of
// the last event it has got, if it states one, since a browser repeats the URL
// of its first request.
func Parse(r *http.Request, now time.Time) (Query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Query{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	live, _, err := single(values, "live")
	if err != nil {
		return Query{}, err
	}
	var q Query
	switch live {
	case "":
	case "long-poll":
		q.Mode = LongPoll
	case "sse":
		q.Mode = Events
	default:
		return Query{}, fmt.Errorf("%w: live must be long-poll or sse", ErrMalformed)
	}
	offset, given, err := single(values, "offset")
	if err != nil {
		return Query{}, err
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" && q.Mode == Events {
		offset, given = last, true
	}
	switch {
	case !given && q.Mode != CatchUp:
		return Query{}, fmt.Errorf("%w: a live read needs an offset", ErrMalformed)
	case offset == "now":
		q.Now = true
	case offset != "-1":
		q.After = offset
	}
	return q, q.parseCursor(values, now)
}

// single returns a parameter that may be given at most once, and not as "".
func single(values url.Values, name string) (value string, given bool, err error) {
	switch all := values[name]; {
	case len(all) == 0:
		return "", false, nil
	case len(all) > 1:
		return "", false, fmt.Errorf("%w: more than one %s", ErrMalformed, name)
	case all[0] == "":
		return "", false, fmt.Errorf("%w: %s is empty", ErrMalformed, name)
	default:
		return all[0], true, nil
	}
}

// A cursor is the number of an interval since an instant that the protocol
// gives. A client returns it, so that the URL of its next request differs and
// no cache answers it with the response that it has got.
const (
	cursorInterval = 20 * time.Second
	cursorJitter   = 180     // intervals; an hour
	maxCursor      = 1 << 53 // the greatest integer that JavaScript knows
)

var cursorEpoch = time.Date(2024, time.October, 9, 0, 0, 0, 0, time.UTC)

func (q *Query) parseCursor(values url.Values, now time.Time) error {
	text, given, err := single(values, "cursor")
	if err != nil || !given {
		return err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxCursor {
		return fmt.Errorf("%w: a cursor is a number", ErrMalformed)
	}
	if n >= interval(now) {
		q.least = n + 1 + rand.Int64N(cursorJitter)
	}
	return nil
}

func interval(now time.Time) int64 { return max(int64(now.Sub(cursorEpoch)/cursorInterval), 0) }

// Cursor returns the cursor for a response.
func (q *Query) Cursor(now time.Time) string {
	return strconv.FormatInt(max(interval(now), q.least), 10)
}
