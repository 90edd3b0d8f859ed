package history_test

import (
	"context"
	"encoding/json"
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

func TestHistory_HTTPCatchesUp(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		r, body := get(t, srv, "/")
		require.Equal(t, 200, r.StatusCode)
		require.Equal(t, "[]", body)
		start := next(r)
		broadcast(t, v, `{"n": 1}`, "not JSON <&>", "2", "")
		require.NoError(t, v.Broadcast(t.Context(), []byte{0, 255}))
		for _, path := range []string{"/", "/?offset=-1", "/?offset=" + start, "/?foo=bar"} {
			r, body = get(t, srv, path)
			require.Equal(t, 200, r.StatusCode)
			require.JSONEq(t, `[{"n": 1}, "not JSON <&>", 2, "", {"$base64": "AP8="}]`, body)
			require.Contains(t, body, `{"n": 1}`, "a JSON text stays as it is")
			require.Equal(t, "true", r.Header.Get("Stream-Up-To-Date"))
			require.Equal(t, "application/json", r.Header.Get("Content-Type"))
			require.Equal(t, "private, no-store", r.Header.Get("Cache-Control"))
			require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
			require.Empty(t, r.Header.Get("Stream-Cursor"))
		}
		last, err := v.History("").Position()
		require.NoError(t, err)
		require.Equal(t, string(last), next(r))
		r, body = get(t, srv, "/?offset="+next(r))
		require.Equal(t, "[]", body)
		require.Equal(t, string(last), next(r))
		r, body = get(t, srv, "/?offset=now")
		require.Equal(t, "[]", body)
		require.Equal(t, string(last), next(r))
		require.Empty(t, r.Header.Get("ETag"))

		for _, path := range []string{"/", "/?offset=now", "/?offset=-1&live=sse", "/?offset=now&live=long-poll"} {
			r, body = request(t, srv, http.MethodHead, path)
			require.Equal(t, 200, r.StatusCode)
			require.Empty(t, body)
			require.Equal(t, string(last), next(r))
			require.Equal(t, "private, no-store", r.Header.Get("Cache-Control"))
		}
	})
}

func TestHistory_HTTPRespondsInPieces(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 8 << 20}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		var want, got []string
		for i := range 200 {
			want = append(want, strings.Repeat(string(rune('a'+i%26)), 1000))
		}
		want = append(want, strings.Repeat("x", 200<<10), "last")
		broadcast(t, v, want...)
		requests := 0
		for at := "-1"; ; requests++ {
			r, body := get(t, srv, "/?offset="+at)
			var all []string
			require.NoError(t, json.Unmarshal([]byte(body), &all))
			require.True(t, len(body) < 70<<10 || len(all) == 1)
			got, at = append(got, all...), next(r)
			if r.Header.Get("Stream-Up-To-Date") == "true" {
				break
			}
		}
		require.Equal(t, want, got)
		require.Greater(t, requests, 3)

		var events []string
		for s := follow(t, srv, "/?offset=-1&live=sse"); ; {
			var all []string
			require.NoError(t, json.Unmarshal([]byte(s.named("data").data), &all))
			events = append(events, all...)
			if s.control().UpToDate {
				break
			}
		}
		require.Equal(t, want, events)
	})
}

func TestHistory_HTTPRefusesWhatIsMalformed(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		for _, query := range []string{
			"offset=", "offset=0,1", "offset=0%201", "offset=-2", "offset=Now", "offset=-1&offset=-1", "offset=%00",
			"offset=" + strings.Repeat("9", 10_000), "live=sse", "live=long-poll", "live=", "offset=-1&live=yes",
			"offset=-1&live=sse&live=sse", "offset=-1&live=long-poll&cursor=x", "offset=-1&live=long-poll&cursor=-1",
			"offset=-1&live=long-poll&cursor=99999999999999999999", "offset=%zz", "u=%0a",
		} {
			r, body := get(t, srv, "/?"+query)
			require.Equal(t, 400, r.StatusCode, "%.40s: %s", query, body)
			require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
		}
		r, _ := get(t, srv, "/?offset=now&live=sse", "Last-Event-ID", "nonsense")
		require.Equal(t, 400, r.StatusCode)
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			r, _ := request(t, srv, method, "/")
			require.Equal(t, 405, r.StatusCode)
			require.Equal(t, "GET, HEAD", r.Header.Get("Allow"))
		}
	})
}

func TestHistory_HTTPReportsAGap(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: dog.HistoryOptions{Count: 10}}, dog.Options{},
		func(t *testing.T, v *fixture.Owners) {
			srv := serveHistory(t, v, nil)
			start, err := v.History("").Position()
			require.NoError(t, err)
			broadcast(t, v, numbered(1, 30)...)
			for after, want := range map[string]string{
				string(start): "expired", "aaaaaaaaaaaa-a5": "epoch", string(start[:13]) + "c999": "ahead",
			} {
				for _, live := range []string{"", "&live=long-poll", "&live=sse"} {
					r, body := get(t, srv, "/?offset="+after+live)
					require.Equal(t, 410, r.StatusCode)
					var gap struct{ From, To, Why string }
					require.NoError(t, json.Unmarshal([]byte(body), &gap))
					require.Equal(t, want, gap.Why)
					require.Equal(t, after, gap.From)
					_, body = get(t, srv, "/?offset="+gap.To)
					require.JSONEq(t, "["+strings.Join(numbered(21, 30), ",")+"]", body)
				}
			}
		})
}

func TestHistory_HTTPRespondsNotModified(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		broadcast(t, v, "1")
		r, _ := get(t, srv, "/?u=ada")
		tag := r.Header.Get("ETag")
		for _, known := range []string{tag, `"x", W/` + tag, "*"} {
			r, body := get(t, srv, "/?u=ada", "If-None-Match", known)
			require.Equal(t, 304, r.StatusCode)
			require.Empty(t, body)
			require.Equal(t, tag, r.Header.Get("ETag"))
		}
		for _, path := range []string{"/?u=eve", "/?u=ada&offset=now", "/?u=ada&offset=-1&live=long-poll"} {
			r, _ = get(t, srv, path, "If-None-Match", tag)
			require.Equal(t, 200, r.StatusCode, path)
		}
		broadcast(t, v, "2")
		r, _ = get(t, srv, "/?u=ada", "If-None-Match", tag)
		require.Equal(t, 200, r.StatusCode)
	})
}

func TestHistory_HTTPLongPollWaitsForAMessage(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		broadcast(t, v, "1")
		began := time.Now()
		r, body := get(t, srv, "/?offset=-1&live=long-poll")
		require.JSONEq(t, "[1]", body)
		require.Zero(t, time.Since(began))
		for _, offset := range []string{next(r), "now"} {
			began = time.Now()
			time.AfterFunc(7*time.Second, func() { broadcast(t, v, "2") })
			r, body = get(t, srv, "/?live=long-poll&offset="+offset)
			require.Equal(t, 200, r.StatusCode)
			require.JSONEq(t, "[2]", body)
			require.Equal(t, 7*time.Second, time.Since(began))
			require.Equal(t, "true", r.Header.Get("Stream-Up-To-Date"))
			require.NotEmpty(t, r.Header.Get("Stream-Cursor"))
		}
		began = time.Now()
		r, body = get(t, srv, "/?live=long-poll&offset="+next(r)+"&cursor=17")
		require.Equal(t, 204, r.StatusCode)
		require.Empty(t, body)
		require.Equal(t, 25*time.Second, time.Since(began))
		require.Equal(t, "true", r.Header.Get("Stream-Up-To-Date"))
		var cursor int
		require.NoError(t, json.Unmarshal([]byte(r.Header.Get("Stream-Cursor")), &cursor))
		require.Greater(t, cursor, 17)
		last, err := v.History("").Position()
		require.NoError(t, err)
		require.Equal(t, string(last), next(r))
	})
}

// A reader for whom a message is not learns nothing of it but a new position.
func TestHistory_HTTPLongPollSkipsMessagesToOthers(t *testing.T) {
	over(t, whispering, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		ada, srv := v.Enter("ada"), serveHistory(t, v, nil)
		r, _ := get(t, srv, "/?offset=now")
		before := next(r)
		time.AfterFunc(5*time.Second, func() { ada.Send("to myself") })
		began := time.Now()
		r, body := get(t, srv, "/?u=eve&live=long-poll&offset="+before)
		require.Equal(t, 204, r.StatusCode)
		require.Empty(t, body)
		require.Equal(t, 25*time.Second, time.Since(began))
		require.Greater(t, next(r), before)
		_, body = get(t, srv, "/?u=ada&live=long-poll&offset="+before)
		require.JSONEq(t, `["to myself"]`, body)
	})
}

// whispering has clients whisper to themselves.
var whispering = &fixture.OwnerHooks{
	History: kept,
	Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
		_, err := fixture.Whisper(ctx, o, s.UID(), m.String())
		return err
	},
}

func TestHistory_HTTPReaderThatWaitsKeepsTheOwnerInMemory(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: dog.HistoryOptions{Age: time.Second}}, dog.Options{},
		func(t *testing.T, v *fixture.Owners) {
			srv := serveHistory(t, v, nil)
			r, _ := get(t, srv, "/?offset=now")
			start := next(r)
			for range 20 {
				r, _ = get(t, srv, "/?live=long-poll&offset="+start)
				require.Equal(t, 204, r.StatusCode)
				require.Equal(t, start, next(r))
			}
			time.Sleep(10 * time.Minute)
			r, _ = get(t, srv, "/?live=long-poll&offset="+start)
			require.Equal(t, 410, r.StatusCode, "it was forgotten meanwhile")
			for o := range v.Runtime.Objects() {
				require.NotEqual(t, dog.KindReplica, o.Kind)
			}
		})
}

func TestHistory_HTTPInAHandlerGivesUpTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newReadGroup(t, dog.Options{})
		main := v.groups.Named("main")
		time.AfterFunc(5*time.Second, func() {
			require.NoError(t, main.Broadcast(context.Background(), "hello"))
		})
		r, body := get(t, v.server, "/?u=ada&offset=now&live=long-poll")
		require.Equal(t, 200, r.StatusCode)
		require.JSONEq(t, `["hello"]`, body)

		s := follow(t, v.server, "/?u=eve&offset=-1&live=sse")
		require.JSONEq(t, `["hello"]`, s.named("data").data)
		for replica := range main.Replicas() {
			require.Equal(t, 1, replica.Load, "the request holds its place")
		}
		ada := v.server.Dial("/?u=ada") // in the turn
		require.NoError(t, main.Broadcast(t.Context(), "bye"))
		require.Equal(t, "bye", ada.Receive().String())
		require.JSONEq(t, `["bye"]`, func() string { s.control(); return s.named("data").data }())
		s.close()
		synctest.Wait()
		for replica := range main.Replicas() {
			require.Equal(t, 1, replica.Load, "of ada's socket")
		}
	})
}

func TestHistory_HTTPEndsAtShutdown(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		srv := serveHistory(t, v, nil)
		s := follow(t, srv, "/?offset=now&live=sse")
		s.control()
		time.AfterFunc(time.Second, func() { require.NoError(t, v.Runtime.Shutdown(context.Background())) })
		began := time.Now()
		r, _ := get(t, srv, "/?offset=now&live=long-poll")
		require.Equal(t, 204, r.StatusCode)
		require.Equal(t, time.Second, time.Since(began))
		_, more := s.event()
		require.False(t, more)
		synctest.Wait()
		r, _ = get(t, srv, "/")
		require.Equal(t, 503, r.StatusCode)
		require.NotEmpty(t, r.Header.Get("Retry-After"))
	})
}

func TestHistory_HTTPClientsLeaveNothing(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		ended := make(chan struct{}, 1000)
		srv := serveHistory(t, v, func() { ended <- struct{}{} })
		var all []*source
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 1000 {
			if i%2 == 0 {
				all = append(all, follow(t, srv, "/?offset=now&live=sse"))
				continue
			}
			go func() {
				const url = dogtest.URL + "/?offset=now&live=long-poll"
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
				if err == nil {
					_, err = srv.Client().Do(r) //nolint:bodyclose // there is none
				}
				if err == nil {
					t.Error("there is a response")
				}
			}()
		}
		synctest.Wait()
		broadcastToSome := all[:100]
		cancel()
		synctest.Wait()
		require.Len(t, ended, 500)
		broadcast(t, v, "hello")
		for _, s := range broadcastToSome {
			s.control()
			require.JSONEq(t, `["hello"]`, s.named("data").data)
		}
		for _, s := range all {
			s.close()
		}
		synctest.Wait()
		require.Len(t, ended, 1000)
	})
}

// A client that takes nothing is cut off, and neither delays others meanwhile.
func TestHistory_HTTPClientThatReadsNothingIsCutOff(t *testing.T) {
	options := dog.Options{Sockets: dog.SocketOptions{WriteTimeout: 3 * time.Second}}
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 8 << 20}}
	over(t, on, options, func(t *testing.T, v *fixture.Owners) {
		ended := make(chan struct{}, 2)
		srv := serveHistory(t, v, func() { ended <- struct{}{} })
		broadcast(t, v, strings.Repeat("x", 4<<20))
		began := time.Now()
		slow := follow(t, srv, "/?offset=-1&live=sse") // and reads nothing
		_, body := get(t, srv, "/?offset=-1")
		require.Len(t, body, 4<<20+4)
		<-ended
		require.Zero(t, time.Since(began))
		broadcast(t, v, "more")
		<-ended
		require.Equal(t, 3*time.Second, time.Since(began))
		for more := true; more; {
			_, more = slow.event()
		}
	})
}

func TestHistory_HTTPEventsNeedFlush(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		w := &plain{header: make(http.Header)}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/?offset=-1&live=sse", nil)
		require.NoError(t, err)
		v.History("").ServeHTTP(w, r)
		require.Equal(t, 500, w.status)
	})
}

// plain is a ResponseWriter without Flush.
type plain struct {
	header http.Header
	status int
}

// Header returns the header.
func (p *plain) Header() http.Header { return p.header }

// WriteHeader records the status.
func (p *plain) WriteHeader(status int) { p.status = status }

// Write drops the body.
func (p *plain) Write(b []byte) (int, error) { return io.Discard.Write(b) }
