package main

import (
	"context"
	"maps"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

// waitLimit bounds each wait for the page; reaching it fails the test.
const waitLimit = 10 * time.Second

// TestBrowser drives the page in a real browser: five people over three replicas of two places each.
func TestBrowser(t *testing.T) {
	browser := startBrowser(t)
	base, listener := startServer(t, 2)

	names := []string{"ada", "bob", "cleo", "dan", "<b>x</b>"}
	tabs := make(map[string]*tab, len(names))
	for i, name := range names {
		tabs[name] = openTab(t, browser, name, base, i%2 == 0)
		tabs[name].waitPeople(names[:i+1])
	}
	ada := tabs["ada"]

	for _, p := range tabs {
		p.waitPeople(names)
		p.wait("the picture of three replicas", `document.querySelectorAll("#replicas .replica[data-id]").length === 3`)
	}
	placed := ada.replicas()
	require.Len(t, placed, 3)
	for _, p := range tabs {
		require.Equal(t, placed, p.replicas(), "%s has another picture", p.name)
		own := p.texts(`#replicas .replica.self [data-user]`)
		require.Contains(t, own, p.name)
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
	ada.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#text").value = "the same again ".repeat(100)`),
		chromedp.SendKeys(chromedp.CSS("#text"), "\n"))
	for _, p := range tabs {
		p.waitMessage("ada", "all", long)
	}

	// Markup stays text.
	tabs["<b>x</b>"].say("<img src=x onerror=alert(1)>")
	for _, p := range tabs {
		p.waitMessage("<b>x</b>", "all", "<img src=x onerror=alert(1)>")
		require.False(t, evaluate[bool](p, `document.querySelector(":is(#log, #people, #replicas) :is(b, i:not(.places *), img)") !== null`),
			"%s shows markup", p.name)
	}

	// A whisper crosses replicas and reaches nobody else.
	far := names[slices.IndexFunc(names, func(name string) bool { return !slices.Contains(neighbours, name) })]
	ada.do(chromedp.Click(chromedp.CSS(`#people [data-user="` + far + `"] button`)))
	ada.wait("the prefix of a whisper", `document.querySelector("#text").value === "/w `+far+` "`)
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
	require.NoError(t, chromedp.Cancel(tabs[gone].ctx))
	delete(tabs, gone)
	left := slices.Collect(maps.Keys(tabs))
	for _, p := range tabs {
		p.waitEvent("exit", gone)
		p.waitPeople(left)
	}
	require.Equal(t, []string{"ada"}, ada.texts(`#replicas .replica.self [data-user]`))

	// A cut connection comes back with the draft kept.
	ada.do(chromedp.SendKeys(chromedp.CSS("#text"), "still here"))
	for _, p := range tabs {
		p.do(chromedp.Evaluate[chromedp.Void](`
			window.states = [];
			const status = document.querySelector("#status");
			new MutationObserver(() => states.push(status.dataset.state)).observe(status, { attributeFilter: ["data-state"] });`))
	}
	listener.cut()
	for _, p := range tabs {
		p.wait("a new connection", `["offline", "connecting"].every((s) => states.includes(s)) && states.at(-1) === "online"`)
	}
	require.Equal(t, "still here", evaluate[string](ada, `document.querySelector("#text").value`))
	ada.do(chromedp.Click(chromedp.CSS("#send")))
	for _, p := range tabs {
		p.waitMessage("ada", "all", "still here")
	}
}

// TestBrowserOnAPhone joins by the form, writes, and looks at the layout.
func TestBrowserOnAPhone(t *testing.T) {
	browser := startBrowser(t)
	base, _ := startServer(t, 2)
	openTab(t, browser, "bob", base, false)
	ada := openTab(t, browser, "ada", base, true, chromedp.EmulateViewport(390, 844))
	require.Equal(t, 390, evaluate[int](ada, `innerWidth`))
	long := strings.Repeat("long", 50) // a word without a place to break it
	ada.say(long)
	ada.waitMessage("ada", "all", long)
	require.LessOrEqual(t, evaluate[int](ada, `document.documentElement.scrollWidth`), 390, "the page scrolls sideways")
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
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
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

// startBrowser returns the context of a headless Chromium that ends with the test.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(findChromium(t)),
		chromedp.NoSandbox, // root and most containers have none; the only page opened is our own
		chromedp.DisableGPU,
		chromedp.WindowSize(1200, 800), // with room for the list of people, which a phone does not show
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, _ := chromedp.NewContext(allocator)
	require.NoError(t, chromedp.Do(ctx), "start Chromium")
	return ctx
}

// findChromium skips or fails the test when there is no browser.
func findChromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("DOG_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("DOG_SKIP_BROWSER") != "" {
		t.Skip("no Chromium found and DOG_SKIP_BROWSER is set: the page was not tested")
	}
	t.Fatal("no Chromium found: install it (Debian and Ubuntu: apt-get install chromium; elsewhere Chromium or Google Chrome), " +
		"name its binary in DOG_CHROMIUM, or leave this test out with DOG_SKIP_BROWSER=1")
	return ""
}

// tab is one person's page.
type tab struct {
	t    *testing.T
	name string
	ctx  context.Context
}

// openTab joins as name, after the first steps: through the form, or at once by the page's address.
func openTab(t *testing.T, browser context.Context, name, base string, form bool, first ...chromedp.Action[chromedp.Void]) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx), "open a tab") // with no deadline: the tab lives as long as this context
	p := &tab{t: t, name: name, ctx: ctx}
	p.do(first...)
	if form {
		p.do(chromedp.Navigate(base), chromedp.SendKeys(chromedp.CSS("#name"), name), chromedp.Click(chromedp.CSS("#join")))
	} else {
		p.do(chromedp.Navigate(base + "/?u=" + url.QueryEscape(name)))
	}
	p.do(chromedp.WaitVisible(chromedp.CSS(`#status[data-state="online"]`)))
	return p
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, waitLimit)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, steps...), "on the page of %s", p.name)
}

// say replaces what stands in the field and sends it by keyboard.
func (p *tab) say(text string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#text").select()`), chromedp.SendKeys(chromedp.CSS("#text"), text+"\n"))
}

// wait returns once the expression, a condition on the page, is true of it; args are its parameter args.
func (p *tab) wait(what, expression string, args ...any) {
	p.t.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.PollFunction[chromedp.Void]("(...args) => "+expression,
		chromedp.WithPollingMutation(), chromedp.WithPollingTimeout(waitLimit), chromedp.WithPollingArgs(args...)))
	if err != nil {
		require.NoError(p.t, err, "%s waits for %s; its page shows:\n%s", p.name, what, evaluate[string](p, `document.body.innerText`))
	}
}

func (p *tab) waitMessage(from, meta, text string) {
	p.t.Helper()
	p.wait("a message to "+meta+": "+text,
		`[...document.querySelectorAll("#log .msg")].some((m) => m.dataset.from === args[0] && m.dataset.meta === args[1] && m.textContent.includes(args[2]))`,
		from, meta, text)
}

func (p *tab) waitEvent(kind, name string) {
	p.t.Helper()
	p.wait("the "+kind+" of "+name,
		`[...document.querySelectorAll("#log .event")].some((e) => e.dataset.type === args[0] && e.textContent.includes(args[1]))`, kind, name)
}

// waitPeople waits until the list of people and the picture of the replicas hold exactly names.
func (p *tab) waitPeople(names []string) {
	p.t.Helper()
	p.wait("exactly these people", `["#people [data-user]", "#replicas [data-user]"].every((selector) =>
		[...document.querySelectorAll(selector)].map((e) => e.dataset.user).sort().join("\n") === args.toSorted().join("\n"))`,
		toAny(names)...)
}

// requireUnread checks that readers have text once and nobody else has it. A sender's messages arrive in the order sent, so
// p says something to all: whoever has that would also have what was said before.
func (p *tab) requireUnread(tabs map[string]*tab, readers []string, text string) {
	p.t.Helper()
	p.say("after " + text)
	for name, other := range tabs {
		other.waitMessage(p.name, "all", "after "+text)
		count := evaluate[int](other, `[...document.querySelectorAll("#log .msg:not([data-meta=all])")].filter((m) => m.textContent.includes("`+text+`")).length`)
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
	return evaluate[[]string](p, "[...document.querySelectorAll(`"+selector+"`)].map((e) => e.dataset.user).sort()")
}

// replicas returns who is on which replica, as the page shows it.
func (p *tab) replicas() map[string][]string {
	p.t.Helper()
	return evaluate[map[string][]string](p, `Object.fromEntries([...document.querySelectorAll("#replicas .replica")].map((r) =>
		[r.dataset.id, [...r.querySelectorAll("[data-user]")].map((e) => e.dataset.user).sort()]))`)
}

// evaluate returns the value of a JavaScript expression on the page.
func evaluate[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, waitLimit)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(p.t, err, "on the page of %s", p.name)
	return value
}

func toAny(names []string) []any {
	out := make([]any, len(names))
	for i, name := range names {
		out[i] = name
	}
	return out
}
