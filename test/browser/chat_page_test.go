package browser_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// person is somebody's page.
type person struct {
	*chromium.Tab
	t *testing.T
}

// visit joins as name, after the first steps: through the form, or at once by
// the page's address.
func visit(t *testing.T, browser *chromium.Browser, name, base string, form bool, first ...chromium.Step) *person {
	t.Helper()
	p := &person{browser.Open(t, name, first...), t}
	if form {
		p.Do(chromedp.Navigate(base), chromedp.SendKeys(chromedp.CSS("#name"), name),
			chromedp.Click(chromedp.CSS("#join")))
	} else {
		p.Do(chromedp.Navigate(base + "/?u=" + url.QueryEscape(name)))
	}
	p.Do(chromedp.WaitVisible(chromedp.CSS(`#status[data-state="online"]`)))
	return p
}

// send replaces the text in the field and sends it by keyboard.
func (p *person) send(text string) {
	p.t.Helper()
	p.Run(`document.querySelector("#text").select()`)
	p.Do(chromedp.SendKeys(chromedp.CSS("#text"), text+"\n"))
}

// waitMessage waits for a message that the server has sent.
func (p *person) waitMessage(from, meta, text string) {
	p.t.Helper()
	p.Wait("a message to "+meta+": "+text, `
		[...document.querySelectorAll("#log .msg:not(.pending)")].some((m) =>
			m.dataset.from === args[0] && m.dataset.meta === args[1] && m.textContent.includes(args[2]))`,
		from, meta, text)
}

func (p *person) waitEvent(kind, name string) {
	p.t.Helper()
	p.Wait("the "+kind+" of "+name, `
		[...document.querySelectorAll("#log .event")].some((e) =>
			e.dataset.type === args[0] && e.textContent.includes(args[1]))`, kind, name)
}

// events returns what the page shows between the messages, as "bob joined".
func (p *person) events() []string {
	p.t.Helper()
	return chromium.Eval[[]string](p.Tab,
		`[...document.querySelectorAll("#log .event")].map((e) => e.textContent.split(" · ")[0])`)
}

// waitPeople waits until the list of people and the picture of the replicas
// hold exactly names.
func (p *person) waitPeople(names []string) {
	p.t.Helper()
	p.Wait("exactly these people", `["#people [data-user]", "#replicas [data-user]"].every((selector) =>
		[...document.querySelectorAll(selector)].map((e) => e.dataset.user).sort().join("\n") ===
			args.toSorted().join("\n"))`,
		toAny(names)...)
}

// requireUnread checks that readers have text once and nobody else has it. A
// sender's messages arrive in the order sent, so p sends something to all:
// whoever has that would also have the earlier text.
func (p *person) requireUnread(tabs map[string]*person, readers []string, text string) {
	p.t.Helper()
	p.send("after " + text)
	for name, other := range tabs {
		other.waitMessage(p.Name(), "all", "after "+text)
		count := chromium.Eval[int](other.Tab, `[...document.querySelectorAll("#log .msg:not([data-meta=all])")].
			filter((m) => m.textContent.includes("`+text+`")).length`)
		if slices.Contains(readers, name) {
			require.Equal(p.t, 1, count, "%s should have read it once", name)
		} else {
			require.Zero(p.t, count, "%s has read what was not for all", name)
		}
	}
}

// texts returns the names of the elements that selector finds, in alphabetical
// order.
func (p *person) texts(selector string) []string {
	p.t.Helper()
	return chromium.Eval[[]string](p.Tab,
		"[...document.querySelectorAll(`"+selector+"`)].map((e) => e.dataset.user).sort()")
}

// replicas returns who is on which replica, as the page shows it.
func (p *person) replicas() map[string][]string {
	p.t.Helper()
	return chromium.Eval[map[string][]string](p.Tab, `Object.fromEntries(
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

// writeLines lets five people write the lines with the numbers from first to
// last, in turn, to a chat that is stopped. It runs at another address
// meanwhile, so that no page that is open can read them before it starts again.
func writeLines(t *testing.T, browser *chromium.Browser, chat *program, first, last int) {
	t.Helper()
	addr := freeAddr(t)
	elsewhere := start(t, chat.file, addr, append(slices.Clip(chat.args), "-addr", addr)...) // the last -addr counts
	writers := browser.Open(t, "the writers", chromedp.Navigate(elsewhere.url))
	writers.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`(async () => {
		const address = location.origin.replace("http", "ws") + "/ws?u=user";
		const sockets = Array.from({ length: 5 }, (_, n) => new WebSocket(address + n));
		await Promise.all(sockets.map((s) => new Promise((done) => { s.onopen = done; })));
		for (let n = %d; n <= %d; n++) {
			const socket = sockets[n %% 5], key = String(n);
			const written = new Promise((done) => {
				socket.onmessage = ({ data }) => JSON.parse(data).key === key && done();
			});
			socket.send(JSON.stringify({ type: "msg", text: "line " + n, key }));
			await written;
		}
	})()`, first, last), chromedp.EvalAwaitPromise))
	writers.Close()
	elsewhere.stop()
}

// lines returns the texts of the lines of the log that the page shows.
func (p *person) lines() []string {
	p.t.Helper()
	return chromium.Eval[[]string](p.Tab,
		`[...document.querySelectorAll("#log [data-id] .bubble")].map((b) => b.textContent)`)
}

// shows is whether the page shows a message.
const shows = `[...document.querySelectorAll("#log .bubble")].some((b) => b.textContent === args[0])`

// isStale is whether the page marks what it shows as out of date.
const isStale = `document.querySelector("#room.stale") !== null &&
	[...document.querySelectorAll(".note")].every((n) => n.checkVisibility())`
