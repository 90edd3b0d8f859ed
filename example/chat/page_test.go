package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/browser"
)

// site is the chat behind a port.
type site struct {
	t        *testing.T
	store    dog.Store
	chat     dog.GroupStub[Lobby, Room]
	listener *cutListener
	base     string
	stop     func() // as an interrupt does
}

// start serves the chat on a store, until the test ends or the site is stopped.
// Lines with the numbers from first to last are written before anybody connects.
func start(t *testing.T, store dog.Store, addr string, first, last int) *site {
	t.Helper()
	rt, err := dog.New(dog.Options{Store: store, Sockets: sockets})
	require.NoError(t, err)
	s := &site{t: t, store: store}
	s.chat, err = register(rt, 2)
	require.NoError(t, err)
	s.write(first, last)
	listener, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	s.listener = &cutListener{Listener: listener}
	s.base = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- rt.Serve(ctx, &http.Server{Handler: handler(s.chat)}, s.listener) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(func() { s.stop() })
	return s
}

// restart starts the chat again, as if by a supervisor.
func (s *site) restart() *site {
	s.t.Helper()
	s.stop()
	return start(s.t, s.store, strings.TrimPrefix(s.base, "http://"), 1, 0)
}

// cutListener remembers its connections, because http.Server forgets those that
// became WebSockets and cannot close them.
type cutListener struct {
	net.Listener

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func (l *cutListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = append(l.conns, conn)
	}
	return conn, err
}

// cut closes every connection accepted so far, without a close handshake.
func (l *cutListener) cut() {
	l.mu.Lock()
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// person is somebody's page.
type person struct {
	*browser.Tab
	t *testing.T
}

// visit joins as name, after the first steps: through the form, or at once by
// the page's address.
func visit(t *testing.T, b *browser.Browser, name, base string, form bool, first ...browser.Step) *person {
	t.Helper()
	p := &person{b.Open(t, name, first...), t}
	if form {
		p.Do(chromedp.Navigate(base), chromedp.SendKeys(chromedp.CSS("#name"), name),
			chromedp.Click(chromedp.CSS("#join")))
	} else {
		p.Do(chromedp.Navigate(base + "/?u=" + url.QueryEscape(name)))
	}
	p.Do(chromedp.WaitVisible(chromedp.CSS(`#status[data-state="online"]`)))
	return p
}

// say replaces what stands in the field and sends it by keyboard.
func (p *person) say(text string) {
	p.t.Helper()
	p.Run(`document.querySelector("#text").select()`)
	p.Do(chromedp.SendKeys(chromedp.CSS("#text"), text+"\n"))
}

func (p *person) waitMessage(from, meta, text string) {
	p.t.Helper()
	p.Wait("a message to "+meta+": "+text, `
		[...document.querySelectorAll("#log .msg")].some((m) =>
			m.dataset.from === args[0] && m.dataset.meta === args[1] && m.textContent.includes(args[2]))`,
		from, meta, text)
}

func (p *person) waitEvent(kind, name string) {
	p.t.Helper()
	p.Wait("the "+kind+" of "+name, `
		[...document.querySelectorAll("#log .event")].some((e) =>
			e.dataset.type === args[0] && e.textContent.includes(args[1]))`, kind, name)
}

// waitPeople waits until the list of people and the picture of the replicas hold exactly names.
func (p *person) waitPeople(names []string) {
	p.t.Helper()
	p.Wait("exactly these people", `["#people [data-user]", "#replicas [data-user]"].every((selector) =>
		[...document.querySelectorAll(selector)].map((e) => e.dataset.user).sort().join("\n") ===
			args.toSorted().join("\n"))`,
		toAny(names)...)
}

// requireUnread checks that readers have text once and nobody else has it. A
// sender's messages arrive in the order sent, so p says something to all:
// whoever has that would also have what was said before.
func (p *person) requireUnread(tabs map[string]*person, readers []string, text string) {
	p.t.Helper()
	p.say("after " + text)
	for name, other := range tabs {
		other.waitMessage(p.Name(), "all", "after "+text)
		count := browser.Eval[int](other.Tab, `[...document.querySelectorAll("#log .msg:not([data-meta=all])")].
			filter((m) => m.textContent.includes("`+text+`")).length`)
		if slices.Contains(readers, name) {
			require.Equal(p.t, 1, count, "%s should have read it once", name)
		} else {
			require.Zero(p.t, count, "%s has read what was not for all", name)
		}
	}
}

// texts returns the names of the elements that selector finds, in alphabetical order.
func (p *person) texts(selector string) []string {
	p.t.Helper()
	return browser.Eval[[]string](p.Tab,
		"[...document.querySelectorAll(`"+selector+"`)].map((e) => e.dataset.user).sort()")
}

// replicas returns who is on which replica, as the page shows it.
func (p *person) replicas() map[string][]string {
	p.t.Helper()
	return browser.Eval[map[string][]string](p.Tab, `Object.fromEntries(
		[...document.querySelectorAll("#replicas .replica")].map((r) =>
			[r.dataset.id, [...r.querySelectorAll("[data-user]")].map((e) => e.dataset.user).sort()]))`)
}

func toAny(names []string) []any {
	out := make([]any, len(names))
	for i, name := range names {
		out[i] = name
	}
	return out
}

// write stores lines with the numbers from first to last, without sending them.
func (s *site) write(first, last int) {
	s.t.Helper()
	room, err := s.chat.Identify(s.t.Context(), "anybody")
	require.NoError(s.t, err)
	defer room.Release()
	require.NoError(s.t, dogtest.Run(s.t, room, func(ctx context.Context, r *Room) error {
		for n := first; n <= last; n++ {
			line := Line{From: fmt.Sprint("user", n%5), Text: fmt.Sprint("line ", n), Key: fmt.Sprint(n)}
			if _, err := dog.Call(ctx, r.log, (*Log).Append, line); err != nil {
				return err
			}
		}
		return nil
	}).Err)
}

// lines returns the texts of the lines of the log that the page shows.
func (p *person) lines() []string {
	p.t.Helper()
	return browser.Eval[[]string](p.Tab,
		`[...document.querySelectorAll("#log [data-id] .bubble")].map((b) => b.textContent)`)
}

// shows is whether the page shows a message.
const shows = `[...document.querySelectorAll("#log .bubble")].some((b) => b.textContent === args[0])`

// isStale is whether the page marks what it shows as out of date.
const isStale = `document.querySelector("#room.stale") !== null &&
	[...document.querySelectorAll(".note")].every((n) => n.checkVisibility())`
