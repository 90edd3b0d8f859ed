package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
	"github.com/godurable/dog/internal/program"
)

func TestMain(m *testing.M) {
	if data := program.DataOf(); data != "" {
		os.Args = []string{os.Args[0], "-addr", "127.0.0.1:0", "-data", data}
		main()
		return
	}
	os.Exit(m.Run())
}

// dial connects a user and returns the whole log, page by page.
func dial(t *testing.T, addr, user string) (conn *websocket.Conn, all []Line) {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/ws?u="+user, nil)
	require.NoError(t, err)
	conn.SetReadLimit(4 << 20)
	for more := true; more; {
		m := nextOf(t, conn, "history")
		all = append(m.Lines, all...)
		if more = m.More; more {
			require.NoError(t, wsjson.Write(t.Context(), conn, message{Type: "older", Line: Line{ID: all[0].ID}}))
		}
	}
	return conn, all
}

// anything is a message, a part of the log, or news of people.
type anything struct {
	message
	Lines  []Line       `json:"lines"`
	More   bool         `json:"more"`
	People []dog.Member `json:"people"`
	Joined []dog.Member `json:"joined"`
	Left   []dog.Member `json:"left"`
}

// nextOf returns the next message of a type.
func nextOf(t *testing.T, conn *websocket.Conn, kind string) (m anything) {
	t.Helper()
	for m.Type != kind {
		m = anything{}
		require.NoError(t, wsjson.Read(t.Context(), conn, &m))
	}
	return m
}

// The log keeps every line that somebody has received when the program is
// killed.
func TestLog_SurvivesAKill(t *testing.T) {
	data := t.TempDir()
	var seen []Line // lines that somebody has received
	for round := range 4 {
		cmd, addr := program.Start(t, data)
		writer, all := dial(t, addr, "ada")
		require.Subset(t, all, seen)
		reader, _ := dial(t, addr, "bob")
		writing := make(chan struct{})
		go func() { // as fast as it can, so that the kill comes in the middle
			defer close(writing)
			for n := 0; ; n++ {
				key := fmt.Sprint(round, "-", n)
				line := Line{Text: "line " + key, Key: key}
				if wsjson.Write(t.Context(), writer, message{Type: "msg", Line: line}) != nil {
					return
				}
			}
		}()
		for range 40 {
			seen = append(seen, nextOf(t, reader, "msg").Line)
		}
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait(), "killed")
		<-writing
	}
	_, addr := program.Start(t, data)
	_, all := dial(t, addr, "ada")
	require.Subset(t, all, seen)
	require.Len(t, seen, 160)
}

// An interrupt ends the program gracefully, and browsers get 1001. A connection
// that a browser keeps in reserve delays the end: net/http waits more than five
// seconds for its first request.
func TestProgram_ShutsDownGracefully(t *testing.T) {
	data := t.TempDir()
	cmd, addr := program.Start(t, data)
	reserve, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer reserve.Close()
	ada, _ := dial(t, addr, "ada")
	require.NoError(t, wsjson.Write(t.Context(), ada, message{Type: "msg", Line: Line{Text: "kept", Key: "k"}}))
	line := nextOf(t, ada, "msg").Line
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	_, _, err = ada.Read(t.Context())
	for err == nil { // a picture of who is where
		_, _, err = ada.Read(t.Context())
	}
	require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
	require.NoError(t, cmd.Wait())
	_, addr = program.Start(t, data)
	_, all := dial(t, addr, "ada")
	require.Equal(t, []Line{line}, all)
}

// Somebody who speaks dog.v1 gets each line once, and each line that they say
// is there once, however often the program is killed.
func TestHistory_SurvivesAKill(t *testing.T) {
	const rounds, each = 4, 30
	data := t.TempDir()
	var addr atomic.Value
	start := func() *exec.Cmd {
		cmd, started := program.Start(t, data)
		addr.Store(started)
		return cmd
	}
	cmd, everything := start(), ""
	ada, err := client.New("ws://chat/ws?u=ada", client.Options{
		After: &everything,
		HTTPClient: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr.Load().(string))
			},
		}},
	})
	require.NoError(t, err)
	defer ada.Close()
	var want, got []string
	next := func() {
		for before := len(got); len(got) == before; {
			event, err := ada.Receive(t.Context())
			require.NoError(t, err)
			switch e := event.(type) {
			case client.Gap:
				require.Equal(t, client.First, e.Reason)
			case client.Message:
				var m anything
				require.NoError(t, json.Unmarshal(e.Data, &m))
				if m.Type == "msg" {
					got = append(got, m.Key)
				}
			}
		}
	}
	sent := make(chan error, rounds*each)
	for round := range rounds {
		for n := range each {
			key := fmt.Sprint(round, "-", n)
			want = append(want, key)
			line := message{Type: "msg", Line: Line{Text: "line", Key: key}}
			go func() { sent <- ada.Send(t.Context(), line) }()
		}
		for range each / 2 {
			next()
		}
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait(), "killed")
		cmd = start()
	}
	for len(got) < len(want) {
		next()
	}
	require.ElementsMatch(t, want, got)
	for range want {
		require.NoError(t, <-sent)
	}
}
