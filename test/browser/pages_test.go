package browser_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// pageProgram is a program of the README or of a guide that somebody uses in a
// browser. The tests of docs build and run all programs, but without a browser.
type pageProgram struct {
	code    string
	scripts []string // for the console of the browser
}

var codeBlock = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// pagePrograms returns the programs of the README and of the guides that have a
// page or a script for the console, by their first type.
func pagePrograms(t *testing.T) map[string]*pageProgram {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs/guide/*.md"))
	require.NoError(t, err)
	programs := make(map[string]*pageProgram)
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var name, code string // the last program
		for _, block := range codeBlock.FindAllStringSubmatch(string(text), -1) {
			script := ""
			switch language, block := block[1], block[2]; {
			case language == "js" || language == "html":
				script = block
			case strings.HasPrefix(block, "package main\n") && !strings.Contains(block, "\nfunc Test"):
				_, name, _ = strings.Cut(block, "\ntype ")
				name, _, _ = strings.Cut(name, " ")
				code = block
			}
			if script == "" && !strings.Contains(code, "<script") {
				continue
			}
			require.NotEmpty(t, name, "%s has a script before any program:\n%s", file, script)
			if programs[name] == nil {
				programs[name] = &pageProgram{code: code}
			}
			if script != "" {
				programs[name].scripts = append(programs[name].scripts, script)
			}
		}
	}
	return programs
}

// start builds and starts the program, with another address to listen on.
func (g *pageProgram) start(t *testing.T) *program {
	t.Helper()
	dir, addr := t.TempDir(), freeAddr(t)
	source, file := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(source, []byte(at(g.code, addr)), 0o600))
	build(t, file, source)
	return start(t, file, addr)
}

// at returns text with another address of the program.
func at(text, addr string) string { return strings.ReplaceAll(text, "127.0.0.1:8080", addr) }

// Each program of the README and the guides that somebody uses in a browser
// does there what the page promises.
func TestPages_WorkInABrowser(t *testing.T) {
	tests := map[string]func(*testing.T, *chromium.Browser, *pageProgram){
		"Doc": testDoc, "List": testList, "Lobby": testLobby, "Command": testDevice, "Door": testDoor,
	}
	programs := pagePrograms(t)
	for name := range programs {
		require.Contains(t, tests, name, "a test opens the page of each program")
	}
	browser := chromium.Start(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, programs, name)
			test(t, browser, programs[name])
		})
	}
}

func requireQuiet(t *testing.T, tabs ...*chromium.Tab) {
	t.Helper()
	for _, p := range tabs {
		require.Empty(t, p.Console(), "what the console of %s shows", p.Name())
	}
}

// Two people who have the document open write into one text.
func testDoc(t *testing.T, browser *chromium.Browser, g *pageProgram) {
	doc := g.start(t)
	ada := browser.Open(t, "ada", chromedp.Navigate(doc.url+"/readme"))
	bob := browser.Open(t, "bob", chromedp.Navigate(doc.url+"/readme"))
	for _, p := range []*chromium.Tab{ada, bob} {
		p.Wait("a connection", `socket.readyState === WebSocket.OPEN`)
	}
	ada.Do(chromedp.SendKeys(chromedp.CSS("textarea"), "hello"))
	bob.Wait("what ada writes", `text.value === "hello"`)
	cyd := browser.Open(t, "cyd", chromedp.Navigate(doc.url+"/readme"))
	cyd.Wait("what was written before", `text.value === "hello"`)
	requireQuiet(t, ada, bob, cyd)
	doc.stop()
}

// The list has what was added, once, after a break of the connection, a planned
// restart and a crash.
func testList(t *testing.T, browser *chromium.Browser, g *pageProgram) {
	list := g.start(t)
	proxy := newProxy(t, list.url)
	ada := browser.Open(t, "ada", chromedp.Navigate(list.url))
	bob := browser.Open(t, "bob", chromedp.Navigate(proxy.url))
	both := []*chromium.Tab{ada, bob}
	buttons := map[string]string{"tea": "button:nth-of-type(1)", "bread": "button:nth-of-type(2)"}
	add := func(p *chromium.Tab, item string) {
		t.Helper()
		p.Do(chromedp.Click(chromedp.CSS(buttons[item])))
	}
	waitItems := func(items string) {
		t.Helper()
		for _, p := range both {
			p.Wait(items, `document.querySelector("p").textContent === args[0]`, items)
		}
	}
	add(ada, "tea")
	waitItems("tea")
	add(bob, "bread")
	waitItems("tea, bread")
	requireQuiet(t, both...)

	bob.Offline(true)
	proxy.cut()
	add(ada, "bread")
	ada.Wait("the item", `document.querySelector("p").textContent === "tea, bread, bread"`)
	add(bob, "tea")
	bob.Offline(false)
	waitItems("tea, bread, bread, tea")

	list.terminate()
	add(ada, "tea")
	list.start()
	waitItems("tea, bread, bread, tea, tea")

	list.kill()
	add(ada, "bread")
	list.start()
	waitItems("tea, bread, bread, tea, tea, bread")
	for _, p := range both {
		for _, line := range p.Console() {
			require.Regexp(t, `^error: (WebSocket connection to .* failed|Failed to load resource: net::ERR_)`, line)
		}
	}
	list.stop()
}

// Two people who say who they are read what the other writes.
func testLobby(t *testing.T, browser *chromium.Browser, g *pageProgram) {
	lobby := g.start(t)
	ada, bob := browser.Open(t, "ada"), browser.Open(t, "bob")
	both := []*chromium.Tab{ada, bob}
	for _, p := range both {
		p.Answer(lobby.url+"/general", p.Name())
		p.Wait("a connection", `socket.readyState === WebSocket.OPEN`)
	}
	want := ""
	for _, p := range both {
		p.Do(chromedp.SendKeys(chromedp.CSS("input"), "hello\n"))
		want += p.Name() + ": hello\n"
		for _, reader := range both {
			reader.Wait(want, `document.querySelector("pre").textContent === args[0]`, want)
		}
	}
	requireQuiet(t, both...)
	lobby.stop()
}

// A device, which is a console, gets each command until it acknowledges it.
func testDevice(t *testing.T, browser *chromium.Browser, g *pageProgram) {
	require.Len(t, g.scripts, 1)
	devices := g.start(t)
	command := func(text, want string) {
		t.Helper()
		resp, err := http.PostForm(devices.url+"/devices/door", url.Values{"do": {text}})
		require.NoError(t, err)
		defer resp.Body.Close()
		n, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, want, string(n))
	}
	door := browser.Open(t, "door")
	connect := func() {
		door.Do(chromedp.Navigate(devices.url))
		door.Run(at(g.scripts[0], strings.TrimPrefix(devices.url, "http://")))
	}
	waitCommand := func(line string) {
		t.Helper()
		require.Eventually(t, func() bool { return slices.Contains(door.Console(), "log: "+line) },
			time.Minute, 50*time.Millisecond, line)
	}
	command("open", "1\n")
	connect()
	waitCommand(`{"n":1,"text":"open"}`)
	command("close", "2\n")
	waitCommand(`{"n":2,"text":"close"}`)
	door.Do(chromedp.Navigate("about:blank"))
	command("lock", "3\n")
	connect()
	waitCommand(`{"n":3,"text":"lock"}`)
	for _, line := range door.Console() {
		require.Regexp(t, `^log: |^error: .* 404 \(Not Found\)`, line)
	}
	devices.stop()
}

// A door, which is a console, carries out the commands that are sent while it
// is there, and those that were queued while it was away.
func testDoor(t *testing.T, browser *chromium.Browser, g *pageProgram) {
	require.Len(t, g.scripts, 1)
	doors := g.start(t)
	post := func(path string, form url.Values) (answer string) {
		t.Helper()
		resp, err := http.PostForm(doors.url+"/doors/front/"+path, form)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
		return string(body)
	}
	door := browser.Open(t, "door")
	connect := func() {
		door.Do(chromedp.Navigate(doors.url))
		door.Run("(async () => {" + at(g.scripts[0], strings.TrimPrefix(doors.url, "http://")) + "})()")
	}
	connect()
	require.Equal(t, "done as told\n", post("open", nil))
	door.Do(chromedp.Navigate("about:blank"))
	post("light", url.Values{"on": {"false"}})
	post("light", url.Values{"on": {"true"}})
	connect()
	require.Equal(t, "done as told\n", post("open", nil), "after the light, since commands come in order")
	var told []string
	for _, line := range door.Console() {
		if !strings.HasPrefix(line, "error: ") {
			told = append(told, line)
			continue
		}
		require.Regexp(t, `^error: .* 404 \(Not Found\)`, line)
	}
	require.Len(t, told, 3, "of the light, the newest setting: %v", told)
	doors.stop()
}
