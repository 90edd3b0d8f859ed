package browser_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// A page that nobody sees, while the server restarts in order and by being
// killed, has every line once and in order when somebody looks at it again, and
// each of its own has taken effect once. With a history on a disk it has no
// gap.
func TestDogJS_UnseenPageOutlivesRestarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "board")
	build(t, file, "./test/internal/board")
	for how, see := range map[string]func(p *chromium.Tab, seen bool){
		"hidden": func(p *chromium.Tab, seen bool) { p.Hide(!seen) },
		"frozen": func(p *chromium.Tab, seen bool) { // which only a hidden one becomes by itself
			if seen {
				p.Freeze(false)
				p.Hide(false)
			} else {
				p.Hide(true)
				p.Freeze(true)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			addr := freeAddr(t)
			server := start(t, file, addr, "-addr", addr, "-data", filepath.Join(t.TempDir(), "board"))
			browser := chromium.Start(t)
			ada := browser.Open(t, "ada", chromedp.Navigate(server.url))
			bob := browser.Open(t, "bob", chromedp.Navigate(server.url))
			for _, p := range []*chromium.Tab{ada, bob} {
				p.Wait("a connection", `window.room?.state === "open" && gaps.join() === "first"`)
			}
			ends := []func(){server.terminate, server.kill, server.kill, server.terminate}
			for n, end := range ends {
				missRestart(t, server, ada, bob, fmt.Sprint("round ", n, ": "), end, see)
			}
			for _, p := range []*chromium.Tab{ada, bob} {
				require.Equal(t, "first", chromium.Eval[string](p, `gaps.join()`), "%s has a gap", p.Name())
			}
			if how == "frozen" {
				require.Equal(t, len(ends), chromium.Eval[int](ada, `freezes`))
			}
			server.terminate()
		})
	}
}

// missRestart ends the server and starts it again while nobody sees ada's page,
// and requires that nothing is missing afterwards and nothing there twice.
// Round is the beginning of the lines.
func missRestart(
	t *testing.T, server *program, ada, bob *chromium.Tab, round string, end func(), see func(*chromium.Tab, bool),
) {
	t.Helper()
	write := func(p *chromium.Tab, line string) { p.Run(`void write("` + round + line + `")`) }
	waitHandled := func(p *chromium.Tab, line string) {
		t.Helper()
		p.Wait("that the server has handled "+line, `handled.includes(args[0])`, round+line)
	}
	waitLine := func(p *chromium.Tab, line string) {
		t.Helper()
		p.Wait(line, `lines.includes(args[0])`, round+line)
	}
	// From here on ada's page learns nothing by its present connection: neither
	// that the server has handled its line, nor what bob writes.
	ada.Run(`sockets.at(-1).onmessage = () => {}`)
	write(ada, "ada 1")
	waitLine(bob, "ada 1")
	see(ada, false)
	write(bob, "bob 1")
	waitHandled(bob, "bob 1")
	end()
	bob.Wait("the end of the connection", `room.state !== "open"`)
	write(ada, "ada 2")
	write(bob, "bob 2")
	server.start()
	waitHandled(bob, "bob 2")
	write(bob, "bob 3")
	waitHandled(bob, "bob 3")
	see(ada, true)
	waitHandled(ada, "ada 1")
	waitHandled(ada, "ada 2")
	write(ada, "ada 3")
	waitHandled(ada, "ada 3")

	lines := written(t, server)
	for _, name := range []string{"ada ", "bob "} {
		var own []string
		for _, line := range lines {
			if strings.HasPrefix(line, round+name) {
				own = append(own, strings.TrimPrefix(line, round))
			}
		}
		require.Equal(t, []string{name + "1", name + "2", name + "3"}, own)
	}
	for _, p := range []*chromium.Tab{ada, bob} {
		waitLine(p, "ada 3")
		require.Equal(t, lines, chromium.Eval[[]string](p, `lines`), "what %s has", p.Name())
	}
}

// written returns the lines that the board has stored.
func written(t *testing.T, board *program) (lines []string) {
	t.Helper()
	resp, err := http.Get(board.url + "/board")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&lines))
	return lines
}
