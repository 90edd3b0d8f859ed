package browser_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
	"github.com/godurable/dog/test/browser/internal/chromium"
)

// board keeps what is written on it, for pages that come back.
type board struct {
	dog.Object
	lines []string
}

// OnMessage writes a line.
func (b *board) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	b.lines = append(b.lines, m.String())
	return b.Broadcast(m)
}

// Write writes a line for a program.
func (b *board) Write(_ context.Context, line string) error {
	b.lines = append(b.lines, line)
	return b.Broadcast(line)
}

// Lines returns what is written on the board.
func (b *board) Lines(context.Context) ([]string, error) { return b.lines, nil }

const boardPage = `<!doctype html>
<title>board</title>
<script type="module">
	import { connect } from "/dog.js";
	window.lines = [];
	window.gaps = [];
	window.freezes = 0;
	document.addEventListener("freeze", () => freezes++);
	window.room = connect("/board", { store: sessionStorage });
	room.on("message", (line) => lines.push(line));
	room.on("gap", (reason) => gaps.push(reason));
</script>`

// pageLines are the lines that a page has received.
const pageLines = `window.lines ? lines.join(" ") : ""`

// A page with dog.js gets every line once and in order, while its connections
// break and the page is loaded again, and each of its own takes effect once.
func TestDogJS_PageMissesNothing(t *testing.T) {
	rt, err := dog.New(dog.Options{})
	require.NoError(t, err)
	boards, err := dog.RegisterObject(rt, "board", &dog.ObjectOptions[board]{
		History: dog.HistoryOptions{Count: 1000},
	})
	require.NoError(t, err)
	main := boards.Named("main")
	mux := http.NewServeMux()
	mux.Handle("/dog.js", client.Script())
	mux.Handle("/board", main)
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, boardPage)
	})
	// net/http forgets connections that were taken over: the listener does not.
	connections := &breakable{}
	srv := httptest.NewUnstartedServer(mux)
	connections.Listener = srv.Listener
	srv.Listener = connections
	srv.Start()
	defer srv.Close()
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()

	browser := chromium.Start(t)
	ada := browser.Open(t, "ada", chromedp.Navigate(srv.URL))
	bob := browser.Open(t, "bob", chromedp.Navigate(srv.URL))
	for _, p := range []*chromium.Tab{ada, bob} {
		p.Wait("a connection", `window.room?.state === "open" && gaps.join() === "first"`)
	}

	ada.Run(`window.all = Promise.all([1, 2, 3].map((n) => room.send("a" + n)))`)
	bob.Wait("ada's lines", pageLines+` === "a1 a2 a3"`)
	ada.Wait("her own lines", pageLines+` === "a1 a2 a3"`)

	// All connections break while both write.
	bob.Run(`window.sent = 0; (async () => {
		for (let n = 1; n <= 20; n++) {
			await room.send("b" + n);
			sent = n;
			await new Promise((r) => setTimeout(r, 50));
		}
	})()`)
	for n := range 5 {
		bob.Wait("that some lines are written", fmt.Sprint("sent > ", 3*n))
		connections.cut()
	}
	bob.Wait("that all lines are written", "sent === 20")
	want := "a1 a2 a3"
	for n := range 20 {
		want += fmt.Sprint(" b", n+1)
	}
	for _, p := range []*chromium.Tab{ada, bob} {
		p.Wait("all lines", pageLines+fmt.Sprintf(" === %q", want))
		p.Wait("that there was no gap", `gaps.join() === "first"`)
	}

	// A page that is loaded again goes on where it was.
	ada.Do(chromedp.Navigate("about:blank"))
	bob.Run(`room.send("meanwhile")`)
	bob.Wait("the line", `lines.at(-1) === "meanwhile"`)
	ada.Do(chromedp.Navigate(srv.URL))
	ada.Wait("what was written meanwhile", pageLines+` === "meanwhile" && gaps.length === 0`)

	lines, err := dog.Call0(context.Background(), main, (*board).Lines)
	require.NoError(t, err)
	require.Len(t, lines, 24)

	// A page that is frozen, as by the sleep of a laptop, goes on as well.
	ada.Freeze(true)
	ada.Wait("the freeze", `freezes === 1`)
	connections.cut()
	bob.Run(`room.send("asleep")`)
	bob.Wait("the line", `lines.at(-1) === "asleep"`)
	ada.Freeze(false)
	ada.Wait("what was written in its sleep", pageLines+` === "meanwhile asleep" && gaps.length === 0`)
}

const streamPage = `<!doctype html>
<title>board</title>
<script type="module">
	import { connect } from "/dog.js";
	window.lines = [];
	window.states = [];
	window.room = connect("/board", { history: "/history", post: "/post", after: "" });
	room.on("message", (line) => lines.push(line));
	room.on("state", (state) => states.push(state));
</script>`

// A page behind a proxy that refuses WebSockets reads by server-sent events and
// writes by POST, and gets a WebSocket without a hole or a repetition when the
// proxy lets one pass.
func TestDogJS_PageReadsEventsWithoutWebSockets(t *testing.T) {
	rt, err := dog.New(dog.Options{})
	require.NoError(t, err)
	boards, err := dog.RegisterObject(rt, "board", &dog.ObjectOptions[board]{
		History: dog.HistoryOptions{Count: 1000},
	})
	require.NoError(t, err)
	main := boards.Named("main")
	soon := func(what string, holds func() bool) {
		t.Helper()
		require.Eventually(t, holds, time.Minute, 10*time.Millisecond, what)
	}
	var refuses atomic.Bool
	var sockets, streams atomic.Int64
	refuses.Store(true)
	mux := http.NewServeMux()
	mux.Handle("/dog.js", client.Script())
	mux.HandleFunc("/board", func(w http.ResponseWriter, r *http.Request) {
		sockets.Add(1)
		if refuses.Load() {
			http.Error(w, "no upgrade", http.StatusBadGateway)
			return
		}
		main.ServeHTTP(w, r)
	})
	mux.HandleFunc("/history", func(w http.ResponseWriter, r *http.Request) {
		streams.Add(1)
		// As the server does after a minute.
		ctx, end := context.WithTimeout(r.Context(), 5*time.Second)
		defer end()
		main.History().ServeHTTP(w, r.WithContext(ctx))
	})
	mux.HandleFunc("POST /post", func(w http.ResponseWriter, r *http.Request) {
		line, err := io.ReadAll(r.Body)
		if err == nil {
			err = dog.CallErr(r.Context(), main, (*board).Write, string(line))
		}
		if err != nil {
			dog.WriteError(w, err)
		}
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, streamPage)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()

	require.NoError(t, dog.CallErr(t.Context(), main, (*board).Write, "before"))
	ada := chromium.Start(t).Open(t, "ada", chromedp.Navigate(srv.URL))
	ada.Wait("a stream", `window.room?.state === "open" && lines.join() === "before"`)
	soon("a WebSocket is tried beside the stream", func() bool { return sockets.Load() == 4 })
	require.EqualValues(t, 1, streams.Load())
	ada.Run(`room.send("posted")`)
	ada.Wait("its own line", `lines.join() === "before,posted"`)
	ada.Wait("the end of the stream", `states.join().startsWith("waiting,connecting,waiting,connecting,`+
		`waiting,connecting,behind,open,waiting")`)

	refuses.Store(false)
	soon("a WebSocket", func() bool {
		err := dog.CallErr(t.Context(), main, (*board).Write, "meanwhile")
		return assert.NoError(t, err) && rt.Stats().Sockets > 0
	})
	ada.Run(`room.send("by a WebSocket")`)
	ada.Wait("the last line", `lines.at(-1) === "by a WebSocket"`)
	want, err := dog.Call0(t.Context(), main, (*board).Lines)
	require.NoError(t, err)
	ada.Wait("all lines, once", pageLines+fmt.Sprintf(" === %q", strings.Join(want, " ")))
	ada.Wait("that it stays with the WebSocket", `room.state === "open"`)
	require.Equal(t, 1, rt.Stats().Sockets)
}

// breakable is a listener whose connections can be broken.
type breakable struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func (l *breakable) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, nc)
	return nc, nil
}

// cut breaks all connections.
func (l *breakable) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, nc := range l.conns {
		_ = nc.Close()
	}
	l.conns = nil
}
