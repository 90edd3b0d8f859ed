package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
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

// A follower speaks dog.v1 with a chat that is started again and again.
type follower struct {
	*client.Client
	t   *testing.T
	got []string // the keys of the messages that have arrived
}

// follow returns a client of the chat that listens on addr, which may change.
func follow(t *testing.T, user string, addr *atomic.Value) *follower {
	t.Helper()
	everything := ""
	c, err := client.New("ws://chat/ws?u="+user, client.Options{
		After: &everything,
		HTTPClient: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr.Load().(string))
			},
		}},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return &follower{c, t, nil}
}

// read reads until n messages have arrived.
func (f *follower) read(n int) {
	f.t.Helper()
	for len(f.got) < n {
		event, err := f.Receive(f.t.Context())
		require.NoError(f.t, err)
		switch e := event.(type) {
		case client.Gap:
			require.Equal(f.t, client.First, e.Reason)
		case client.Message:
			var m anything
			require.NoError(f.t, json.Unmarshal(e.Data, &m))
			again := m.Meta == "whisper" && slices.Contains(f.got, m.Key) // the page drops it, too
			if m.Key != "" && !again {
				f.got = append(f.got, m.Key)
			}
		}
	}
}

// Those who speak dog.v1 get each line and each whisper once, however often the
// program is killed. A whisper is kept for its reader, and then for its author:
// one that is sent again after a kill in between is recognized by its key.
func TestHistory_SurvivesAKill(t *testing.T) {
	const rounds, each = 4, 30
	data := t.TempDir()
	var addr atomic.Value
	start := func() *exec.Cmd {
		cmd, started := program.Start(t, data)
		addr.Store(started)
		return cmd
	}
	cmd := start()
	ada, bob := follow(t, "ada", &addr), follow(t, "bob", &addr)
	var want []string
	sent := make(chan error, rounds*each)
	for round := range rounds {
		for n := range each {
			m := message{Type: "msg", Line: Line{Text: "to all", Key: fmt.Sprint(round, "-", n)}}
			if n%2 == 0 {
				m.Text, m.Meta, m.To = "to bob", "whisper", "bob"
			}
			want = append(want, m.Key)
			go func() { sent <- ada.Send(t.Context(), m) }()
		}
		ada.read(len(ada.got) + each/2)
		bob.read(len(bob.got) + each/2)
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait(), "killed")
		cmd = start()
	}
	for _, f := range []*follower{ada, bob} {
		f.read(len(want))
		require.ElementsMatch(t, want, f.got)
	}
	for range want {
		require.NoError(t, <-sent)
	}
}
