package main

import (
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/godurable/dog"
)

// limiter passes requests on to next, within a limit for each key.
type limiter struct {
	buckets *dog.Namespace[Bucket]
	key     func(*http.Request) string
	next    http.Handler
}

// newLimiter returns a handler that limits the requests of each key to next.
func newLimiter(rt *dog.Runtime, limit Limit, key func(*http.Request) string, next http.Handler) (http.Handler, error) {
	buckets, err := register(rt, limit)
	if err != nil {
		return nil, err
	}
	return &limiter{buckets, key, next}, nil
}

func (l *limiter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, err := dog.Call0(r.Context(), l.buckets.Named(l.key(r)), (*Bucket).Take)
	if err != nil {
		slog.Error("cannot decide on a request", "error", err)
		dog.WriteError(w, err)
		return
	}
	w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(d.Remaining))
	if !d.Allowed {
		w.Header().Set("Retry-After", seconds(d.Wait))
		http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
		return
	}
	l.next.ServeHTTP(w, r)
}

// seconds formats a duration in whole seconds. It rounds up, so that a client
// that waits this long gets a token.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// clientIP is the key that main uses. A value that clients choose themselves,
// such as a header, is a poor key, because a client can choose another.
func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	return host
}
