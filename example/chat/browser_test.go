package main

import (
	"context"
	"maps"
	"net"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/browser"
)

// TestBrowser drives the page in a real browser: five people over three replicas of two places each.
func TestBrowser(t *testing.T) {
	chromium := browser.Start(t)
	base, listener := startServer(t, 2)

	names := []string{"ada", "bob", "cleo", "dan", "<b>x</b>"}
	tabs := make(map[string]*tab, len(names))
	for i, name := range names {
		tabs[name] = openTab(t, chromium, name, base, i%2 == 0)
		tabs[name].waitPeople(names[:i+1])
	}
	ada := tabs["ada"]

	for _, p := range tabs {
		p.waitPeople(names)
		p.Wait("the picture of three replicas", `document.querySelectorAll("#replicas .replica[data-id]").length === 3`)
	}
	placed := ada.replicas()
	require.Len(t, placed, 3)
	for _, p := range tabs {
		require.Equal(t, placed, p.replicas(), "%s has another picture", p.Name())
		own := p.texts(`#replicas .replica.self [data-user]`)
		require.Contains(t, own, p.Name())
		require.LessOrEqual(t, len(own), 2)
	}
	neighbours := ada.texts(`#replicas .replica.self [data-user]`)
	require.Len(t, neighbours, 2, "the first replica is filled before there is a second")
	ada.waitEvent("join", "<b>x</b>")

	// Everybody reads a message.
	ada.say("hello <i>all</i>")
	for _, p := range tabs {
		p.waitMessage("ada", "all", "hello <i>all</i>")
	}

	// A long message is compressed on its way there and back.
	long := strings.TrimSpace(strings.Repeat("the same again ", 100))
	ada.Run(`document.querySelector("#text").value = "the same again ".repeat(100)`)
	ada.Do(chromedp.SendKeys(chromedp.CSS("#text"), "\n"))
	for _, p := range tabs {
		p.waitMessage("ada", "all", long)
	}

	// Markup stays text.
	tabs["<b>x</b>"].say("<img src=x onerror=alert(1)>")
	for _, p := range tabs {
		p.waitMessage("<b>x</b>", "all", "<img src=x onerror=alert(1)>")
		require.False(t, browser.Eval[bool](p.Tab, `document.querySelector(":is(#log, #people, #replicas) :is(b, i:not(.places *), img)") !== null`),
			"%s shows markup", p.Name())
	}

	// A whisper crosses replicas and reaches nobody else.
	far := names[slices.IndexFunc(names, func(name string) bool { return !slices.Contains(neighbours, name) })]
	ada.Do(chromedp.Click(chromedp.CSS(`#people [data-user="` + far + `"] button`)))
	ada.Wait("the prefix of a whisper", `document.querySelector("#text").value === "/w `+far+` "`)
	ada.say("/w " + far + " secret")
	ada.waitMessage("ada", "whisper", "secret")
	tabs[far].waitMessage("ada", "whisper", "secret")
	ada.requireUnread(tabs, []string{"ada", far}, "secret")

	// A group message stays on its replica.
	ada.say("/g neighbours")
	for _, name := range neighbours {
		tabs[name].waitMessage("ada", "group", "neighbours")
	}
	ada.requireUnread(tabs, neighbours, "neighbours")

	// A leaver is announced and leaves the picture.
	gone := neighbours[slices.IndexFunc(neighbours, func(name string) bool { return name != "ada" })]
	tabs[gone].Close()
	delete(tabs, gone)
	left := slices.Collect(maps.Keys(tabs))
	for _, p := range tabs {
		p.waitEvent("exit", gone)
		p.waitPeople(left)
	}
	require.Equal(t, []string{"ada"}, ada.texts(`#replicas .replica.self [data-user]`))

	// A cut connection comes back with the draft kept.
	ada.Do(chromedp.SendKeys(chromedp.CSS("#text"), "still here"))
	for _, p := range tabs {
		p.Run(`
			window.states = [];
			const status = document.querySelector("#status");
			new MutationObserver(() => states.push(status.dataset.state)).observe(status, { attributeFilter: ["data-state"] });`)
	}
	listener.cut()
	for _, p := range tabs {
		p.Wait("a new connection", `["offline", "connecting"].every((s) => states.includes(s)) && states.at(-1) === "online"`)
	}
	require.Equal(t, "still here", browser.Eval[string](ada.Tab, `document.querySelector("#text").value`))
	ada.Do(chromedp.Click(chromedp.CSS("#send")))
	for _, p := range tabs {
		p.waitMessage("ada", "all", "still here")
	}
}

// TestBrowserOnAPhone joins by the form, writes, and looks at the layout.
func TestBrowserOnAPhone(t *testing.T) {
	chromium := browser.Start(t)
	base, _ := startServer(t, 2)
	openTab(t, chromium, "bob", base, false)
	ada := openTab(t, chromium, "ada", base, true, chromedp.EmulateViewport(390, 844))
	require.Equal(t, 390, browser.Eval[int](ada.Tab, `innerWidth`))
	long := strings.Repeat("long", 50) // a word without a place to break it
	ada.say(long)
	ada.waitMessage("ada", "all", long)
	require.LessOrEqual(t, browser.Eval[int](ada.Tab, `document.documentElement.scrollWidth`), 390, "the page scrolls sideways")
}

// startServer serves the chat with limit places a replica until the test ends.
func startServer(t *testing.T, limit int) (base string, listener *cutListener) {
	t.Helper()
	rt, err := dog.New(options)
	require.NoError(t, err)
	handler, err := newServer(rt, limit)
	require.NoError(t, err)

	srv := httptest.NewUnstartedServer(handler)
	listener = &cutListener{Listener: srv.Listener}
	srv.Listener = listener
	srv.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, rt.Shutdown(ctx))
		srv.Close()
	})
	return srv.URL, listener
}

// cutListener remembers its connections, because httptest.Server forgets those that became WebSockets and cannot close them.
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

// tab is one person's page.
type tab struct {
	*browser.Tab
	t *testing.T
}

// openTab joins as name, after the first steps: through the form, or at once by the page's address.
func openTab(t *testing.T, b *browser.Browser, name, base string, form bool, first ...browser.Step) *tab {
	t.Helper()
	p := &tab{b.Open(t, name, first...), t}
	if form {
		p.Do(chromedp.Navigate(base), chromedp.SendKeys(chromedp.CSS("#name"), name), chromedp.Click(chromedp.CSS("#join")))
	} else {
		p.Do(chromedp.Navigate(base + "/?u=" + url.QueryEscape(name)))
	}
	p.Do(chromedp.WaitVisible(chromedp.CSS(`#status[data-state="online"]`)))
	return p
}

// say replaces what stands in the field and sends it by keyboard.
func (p *tab) say(text string) {
	p.t.Helper()
	p.Run(`document.querySelector("#text").select()`)
	p.Do(chromedp.SendKeys(chromedp.CSS("#text"), text+"\n"))
}

func (p *tab) waitMessage(from, meta, text string) {
	p.t.Helper()
	p.Wait("a message to "+meta+": "+text,
		`[...document.querySelectorAll("#log .msg")].some((m) => m.dataset.from === args[0] && m.dataset.meta === args[1] && m.textContent.includes(args[2]))`,
		from, meta, text)
}

func (p *tab) waitEvent(kind, name string) {
	p.t.Helper()
	p.Wait("the "+kind+" of "+name,
		`[...document.querySelectorAll("#log .event")].some((e) => e.dataset.type === args[0] && e.textContent.includes(args[1]))`, kind, name)
}

// waitPeople waits until the list of people and the picture of the replicas hold exactly names.
func (p *tab) waitPeople(names []string) {
	p.t.Helper()
	p.Wait("exactly these people", `["#people [data-user]", "#replicas [data-user]"].every((selector) =>
		[...document.querySelectorAll(selector)].map((e) => e.dataset.user).sort().join("\n") === args.toSorted().join("\n"))`,
		toAny(names)...)
}

// requireUnread checks that readers have text once and nobody else has it. A sender's messages arrive in the order sent, so
// p says something to all: whoever has that would also have what was said before.
func (p *tab) requireUnread(tabs map[string]*tab, readers []string, text string) {
	p.t.Helper()
	p.say("after " + text)
	for name, other := range tabs {
		other.waitMessage(p.Name(), "all", "after "+text)
		count := browser.Eval[int](other.Tab, `[...document.querySelectorAll("#log .msg:not([data-meta=all])")].filter((m) => m.textContent.includes("`+text+`")).length`)
		if slices.Contains(readers, name) {
			require.Equal(p.t, 1, count, "%s should have read it once", name)
		} else {
			require.Zero(p.t, count, "%s has read what was not for all", name)
		}
	}
}

// texts returns the names of the elements that selector finds, in alphabetical order.
func (p *tab) texts(selector string) []string {
	p.t.Helper()
	return browser.Eval[[]string](p.Tab, "[...document.querySelectorAll(`"+selector+"`)].map((e) => e.dataset.user).sort()")
}

// replicas returns who is on which replica, as the page shows it.
func (p *tab) replicas() map[string][]string {
	p.t.Helper()
	return browser.Eval[map[string][]string](p.Tab, `Object.fromEntries([...document.querySelectorAll("#replicas .replica")].map((r) =>
		[r.dataset.id, [...r.querySelectorAll("[data-user]")].map((e) => e.dataset.user).sort()]))`)
}

func toAny(names []string) []any {
	out := make([]any, len(names))
	for i, name := range names {
		out[i] = name
	}
	return out
}
