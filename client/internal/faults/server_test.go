package faults_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog/client/internal/faults"
	"github.com/godurable/dog/internal/pipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	position = "k3f9q2ab7c1d-c118"
	session  = "session=12345678"
)

// table has one scenario, in which a message is sent again after 250 ms.
const table = `{"about": [], "scale": 1, "random": 0.5, "scenarios": [{"name": "test", "about": "", "connections": [
	{"steps": [{"hello": {"pos": "k3f9q2ab7c1d-c118", "gap": "first"}}, {"receive": "one"}, {"drop": true}]},
	{"after": "k3f9q2ab7c1d-c118", "wait": 250,
	 "steps": [{"hello": {"pos": "k3f9q2ab7c1d-c118", "gap": ""}}, {"receive": "one"}, {"ack": "one"},
		{"nothing": 1000}]}
], "quiet": 1000}]}`

// An attempt is what a client does with one connection.
type attempt struct {
	wait  time.Duration
	query string
	send  []string
}

// The server notices what a client does wrong, and nothing else.
func TestServer_Judges(t *testing.T) {
	first := attempt{0, session, []string{"m1\none"}}
	second := attempt{250 * time.Millisecond, session + "&after=" + position, []string{"p", "m1\none"}}
	const late = 5 * time.Millisecond
	with := func(a attempt, f func(*attempt)) attempt {
		f(&a)
		return a
	}
	for name, try := range map[string]struct {
		attempts []attempt
		wrong    string
	}{
		"a good client": {[]attempt{first, second}, ""},
		"a greater number": {[]attempt{
			with(first, func(a *attempt) { a.send = []string{"m7\none"} }),
			with(second, func(a *attempt) { a.send = []string{"m7\none"} }),
		}, ""},
		"a new number for the same message": {[]attempt{
			first, with(second, func(a *attempt) { a.send = []string{"m2\none"} }),
		}, "has the number 2 now, and had 1"},
		"the message twice": {[]attempt{
			first, with(second, func(a *attempt) { a.send = []string{"m1\none", "m1\none"} }),
		}, "step 4: the client sent"},
		"another message":     {[]attempt{{0, session, []string{"m1\ntwo"}}}, `got "two"`},
		"no number":           {[]attempt{{0, session, []string{"m\none"}}}, `got "m\none"`},
		"no session":          {[]attempt{with(first, func(a *attempt) { a.query = "" })}, "the session"},
		"a position too soon": {[]attempt{with(first, func(a *attempt) { a.query += "&after=" })}, "has no position"},
		"another session": {[]attempt{
			first, with(second, func(a *attempt) { a.query = "session=abcdefgh&after=" + position }),
		}, "another session"},
		"no position": {[]attempt{first, with(second, func(a *attempt) { a.query = session })}, "no after"},
		"an old position": {[]attempt{
			first, with(second, func(a *attempt) { a.query = session + "&after=k3f9q2ab7c1d-c117" }),
		}, "not after=" + position},
		"too early":      {[]attempt{first, with(second, func(a *attempt) { a.wait -= late })}, "took 245ms"},
		"too late":       {[]attempt{first, with(second, func(a *attempt) { a.wait += late })}, "took 255ms"},
		"once too often": {[]attempt{first, second, {query: session}}, "one too many"},
		"leaving":        {[]attempt{{0, session, nil}}, "the client has left"},
		"not coming":     {nil, "not over: 0 connections"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parsed, err := faults.Read(strings.NewReader(table))
				require.NoError(t, err)
				server := faults.New(parsed, 1)
				for _, a := range try.attempts {
					a.do(t, server)
				}
				w := httptest.NewRecorder()
				server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/test/verdict", nil))
				var verdict faults.Verdict
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &verdict))
				if try.wrong == "" {
					require.Equal(t, faults.Verdict{OK: true}, verdict)
					return
				}
				require.False(t, verdict.OK)
				require.Contains(t, strings.Join(verdict.Wrong, "\n"), try.wrong)
			})
		})
	}
}

// do connects, sends, and stays until the server ends the connection or has
// said nothing for a while.
func (a attempt) do(t *testing.T, handler http.Handler) {
	time.Sleep(a.wait)
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	l := pipe.New()
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	defer func() {
		require.NoError(t, server.Close())
		<-done
	}()
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) },
		DisableKeepAlives: true,
	}
	ws, response, err := websocket.Dial(t.Context(), "http://faults/test?"+a.query, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"dog.v1"},
	})
	if err != nil {
		require.Equal(t, http.StatusNotFound, response.StatusCode)
		return
	}
	defer ws.CloseNow()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			if _, _, err := ws.Read(ctx); err != nil {
				return
			}
		}
	})
	for _, frame := range a.send {
		require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte(frame)))
	}
	reading.Wait()
}

func TestRead_RefusesATableThatCannotRun(t *testing.T) {
	for name, scenarios := range map[string]string{
		"no JSON":             `{`,
		"another form":        `{}`,
		"an unknown field":    `[{"nom": "a"}]`,
		"no name":             `[{"connections": [{}]}]`,
		"no connection":       `[{"name": "a"}]`,
		"the same name":       `[{"name": "a", "connections": [{}]}, {"name": "a", "connections": [{}]}]`,
		"steps after the end": `[{"name": "a", "connections": [{"steps": [{"drop": true}, {"delay": 1}]}]}]`,
		"no end":              `[{"name": "a", "connections": [{"steps": [{"delay": 1}]}, {}]}]`,
	} {
		_, err := faults.Read(strings.NewReader(`{"scenarios": ` + scenarios + `}`))
		require.Error(t, err, name)
	}
}
