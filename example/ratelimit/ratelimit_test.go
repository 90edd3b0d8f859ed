package main

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a service whose requests are limited.
type service struct {
	t   *testing.T
	rt  *dog.Runtime
	srv *dogtest.Server
}

// open starts a service that permits each key, named by the query, three
// requests at once and then one every ten seconds.
func open(t *testing.T, disk dog.Store) *service {
	t.Helper()
	rt := dogtest.New(t, dog.Options{Store: disk})
	key := func(r *http.Request) string { return r.URL.Query().Get("key") }
	handler, err := newLimiter(rt, Limit{Burst: 3, Every: 10 * time.Second}, key, http.HandlerFunc(greet))
	require.NoError(t, err)
	return &service{t, rt, dogtest.Serve(t, handler)}
}

// get makes a request and returns how many may follow at once. If the request
// is refused, it returns -1 and the seconds to wait.
func (s *service) get(key string) (remaining, wait int) {
	s.t.Helper()
	answer, err := s.srv.Client().Get(dogtest.URL + "/?key=" + key)
	require.NoError(s.t, err)
	require.NoError(s.t, answer.Body.Close())
	remaining, err = strconv.Atoi(answer.Header.Get("X-RateLimit-Remaining"))
	require.NoError(s.t, err)
	if answer.StatusCode == http.StatusOK {
		require.Empty(s.t, answer.Header.Get("Retry-After"))
		return remaining, 0
	}
	require.Equal(s.t, http.StatusTooManyRequests, answer.StatusCode)
	require.Zero(s.t, remaining)
	wait, err = strconv.Atoi(answer.Header.Get("Retry-After"))
	require.NoError(s.t, err)
	return -1, wait
}

func (s *service) requireAllowed(key string, remaining int) {
	s.t.Helper()
	got, _ := s.get(key)
	require.Equal(s.t, remaining, got)
}

func (s *service) requireRefused(key string, wait int) {
	s.t.Helper()
	got, seconds := s.get(key)
	require.Equal(s.t, -1, got)
	require.Equal(s.t, wait, seconds)
}

// empty takes all tokens of a key.
func (s *service) empty(key string) {
	s.t.Helper()
	for remaining := 2; remaining >= 0; remaining-- {
		s.requireAllowed(key, remaining)
	}
}

func TestLimit_AllowsABurstThenTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		s.empty("ada")
		s.requireRefused("ada", 10)
		time.Sleep(3500 * time.Millisecond)
		s.requireRefused("ada", 7) // rounded up
		time.Sleep(6500 * time.Millisecond)
		s.requireAllowed("ada", 0)
		s.requireRefused("ada", 10)
		time.Sleep(time.Hour)
		s.empty("ada")
		s.requireRefused("ada", 10)
	})
}

func TestLimit_RefusedRequestTakesNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		s.empty("ada")
		for range 100 {
			s.requireRefused("ada", 10)
		}
		time.Sleep(10 * time.Second)
		s.requireAllowed("ada", 0)
	})
}

func TestLimit_IsPerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, nil)
		s.empty("ada")
		s.empty("bob")
		s.requireRefused("ada", 10)
	})
}

// A bucket that cannot be addressed lets nobody through.
func TestLimit_RefusesRequestsWithoutAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status, body := open(t, nil).srv.Get("/")
		require.Equal(t, http.StatusBadRequest, status)
		require.NotContains(t, body, "hello")
	})
}

// hour is a limit that outlasts eviction.
var hour = Limit{Burst: 2, Every: time.Hour}

func newBuckets(t *testing.T, disk dog.Store, limit Limit) *dog.Namespace[Bucket] {
	t.Helper()
	buckets, err := register(dogtest.New(t, dog.Options{Store: disk}), limit)
	require.NoError(t, err)
	return buckets
}

func take(t *testing.T, buckets *dog.Namespace[Bucket]) Decision {
	t.Helper()
	d, err := dog.Call0(context.Background(), buckets.Named("ada"), (*Bucket).Take)
	require.NoError(t, err)
	return d
}

func requireObjects(t *testing.T, buckets *dog.Namespace[Bucket], live, stored bool) {
	t.Helper()
	isLive, isStored := false, false
	for entry, err := range buckets.List(t.Context(), dog.ObjectListOptions{}) {
		require.NoError(t, err)
		isLive, isStored = entry.Live, entry.Stored
	}
	require.Equal(t, live, isLive, "live")
	require.Equal(t, stored, isStored, "stored")
}

func TestBucket_SurvivesEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buckets := newBuckets(t, dogtest.NewDisk(t), hour)
		take(t, buckets)
		requireObjects(t, buckets, true, false)
		time.Sleep(10 * time.Minute)
		requireObjects(t, buckets, false, true)
		require.Equal(t, Decision{Allowed: true}, take(t, buckets))
		require.Equal(t, Decision{Wait: 50 * time.Minute}, take(t, buckets))
	})
}

func TestBucket_IsDeletedWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buckets := newBuckets(t, dogtest.NewDisk(t), hour)
		take(t, buckets)
		time.Sleep(59 * time.Minute)
		requireObjects(t, buckets, false, true)
		time.Sleep(10 * time.Minute)
		requireObjects(t, buckets, false, false)
		require.Equal(t, 1, take(t, buckets).Remaining)

		quick := newBuckets(t, dogtest.NewDisk(t), Limit{Burst: 2, Every: time.Second})
		take(t, quick)
		time.Sleep(5 * time.Minute)
		requireObjects(t, quick, false, false)
	})
}

func TestBucket_SurvivesARestartButNotACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		rt, err := dog.New(dog.Options{Store: disk})
		require.NoError(t, err)
		buckets, err := register(rt, hour)
		require.NoError(t, err)
		take(t, buckets)
		take(t, buckets)
		require.NoError(t, rt.Shutdown(t.Context()))

		buckets = newBuckets(t, disk, hour)
		require.Equal(t, Decision{Wait: time.Hour}, take(t, buckets))
		time.Sleep(time.Hour)
		require.True(t, take(t, buckets).Allowed)
		disk.Crash()
		require.True(t, take(t, newBuckets(t, disk, hour)).Allowed)
	})
}

func TestLimit_CapsTokensWhenMadeStricter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		rt, err := dog.New(dog.Options{Store: disk})
		require.NoError(t, err)
		buckets, err := register(rt, hour)
		require.NoError(t, err)
		take(t, buckets)
		require.NoError(t, rt.Shutdown(t.Context()))
		buckets = newBuckets(t, disk, Limit{Burst: 1, Every: time.Minute})
		require.Equal(t, Decision{Wait: time.Minute}, take(t, buckets))
	})
}

// Whenever requests come, no span of time has more of them than its limit, and
// a client that waits as long as the response requires is let through.
func TestLimit_HoldsInEveryInterval(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := Limit{Burst: rapid.IntRange(1, 5).Draw(rt, "burst"), Every: time.Second}
		pauses := rapid.SliceOf(rapid.IntRange(0, 2500)).Draw(rt, "pauses in ms")
		synctest.Test(t, func(t *testing.T) {
			b := &Bucket{limit: limit}
			take := func() Decision {
				d, err := b.Take(t.Context())
				require.NoError(t, err)
				return d
			}
			var allowed []time.Time
			for _, pause := range pauses {
				time.Sleep(time.Duration(pause) * time.Millisecond)
				if d := take(); !d.Allowed {
					time.Sleep(d.Wait - time.Nanosecond)
					require.False(t, take().Allowed, "a moment too early")
					time.Sleep(time.Nanosecond)
					require.True(t, take().Allowed)
				}
				allowed = append(allowed, time.Now())
			}
			for i, from := range allowed {
				for j, to := range allowed[i:] {
					require.LessOrEqual(t, j+1, limit.Burst+int(to.Sub(from)/limit.Every))
				}
			}
		})
	})
}

func TestLimit_KeysClientsByAddress(t *testing.T) {
	require.Equal(t, "192.0.2.1", clientIP(&http.Request{RemoteAddr: "192.0.2.1:4711"}))
	require.Equal(t, "2001:db8::1", clientIP(&http.Request{RemoteAddr: "[2001:db8::1]:4711"}))
	require.Equal(t, "unknown", clientIP(&http.Request{RemoteAddr: "pipe"}))
}
