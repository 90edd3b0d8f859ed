package browser_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// Five people are spread over three replicas of two places each.
func TestChat_PeopleOnThreeReplicas(t *testing.T) {
	browser := chromium.Start(t)
	proxy := newProxy(t, example(t, "chat", "-limit", "2").url)

	names := []string{"ada", "bob", "cleo", "dan", "<b>x</b>"}
	tabs := make(map[string]*person, len(names))
	for i, name := range names {
		tabs[name] = visit(t, browser, name, proxy.url, i%2 == 0)
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
	ada.send("hello <i>all</i>")
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
	tabs["<b>x</b>"].send("<img src=x onerror=alert(1)>")
	for _, p := range tabs {
		p.waitMessage("<b>x</b>", "all", "<img src=x onerror=alert(1)>")
		require.False(t, chromium.Eval[bool](p.Tab,
			`document.querySelector(":is(#log, #people, #replicas) :is(b, i:not(.places *), img)") !== null`),
			"%s shows markup", p.Name())
	}

	// A whisper crosses replicas and reaches nobody else.
	far := names[slices.IndexFunc(names, func(name string) bool { return !slices.Contains(neighbours, name) })]
	ada.Do(chromedp.Click(chromedp.CSS(`#people [data-user="` + far + `"] button`)))
	ada.Wait("the prefix of a whisper", `document.querySelector("#text").value === "/w `+far+` "`)
	ada.send("/w " + far + " secret")
	ada.waitMessage("ada", "whisper", "secret")
	tabs[far].waitMessage("ada", "whisper", "secret")
	ada.requireUnread(tabs, []string{"ada", far}, "secret")

	// A group message stays on its replica.
	ada.send("/g neighbours")
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
		p.observe()
	}
	proxy.cut()
	for _, p := range tabs {
		p.Wait("a new connection",
			`["offline", "connecting"].every((s) => states.includes(s)) && states.at(-1) === "online"`)
	}
	require.Equal(t, "still here", chromium.Eval[string](ada.Tab, `document.querySelector("#text").value`))
	ada.Do(chromedp.Click(chromedp.CSS("#send")))
	for _, p := range tabs {
		p.waitMessage("ada", "all", "still here")
	}
}

// observe records what the page shows about its connection.
func (p *person) observe() {
	p.t.Helper()
	p.Run(`
		window.states = [];
		const status = document.querySelector("#status");
		new MutationObserver(() => states.push(status.dataset.state)).
			observe(status, { attributeFilter: ["data-state"] });`)
}

// catchSocket makes the page's WebSocket known as socket.
func (p *person) catchSocket() {
	p.t.Helper()
	p.Run(`
		const send = WebSocket.prototype.send;
		WebSocket.prototype.send = function (data) {
			window.socket = this;
			WebSocket.prototype.send = send;
			this.send(data);
		};`)
	p.send("caught")
	p.waitMessage(p.Name(), "all", "caught")
}

func TestChat_ShowsTheLog(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat", "-data", filepath.Join(t.TempDir(), "chat"))
	chat.stop()
	writeLines(t, browser, chat, 1, 450)
	chat.start()
	ada := visit(t, browser, "ada", chat.url, false)
	lines := ada.lines()
	require.Len(t, lines, 200)
	require.Equal(t, "line 251", lines[0])
	require.Equal(t, "line 450", lines[199])
	ada.Wait("the end of the log", `log.scrollTop + log.clientHeight >= log.scrollHeight - 1`)

	// Older lines come when they are needed, and what is read stays where it
	// is.
	for _, want := range []int{400, 450} {
		place := chromium.Eval[float64](ada.Tab, `(() => {
			log.scrollTop = 100;
			window.read = log.querySelector("[data-id]");
			return read.getBoundingClientRect().top;
		})()`)
		ada.Wait("older lines", `document.querySelectorAll("#log [data-id]").length === args[0] &&
			document.querySelector("#older").hidden`, want)
		require.InDelta(t, place, chromium.Eval[float64](ada.Tab, `read.getBoundingClientRect().top`), 2)
	}
	lines = ada.lines()
	for i, line := range lines {
		require.Equal(t, fmt.Sprint("line ", i+1), line)
	}
	bob := visit(t, browser, "bob", chat.url, false)
	bob.send("new")
	ada.Wait("a hint at it", `!document.querySelector("#newer").hidden`)
	ada.Do(chromedp.Click(chromedp.CSS("#newer")))
	ada.waitMessage("bob", "all", "new")
}

// A planned restart shows no error to anybody.
func TestChat_ReconnectsAfterARestart(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat", "-data", filepath.Join(t.TempDir(), "chat"))
	ada, bob := visit(t, browser, "ada", chat.url, false), visit(t, browser, "bob", chat.url, false)
	both := []*person{ada, bob}
	for _, p := range both {
		p.waitPeople([]string{"ada", "bob"})
		p.observe()
	}
	ada.send("before")
	ada.Do(chromedp.SendKeys(chromedp.CSS("#text"), "a draft"))
	chat.stop()
	chat.start()
	for _, p := range both {
		p.Wait("a new connection", `states.length > 1 && states.at(-1) === "online"`)
		require.NotContains(t, chromium.Eval[[]string](p.Tab, `states`), "offline")
	}
	require.Equal(t, "a draft", chromium.Eval[string](ada.Tab, `text.value`))
	bob.send("after")
	for _, p := range both {
		p.waitMessage("bob", "all", "after")
		p.waitPeople([]string{"ada", "bob"})
		require.Equal(t, []string{"before", "after"}, p.lines())
	}
	for p, events := range map[*person][]string{ada: {"bob joined"}, bob: {}} { // as before the restart
		require.Equal(t, events, p.events())
	}

	// While the server is away, the page shows how old it is.
	chat.stop()
	for _, p := range both {
		p.Wait("the notes that it is out of date", isStale)
	}
	ada.RequireAccessible()
	writeLines(t, browser, chat, 1, 3)
	chat.start()
	for _, p := range both {
		p.Wait("what was written meanwhile", shows, "line 3")
		require.False(t, chromium.Eval[bool](p.Tab, `document.querySelector(".stale, .note:not([hidden])") !== null`))
		require.Equal(t, []string{"before", "after", "line 1", "line 2", "line 3"}, p.lines())
	}

	// Where more was written than fits into a page, no gap is shown.
	chat.stop()
	ada.Wait("the notes that it is out of date", isStale)
	writeLines(t, browser, chat, 4, 303)
	chat.start()
	ada.Wait("what was written meanwhile", shows, "line 303")
	ada.Run(`log.scrollTop = 0`)
	ada.Wait("all of it", `document.querySelectorAll("#log [data-id]").length === 305`)
	lines := ada.lines()
	require.Equal(t, []string{"before", "after", "line 1"}, lines[:3])
	for i, line := range lines[2:] {
		require.Equal(t, fmt.Sprint("line ", i+1), line)
	}
}

// A restart of a proxy shows no error either.
func TestChat_ReconnectsAfterARestartOfAProxy(t *testing.T) {
	browser := chromium.Start(t)
	proxy := newProxy(t, example(t, "chat").url)
	ada := visit(t, browser, "ada", proxy.url, false)
	ada.waitPeople([]string{"ada"})
	ada.observe()
	proxy.restart(t)
	ada.Wait("a new connection", `states.at(-1) === "online"`)
	require.Equal(t, []string{"connecting", "online"}, chromium.Eval[[]string](ada.Tab, `states`))
}

// A connection that is lost is lost without a word, and what was written just
// before arrives once.
func TestChat_ResendsUnacknowledgedMessages(t *testing.T) {
	browser := chromium.Start(t)
	proxy := newProxy(t, example(t, "chat").url)
	ada := visit(t, browser, "ada", proxy.url, false)
	ada.observe()
	ada.catchSocket()
	// The first message arrives and its answer is lost; the second one is lost.
	ada.Run(`
		socket.onmessage = () => {};
		text.value = "first"; document.querySelector("#send").click();
		socket.send = () => {};
		text.value = "second"; document.querySelector("#send").click();`)
	bob := visit(t, browser, "bob", proxy.url, false)
	bob.waitMessage("ada", "all", "first")
	proxy.cut()
	for _, p := range []*person{ada, bob} {
		p.waitMessage("ada", "all", "second")
		require.Equal(t, []string{"caught", "first", "second"}, p.lines())
	}
	require.Contains(t, chromium.Eval[[]string](ada.Tab, `states`), "offline", "that one was not planned")
}

// looks returns the colours of people's faces, and the least contrast between a
// face or a name and what is behind it.
func (p *person) looks() (faces map[string]string, contrast float64) {
	p.t.Helper()
	type look struct {
		Name, Face string
		Contrast   float64
	}
	all := chromium.Eval[[]look](p.Tab, `(() => {
		const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
		const light = (colour) => {
			canvas.fillStyle = colour;
			canvas.fillRect(0, 0, 1, 1);
			const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255).
				map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
		const surface = getComputedStyle(document.querySelector(".talk")).backgroundColor;
		return [...document.querySelectorAll("#people .who, #log .by > .who")].map((who) => {
			const face = getComputedStyle(who.querySelector(".face"));
			const name = getComputedStyle(who.querySelector("bdi"));
			return { Name: who.querySelector("bdi").textContent, Face: face.backgroundColor,
				Contrast: Math.min(contrast(face.color, face.backgroundColor), contrast(name.color, surface)) };
		});
	})()`)
	faces, contrast = make(map[string]string), 21
	for _, l := range all {
		if face, seen := faces[l.Name]; seen {
			require.Equal(p.t, face, l.Face, "%s has two colours", l.Name)
		}
		faces[l.Name], contrast = l.Face, min(contrast, l.Contrast)
	}
	return faces, contrast
}

// People have different colours, can be read in light and dark, and axe-core
// finds nothing to complain of, on a desk and on the smallest phone.
func TestChat_IsAccessible(t *testing.T) {
	browser := chromium.Start(t)
	chat := example(t, "chat", "-limit", "2")
	welcome := browser.Open(t, "nobody yet", chromedp.EmulateViewport(320, 568), chromedp.Navigate(chat.url))
	welcome.RequireAccessible()
	require.LessOrEqual(t, chromium.Eval[int](welcome, `document.documentElement.scrollWidth`), 320)

	var people []*person
	for n := range 4 {
		client := visit(t, browser, fmt.Sprint("guest-", n), chat.url, false, chromedp.EmulateViewport(320, 568))
		client.send("hello")
		people = append(people, client)
	}
	ada := visit(t, browser, "ada", chat.url, true)
	people[0].send("/w ada between us")
	people[0].send("/g among neighbours")
	ada.send("hello to all")
	ada.waitMessage("guest-0", "whisper", "between us")
	phone := people[0]
	long := strings.Repeat("long", 50) // a word without a place to break it
	phone.send(long)
	for _, p := range []*person{ada, phone} {
		p.waitMessage("guest-0", "all", long)
		for _, scheme := range []string{"light", "dark"} {
			p.Run(`document.documentElement.style.colorScheme = "` + scheme + `"`)
			p.RequireAccessible()
			_, contrast := p.looks()
			require.Greater(t, contrast, 4.5, scheme)
		}
	}
	require.Equal(t, 320, chromium.Eval[int](phone.Tab, `innerWidth`))
	require.LessOrEqual(t, chromium.Eval[int](phone.Tab, `document.documentElement.scrollWidth`), 320,
		"the page scrolls sideways")
	require.True(t, chromium.Eval[bool](phone.Tab, `[...document.querySelectorAll(".replica, .head, .modes, .bar")].
		every((e) => e.scrollWidth <= e.clientWidth)`), "something is cut off")
	require.True(t, chromium.Eval[bool](phone.Tab, `["#send", "#leave"].every((b) =>
		document.querySelector(b).getBoundingClientRect().right <= 320)`))

	// Two dozen people have two dozen colours.
	ada.catchSocket()
	ada.Run(`for (let n = 0; n < 19; n++) {
		const message = { type: "msg", id: 1 + n, from: "talker" + n, text: "x", key: "" };
		socket.onmessage({ data: "m\n" + JSON.stringify(message) });
	}`)
	for _, scheme := range []string{"light", "dark"} {
		ada.Run(`document.documentElement.style.colorScheme = "` + scheme + `"`)
		faces, contrast := ada.looks()
		require.Len(t, faces, 24)
		require.Len(t, slices.Compact(slices.Sorted(maps.Values(faces))), 24, scheme)
		require.Greater(t, contrast, 4.5, scheme)
	}
}
