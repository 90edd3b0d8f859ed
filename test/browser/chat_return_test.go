package browser_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// messages returns the texts of all messages that the page shows, also of those
// to a few people and of those that wait.
func (p *person) messages() []string {
	p.t.Helper()
	return chromium.Eval[[]string](p.Tab, `[...document.querySelectorAll("#log .bubble")].map((b) => b.textContent)`)
}

// waitOnline waits until the page has a connection and has sent what waits.
func (p *person) waitOnline() {
	p.t.Helper()
	p.Wait("a connection, and that nothing waits",
		`document.querySelector("#status[data-state=online]") && !document.querySelector("#log .pending")`)
}

// A page that is loaded again shows what it showed before, and what was sent
// meanwhile. What it had not sent yet is sent once.
func TestChat_ReloadLosesNothing(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat")
	ada, bob := visit(t, browser, "ada", chat.url, false), visit(t, browser, "bob", chat.url, false)
	ada.send("one")
	bob.waitMessage("ada", "all", "one")
	bob.send("/w ada two")
	ada.waitMessage("bob", "whisper", "two")
	ada.catchSocket()
	// The answer to the first message is lost, and so is the second message.
	ada.Run(`
		socket.onmessage = () => {};
		text.value = "first"; document.querySelector("#send").click();
		socket.send = () => {};
		text.value = "/w bob second"; document.querySelector("#send").click();`)
	bob.waitMessage("ada", "all", "first")
	ada.Do(chromedp.SendKeys(chromedp.CSS("#text"), "draft"))
	draft := chromium.Eval[string](ada.Tab, `text.value`)
	require.Equal(t, []string{"one", "two", "caught", "first", "second"}, ada.messages())

	ada.Do(chromedp.Navigate("about:blank"))
	bob.send("three")
	bob.send("/w ada four")
	bob.waitMessage("bob", "whisper", "four")
	ada.Do(chromedp.Navigate(chat.url))
	ada.waitOnline()
	bob.waitMessage("ada", "whisper", "second")
	want := []string{"one", "two", "caught", "first", "three", "four", "second"}
	require.Equal(t, want, ada.messages())
	require.Equal(t, want, bob.messages())
	require.Equal(t, draft, chromium.Eval[string](ada.Tab, `text.value`))
	ada.Do(chromedp.Reload())
	ada.waitOnline()
	require.Equal(t, want, ada.messages())
}

// Without a network the page keeps what is written, and shows that it is out of
// date. Afterwards it shows what it has missed, and everything once.
func TestChat_OfflineLosesNothing(t *testing.T) {
	browser := chromium.Start(t)
	proxy := newProxy(t, example(t, "chat").url)
	ada, bob := visit(t, browser, "ada", proxy.url, false), visit(t, browser, "bob", proxy.url, false)
	for _, p := range []*person{ada, bob} {
		p.waitPeople([]string{"ada", "bob"})
	}
	ada.send("one")
	bob.waitMessage("ada", "all", "one")
	ada.Offline(true)
	proxy.cut()
	ada.Wait("the notes that it is out of date", isStale)
	ada.send("mine 1")
	ada.send("/w bob mine 2")
	ada.Wait("that they wait", `document.querySelectorAll("#log .pending").length === 2`)
	ada.RequireAccessible()
	bob.waitOnline()
	for n := range 3 {
		bob.send(fmt.Sprint("missed ", n))
	}
	bob.send("/w ada missed 3")
	bob.waitMessage("bob", "whisper", "missed 3")

	ada.Offline(false)
	ada.waitOnline()
	bob.waitMessage("ada", "whisper", "mine 2")
	want := []string{"one", "missed 0", "missed 1", "missed 2", "missed 3", "mine 1", "mine 2"}
	require.Equal(t, want, ada.messages())
	require.Equal(t, want, bob.messages())
	require.False(t, chromium.Eval[bool](ada.Tab, `document.querySelector(".stale, .note:not([hidden])") !== null`))
}

// Who closes the lid of a laptop and opens it again reads everything that was
// written meanwhile, and what was not sent before is sent once.
func TestChat_ClosedLidLosesNothing(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat")
	proxy := newProxy(t, chat.url)
	ada, bob := visit(t, browser, "ada", proxy.url, false), visit(t, browser, "bob", chat.url, false)
	ada.catchSocket()
	// The answer to the first message is lost, and so is the second message.
	ada.Run(`
		window.freezes = 0;
		document.addEventListener("freeze", () => { freezes++; });
		socket.onmessage = () => {};
		text.value = "first"; document.querySelector("#send").click();
		socket.send = () => {};
		text.value = "/w bob second"; document.querySelector("#send").click();`)
	bob.waitMessage("ada", "all", "first")
	ada.Hide(true)
	ada.Freeze(true)
	proxy.cut()
	for n := range 3 {
		bob.send(fmt.Sprint("asleep ", n))
	}
	bob.send("/w ada are you asleep?")
	bob.waitMessage("bob", "whisper", "are you asleep?")

	ada.Freeze(false)
	ada.Hide(false)
	ada.waitOnline()
	require.Equal(t, 1, chromium.Eval[int](ada.Tab, `freezes`))
	bob.waitMessage("ada", "whisper", "second")
	want := []string{"caught", "first", "asleep 0", "asleep 1", "asleep 2", "are you asleep?", "second"}
	require.Equal(t, want, ada.messages())
	require.Equal(t, want, bob.messages())
}

// Nobody reads that somebody has left whose connection broke and who is back
// at once.
func TestChat_BrokenConnectionIsNoNews(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat")
	proxy := newProxy(t, chat.url)
	ada, bob := visit(t, browser, "ada", chat.url, false), visit(t, browser, "bob", proxy.url, false)
	ada.waitEvent("join", "bob")
	bob.observe()
	for n := range 3 {
		bob.Run(`states = []`)
		proxy.cut()
		bob.Wait("a new connection", `states.length > 1 && states.at(-1) === "online"`)
		bob.send(fmt.Sprint("back ", n))
		ada.waitMessage("bob", "all", fmt.Sprint("back ", n))
		ada.waitPeople([]string{"ada", "bob"})
	}
	visit(t, browser, "cyd", chat.url, false)
	for p, want := range map[*person][]string{ada: {"bob joined", "cyd joined"}, bob: {"cyd joined"}} {
		p.waitEvent("join", "cyd") // after all earlier news
		require.Equal(t, want, p.events())
	}
}

// Two people write while the server restarts, in order and by being killed.
// Nothing is lost, and nothing is there twice.
func TestChat_RestartsLoseNothing(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat", "-data", filepath.Join(t.TempDir(), "chat"))
	both := []*person{visit(t, browser, "ada", chat.url, false), visit(t, browser, "bob", chat.url, false)}
	for _, p := range both {
		p.Run(`window.written = 0; window.writing = setInterval(() => {
			text.value = document.querySelector("#my-name bdi").textContent + " " + ++written;
			document.querySelector("#send").click();
		}, 100)`)
	}
	for round := range 4 {
		both[0].Wait("more messages", `written >= args[0]`, chromium.Eval[int](both[0].Tab, `written`)+10)
		if round%2 == 0 {
			chat.stop()
		} else {
			chat.kill()
		}
		both[0].Wait("messages that wait", `document.querySelectorAll("#log .pending").length > 5`)
		chat.start()
		for _, p := range both {
			p.Run(`dispatchEvent(new Event("online"))`) // so that it need not wait
		}
	}
	for _, p := range both {
		p.Run(`clearInterval(writing)`)
	}
	for _, p := range both {
		p.waitOnline()
	}
	total := chromium.Eval[int](both[0].Tab, `written`) + chromium.Eval[int](both[1].Tab, `written`)
	require.Less(t, total, 500, "the page keeps no more")
	for _, p := range both {
		p.Wait("all messages", `document.querySelectorAll("#log [data-id]").length >= args[0]`, total)
		require.Equal(t, total, len(p.messages()))
		require.Equal(t, total, chromium.Eval[int](p.Tab,
			`new Set([...document.querySelectorAll("#log .bubble")].map((b) => b.textContent)).size`))
	}
	require.Equal(t, both[0].messages(), both[1].messages())
}

// A message that cannot be delivered stays, to be sent again.
func TestChat_WhisperToNobody(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat", "-history", "0")
	ada := visit(t, browser, "ada", chat.url, false)
	ada.send("/w zoe are you there?")
	ada.waitEvent("failed", "zoe")
	ada.RequireAccessible()
	ada.Do(chromedp.Reload())
	ada.Wait("the message", `document.querySelector("#log .failed .bubble")?.textContent === "are you there?"`)
	zoe := visit(t, browser, "zoe", chat.url, false)
	ada.Do(chromedp.Click(chromedp.CSS("#log .again")))
	zoe.waitMessage("ada", "whisper", "are you there?")
	ada.waitOnline()
	require.Equal(t, []string{"are you there?"}, ada.messages())
}

// A page that was so slow that messages expired loads the end of the log.
func TestChat_SlowPageLoadsTheLog(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat")
	ada := visit(t, browser, "ada", chat.url, false)
	ada.catchSocket()
	for n := range 3 {
		ada.send(fmt.Sprint(n))
		ada.waitMessage("ada", "all", fmt.Sprint(n))
	}
	ada.Run(`
		for (const line of [...document.querySelectorAll("#log [data-id]")].slice(1)) line.remove();
		socket.onmessage({ data: 'g{"from":"","to":"k3f7q2ab7c2d-a3","why":"slow"}' });`)
	ada.Wait("all lines", `document.querySelectorAll("#log [data-id]").length === 4`)
	require.Equal(t, []string{"caught", "0", "1", "2"}, ada.lines())
}
