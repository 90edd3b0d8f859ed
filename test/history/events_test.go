package history_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestEvents_FollowTheHistory(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		broadcast(t, v, "1", "{\n\"two\":\r\n2}", "three\nevent: data")
		s := follow(t, srv, "/?offset=-1&live=sse")
		first, _ := s.event()
		var wait int
		_, err := fmt.Sscanf(first.line, "retry: %d", &wait)
		require.NoError(t, err, first.line)
		require.True(t, wait >= 500 && wait < 2000)
		require.JSONEq(t, `[1, {"two": 2}, "three\nevent: data"]`, s.named("data").data)
		c := s.control()
		require.True(t, c.UpToDate)
		for i := 4; i < 10; i++ {
			time.Sleep(time.Second)
			broadcast(t, v, fmt.Sprint(i))
			require.JSONEq(t, fmt.Sprintf("[%d]", i), s.named("data").data)
			after := s.control()
			require.Greater(t, after.Next, c.Next)
			require.True(t, after.UpToDate)
			c = after
		}
	})
}

func TestEvents_BeginWithAPosition(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		broadcast(t, v, "1")
		last, err := v.History("").Position()
		require.NoError(t, err)
		for _, offset := range []string{"now", string(last)} {
			c := follow(t, srv, "/?live=sse&offset="+offset).control()
			require.Equal(t, string(last), c.Next)
			require.True(t, c.UpToDate)
		}
	})
}

func TestEvents_ContinueAfterTheLastEvent(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: dog.HistoryOptions{Count: 10}}, dog.Options{},
		func(t *testing.T, v *fixture.Owners) {
			srv := serveHistory(t, v, nil)
			const path = "/?offset=now&live=sse"
			s := follow(t, srv, path)
			s.control()
			broadcast(t, v, "1")
			require.JSONEq(t, "[1]", s.named("data").data)
			id := s.control().Next
			s.close()
			broadcast(t, v, "2", "3")
			s = follow(t, srv, path, "Last-Event-ID", id)
			require.JSONEq(t, "[2, 3]", s.named("data").data)
			s.close()
			broadcast(t, v, numbered(4, 20)...)
			r, _ := get(t, srv, path, "Last-Event-ID", id)
			require.Equal(t, 410, r.StatusCode)
		})
}

// An EventSource whose connection breaks after any byte of the response has
// each message once in the end.
func TestEvents_ContinueWhereverTheConnectionBreaks(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		const path = "/?offset=-1&live=sse"
		response := func(id string) string {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, dogtest.URL+path, nil)
			require.NoError(t, err)
			if id != "" {
				r.Header.Set("Last-Event-ID", id)
			}
			answer, err := srv.Client().Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(answer.Body)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return string(body)
		}
		broadcast(t, v, numbered(1, 5)...)
		whole := response("")
		require.Greater(t, len(whole), 100)
		broadcast(t, v, "6")
		rest := make(map[string]string) // by the id
		for cut := range len(whole) + 1 {
			e := new(eventSource)
			e.read(t, whole[:cut])
			if _, known := rest[e.id]; !known {
				rest[e.id] = response(e.id)
			}
			e.read(t, rest[e.id])
			require.Equal(t, []int{1, 2, 3, 4, 5, 6}, e.messages, "the connection breaks after %q", whole[:cut])
		}
		require.Len(t, rest, 2)
	})
}

// An eventSource handles events as a browser does: when their blank line has
// come.
type eventSource struct {
	id       string
	messages []int
}

func (e *eventSource) read(t *testing.T, text string) {
	t.Helper()
	complete := strings.SplitAfter(text, "\n\n")
	for _, block := range complete[:len(complete)-1] {
		s := &source{t: t, lines: bufio.NewScanner(strings.NewReader(block))}
		got, _ := s.event()
		if got.id != "" {
			e.id = got.id
		}
		if got.name == "data" {
			var batch []int
			require.NoError(t, json.Unmarshal([]byte(got.data), &batch))
			e.messages = append(e.messages, batch...)
		}
	}
}

func TestEvents_EndAfterAMinute(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		for _, busy := range []bool{false, true} {
			began := time.Now()
			s := follow(t, srv, "/?offset=now&live=sse")
			s.control()
			over := make(chan struct{})
			go func() {
				for tick := time.NewTicker(10 * time.Millisecond); busy; {
					select {
					case <-over:
						return
					case <-tick.C:
						_ = v.Broadcast(t.Context(), "x")
					}
				}
			}()
			comments := 0
			for e, more := s.event(); more; e, more = s.event() {
				if e.line == ":" {
					comments++
					require.Zero(t, time.Since(began)%(15*time.Second))
				}
			}
			close(over)
			require.Equal(t, time.Minute, time.Since(began).Round(time.Second))
			require.GreaterOrEqual(t, comments, 3)
			synctest.Wait()
		}
	})
}

// The position of a client moves, although messages to others do not concern
// it, so that its position does not expire.
func TestEvents_SkipMessagesToOthers(t *testing.T) {
	over(t, whispering, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		ada, srv := v.Enter("ada"), serveHistory(t, v, nil)
		began := time.Now()
		s := follow(t, srv, "/?offset=now&live=sse&u=eve")
		c := s.control()
		time.Sleep(time.Second)
		ada.Send("to myself")
		after := s.control()
		require.Equal(t, 15*time.Second, time.Since(began), "nothing tells of it earlier")
		require.Greater(t, after.Next, c.Next)
		require.True(t, after.UpToDate)
		e, _ := s.event()
		require.Equal(t, ":", e.line)
		broadcast(t, v, "to all")
		require.JSONEq(t, `["to all"]`, s.named("data").data)
	})
}
