package answer_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/answer"
	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/inflight"
	"github.com/godurable/dog/internal/turn"
)

var errSlow = errors.New("slow")

func newHost(t *testing.T) *answer.Host {
	return &answer.Host{
		Work: inflight.New(), Ended: t.Context(), Settle: func(*turn.Event) error { return nil }, ErrSlow: errSlow,
		Held: new(atomic.Int64), MaxHeld: 1 << 20, ErrHeldBack: errors.New("held back"),
	}
}

// commits is a store whose commits become durable when durable is called.
type commits struct {
	last    uint64
	waiting []func(error)
}

func (c *commits) Durable() uint64                        { return c.last }
func (c *commits) OnDurable(_ uint64, notify func(error)) { c.waiting = append(c.waiting, notify) }

func (c *commits) durable() {
	c.last = 1
	for _, notify := range c.waiting {
		notify(nil)
	}
}

// handle runs a handler in a turn of its own.
func handle(t *testing.T, a *answer.Answer, g *gate.Gate, r *http.Request, handler http.HandlerFunc) {
	var lock turn.Lock
	ticket, err := lock.Queue(turn.Origin{})
	require.NoError(t, err)
	e, err := ticket.Redeem(t.Context())
	require.NoError(t, err)
	a.Begin(e, g)
	handler(a.Writer(r), r)
	a.Returned()
	_, misuse := e.End()
	require.NoError(t, misuse)
}

func TestAnswer_WritesWhatTheHandlerWrote(t *testing.T) {
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	a := answer.New(newHost(t), w, nil)
	require.False(t, a.Begun())
	var kept http.ResponseWriter
	handle(t, a, nil, r, func(w http.ResponseWriter, _ *http.Request) {
		kept = w
		w.WriteHeader(http.StatusTeapot)
		_, err := io.WriteString(w, "short and stout")
		require.NoError(t, err)
	})
	require.True(t, a.Begun())
	require.Empty(t, w.Body.String(), "the client must not keep the turn")
	started, err := a.Finish(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, started)
	require.Equal(t, http.StatusTeapot, w.Code)
	require.Equal(t, "short and stout", w.Body.String())
	_, err = kept.Write(nil)
	require.Error(t, err, "the response is over")
}

func TestAnswer_WaitsUntilWritesAreDurable(t *testing.T) {
	store := &commits{}
	g := gate.New(store, func(error) {})
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	a := answer.New(newHost(t), w, nil)
	handle(t, a, g, r, func(w http.ResponseWriter, _ *http.Request) {
		g.Wrote()
		_, err := io.WriteString(w, "stored")
		require.NoError(t, err)
		g.Committed(1)
	})
	client, leave := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	leave(gone)
	_, err := a.Finish(client, nil)
	require.ErrorIs(t, err, gone, "the client does not wait")
	require.Empty(t, w.Body.String())

	a = answer.New(newHost(t), w, nil)
	handle(t, a, g, r, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "stored") })
	store.durable()
	_, err = a.Finish(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "stored", w.Body.String())
}

// reset is a store that resets the object when a response asks for the second
// time whether its object's writes are durable.
type reset struct {
	commits
	asked int
	do    context.CancelCauseFunc
}

func (r *reset) Durable() uint64 {
	if r.asked++; r.asked < 2 {
		return 0
	}
	r.do(errors.New("reset"))
	return 1
}

// A reset opens the gate for which a long response waits.
func TestAnswer_LongResponseOfAHandlerThatIsResetIsDropped(t *testing.T) {
	life, end := context.WithCancelCause(t.Context())
	g := gate.New(&reset{do: end}, func(error) {})
	g.Wrote()
	g.Committed(1)
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	a := answer.New(newHost(t), w, nil)
	lock := turn.Lock{Life: life}
	ticket, err := lock.Queue(turn.Origin{})
	require.NoError(t, err)
	e, err := ticket.Redeem(t.Context())
	require.NoError(t, err)
	a.Begin(e, g)
	wait, err := turn.Yield(e) // so that the write is not broken off at once
	require.NoError(t, err)
	_, err = a.Writer(r).Write(make([]byte, 2<<20))
	require.ErrorContains(t, err, "reset")
	require.Empty(t, w.Body.String())
	wait.Resume()
	_, misuse := e.End()
	require.NoError(t, misuse)
}

func TestGuard_KeepsAWritersPanicFromTheHandler(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	a := answer.New(newHost(t), panics{httptest.NewRecorder()}, nil)
	handle(t, a, nil, r, func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, "x")
		require.NoError(t, err)
		require.Error(t, http.NewResponseController(w).Flush())
	})
	value, stack := a.Guard().Panic()
	require.Equal(t, "no", value)
	require.NotEmpty(t, stack)
}

type panics struct{ http.ResponseWriter }

func (panics) Write([]byte) (int, error) { panic("no") }

func TestInbound_ReadsAShortBodyBeforeTheHandlerRuns(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader("a=1"))
	in, err := answer.NewInbound(r, new(answer.Guard))
	require.NoError(t, err)
	left, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Empty(t, left)
	copied := r.WithContext(t.Context())
	copied.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	in.Attach(copied)
	require.Equal(t, "1", copied.FormValue("a"))
	in.Keep()
	require.Equal(t, "1", r.Form.Get("a"))

	r = httptest.NewRequest("POST", "/", strings.NewReader("a"))
	r.ContentLength = 2
	_, err = answer.NewInbound(r, new(answer.Guard))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestRoundTrip_CarriesRequestAndResponse(t *testing.T) {
	host := newHost(t)
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://host/path?q", strings.NewReader("question"))
	require.NoError(t, err)
	body := answer.NewOutbound(r, func(any, []byte) error { return errors.New("panicked") })
	response, err := answer.RoundTrip(
		host, r, body, "192.0.2.1:5", turn.Call{},
		func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, "192.0.2.1:5", r.RemoteAddr)
			require.Equal(t, "/path?q", r.RequestURI)
			asked, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			w.Header().Set("x-Field", "value")
			_, _ = io.WriteString(w, "answer to "+string(asked))
		},
	)
	require.NoError(t, err)
	require.Equal(t, "value", response.Header.Get("X-Field"))
	got, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "answer to question", string(got))
	require.NoError(t, response.Body.Close())
	host.Work.Close()
	host.Work.Wait()
}

func TestRecord_ReturnsWhatWasWritten(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	response, err := answer.Record(
		newHost(t), r, func(w http.ResponseWriter) { http.Error(w, "no room", http.StatusServiceUnavailable) },
	)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	got, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "no room\n", string(got))
	require.NoError(t, response.Body.Close())
}

func TestCheckRequest_RefusesInvalidRequests(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	require.NoError(t, answer.CheckRequest(r))
	r.Header["a b"] = []string{"c"}
	require.Error(t, answer.CheckRequest(r))
}
