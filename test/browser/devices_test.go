package browser_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// An operator sees a fleet come, sends it a command, and sees the answers, also
// when the server is killed meanwhile.
func TestDevices_Page(t *testing.T) {
	browser := chromium.Start(t)
	server := example(t, "devices", "-data", filepath.Join(t.TempDir(), "fleet"))
	page := browser.Open(t, "operator", chromedp.EmulateViewport(320, 568), chromedp.Navigate(server.url))
	page.Wait("the connection", `document.querySelector("#state").textContent === ""`)

	fleet := exec.Command(server.file, "-addr", server.url[len("http://"):], "-simulate", "40")
	fleet.Stderr = os.Stderr
	require.NoError(t, fleet.Start())
	defer func() {
		_ = fleet.Process.Kill()
		_ = fleet.Wait()
	}()
	page.Wait("all devices", `document.querySelector("#online").textContent === "40"`)
	page.Wait("a row for each", `document.querySelectorAll("#rows tr").length === 40`)

	page.Run(`const f = document.querySelector("#form");
		f.To.value = "north-"; f.Rate.value = 100; f.Abort.value = 90; f.requestSubmit()`)
	page.Wait(
		"ten answers",
		`document.querySelector("#rollout").textContent.startsWith("version to north-: done, 10 done")`,
	)
	page.Wait("their texts", `document.querySelector("#answers").textContent.includes("north-0004: version 0")`)

	page.RequireAccessible()
	require.LessOrEqual(t, chromium.Eval[int](page, `document.documentElement.scrollWidth`), 320)

	page.Run(`const g = document.querySelector("#form");
		g.Command.value = "update"; g.To.value = ""; g.Rate.value = 10; g.requestSubmit()`)
	page.Wait("some answers", `/running, [1-9]/.test(document.querySelector("#rollout").textContent)`)
	server.kill()
	page.Wait("that it knows", `document.querySelector("#state").className === "off"`)
	server.start()
	page.Wait("all answers", `/^update to all: done, .* 0 left/.test(document.querySelector("#rollout").textContent)`)
	page.Wait("all devices", `document.querySelector("#online").textContent === "40"`)
	server.stop()
}
