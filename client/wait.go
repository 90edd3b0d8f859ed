package client

import (
	"net/http"
	"strconv"
	"time"
)

const (
	firstWait      = 500 * time.Millisecond // maximum wait after one failure; doubled after each further one
	longestWait    = 30 * time.Second
	longestWindow  = 24 * time.Hour   // maximum that a server can ask for
	forgetFailures = 10 * time.Second // a connection open for so long resets the failures

	attemptLimit = 10 * time.Second // for the connection and its hello
	silenceLimit = 25 * time.Second // until the client pings, if the server never does
	answerLimit  = 10 * time.Second // for the answer
	closeLimit   = time.Second      // for the server's answer to Close
)

// A window is a span of time to come back in.
type window struct{ from, to time.Duration }

// pick returns a time in the window for a random number in [0, 1).
func (w *window) pick(random float64) time.Duration {
	return w.from + time.Duration(random*float64(w.to-w.from))
}

// backOff returns the window after a number of failures in a row, not counting
// the last.
func backOff(failures int) *window {
	return &window{to: min(longestWait, firstWait<<min(failures, 10))}
}

// windowOf returns the window between two numbers of a unit that a server sent.
func windowOf(from, to float64, unit time.Duration) *window {
	bound := func(n float64) time.Duration {
		return time.Duration(min(max(n*float64(unit), 0), float64(longestWindow)))
	}
	return &window{from: bound(from), to: max(bound(from), bound(to))}
}

// retryAfter returns the window of the header Retry-After, nil if there is
// none.
func retryAfter(header http.Header, now time.Time) *window {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return windowOf(float64(seconds), float64(seconds), time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		seconds := at.Sub(now).Seconds()
		return windowOf(seconds, seconds, time.Second)
	}
	return nil
}
