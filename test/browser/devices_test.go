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

// simulate starts a fleet of devices, and returns a function that ends them.
func simulate(t *testing.T, server *program, devices string) (end func()) {
	t.Helper()
	fleet := exec.Command(server.file, "-addr", server.url[len("http://"):], "-simulate", devices)
	fleet.Stderr = os.Stderr
	require.NoError(t, fleet.Start())
	end = func() {
		_ = fleet.Process.Kill()
		_ = fleet.Wait()
	}
	t.Cleanup(end)
	return end
}

// An operator sees a fleet come, sends it a command, and sees the answers, also
// when the server is killed meanwhile.
func TestDevices_Page(t *testing.T) {
	browser := chromium.Start(t)
	server := example(t, "devices", "-data", filepath.Join(t.TempDir(), "fleet"))
	page := browser.Open(t, "operator", chromedp.EmulateViewport(320, 568), chromedp.Navigate(server.url))
	page.Wait("the connection", `document.querySelector("#state").textContent === ""`)
	simulate(t, server, "40")
	page.Wait("all devices", `document.querySelector("#online").textContent === "40"`)
	page.Wait("a row for each", `document.querySelectorAll("#rows tr").length === 40`)

	page.Run(`const f = document.querySelector("#form");
		f.To.value = "north-*"; f.Rate.value = 100; f.Abort.value = 90; f.requestSubmit()`)
	page.Wait(
		"ten answers",
		`document.querySelector("#rollout").textContent.startsWith("version to north-*: done, 10 done")`,
	)
	page.Wait("their texts", `document.querySelector("#answers").textContent.includes("north-0004: version 0")`)
	page.Wait("the text in its row", `[...document.querySelectorAll("#rows tr")].some(row =>
		row.cells[0].textContent === "north-0004" && row.cells[5].textContent === "version 0")`)

	page.RequireAccessible()
	require.LessOrEqual(t, chromium.Eval[int](page, `document.documentElement.scrollWidth`), 320)

	page.Run(`const g = document.querySelector("#form");
		g.Command.value = "update"; g.To.value = "*"; g.Rate.value = 10; g.requestSubmit()`)
	page.Wait("some answers", `/running, [1-9]/.test(document.querySelector("#rollout").textContent)`)
	server.kill()
	page.Wait("that it knows", `document.querySelector("#state").className === "off"`)
	server.start()
	page.Wait("all answers", `/^update to \*: done, .* 0 left/.test(document.querySelector("#rollout").textContent)`)
	page.Wait("all devices", `document.querySelector("#online").textContent === "40"`)
	server.stop()
}

// An operator finds devices, commands one, stops a rollout, still sees after a
// reload which devices have failed, and removes one.
func TestDevices_Operator(t *testing.T) {
	browser := chromium.Start(t)
	data := filepath.Join(t.TempDir(), "fleet")
	server := example(t, "devices", "-data", data)
	page := browser.Open(t, "operator", chromedp.EmulateViewport(320, 568), chromedp.Navigate(server.url))
	end := simulate(t, server, "210")
	page.Wait("all devices", `document.querySelector("#online").textContent === "210"`)

	page.Wait("a page of them", `document.querySelector("#found").textContent === "200 of 210 devices"`)
	page.Run(`document.querySelector("#more").click()`)
	page.Wait("the rest", `document.querySelector("#found").textContent === "210 of 210 devices"`)
	page.Run(`const filter = (name, state) => {
		const f = document.querySelector("#filter");
		f.Name.value = name;
		f.State.value = state;
		f.dispatchEvent(new Event("input"));
	}`)
	found := func(name, state, want string) {
		t.Helper()
		page.Run(`filter("` + name + `", "` + state + `")`)
		page.Wait("the devices "+name+" "+state, `document.querySelector("#found").textContent === args[0]`, want)
	}
	found("#canary", "any", "21 of 21 devices")
	found("north-000", "connected", "3 of 3 devices")
	found("north-*", "away", "0 of 0 devices")
	found("", "waiting", "0 of 0 devices")
	found("north-0004", "any", "1 of 1 devices")
	row := func(cell string) string {
		return chromium.Eval[string](page, `document.querySelector("#rows tr").cells[`+cell+`].textContent`)
	}
	require.Equal(t, "now", row("3"))
	year := chromium.Eval[string](page, `String(new Date().getFullYear())`)
	require.Contains(t, row("2"), year, "with the date")

	page.Run(`document.querySelector("#rows button").click()`)
	page.Wait("what waits for it", `document.querySelector("#queue").textContent === "none"`)
	page.RequireAccessible()
	require.LessOrEqual(t, chromium.Eval[int](page, `document.documentElement.scrollWidth`), 320)
	page.Run(`document.querySelector("#one [value=command]").click()`)
	page.Wait("its name in the form", `document.querySelector("#form").To.value === "north-0004"`)
	page.Run(`document.querySelector("#form").requestSubmit()`)
	page.Wait("its answer",
		`document.querySelector("#rollout").textContent.startsWith("version to north-0004: done, 1 ")`)

	page.Run(`const f = document.querySelector("#form");
		f.Command.value = "explode"; f.To.value = "*"; f.Rate.value = 1; f.Abort.value = 100; f.requestSubmit()`)
	page.Wait("a failure", `/running, 0 done, [1-9]/.test(document.querySelector("#rollout").textContent)`)
	page.Run(`document.querySelector("#stop").click()`)
	const stopped = `/stopped, 0 done, [1-9] failed, 0 left/.test(document.querySelector("#rollout").textContent)`
	page.Wait("its end", stopped)
	server.kill()
	server.start()
	page.Do(chromedp.Navigate(server.url))
	page.Wait("how it ended", stopped)
	page.Run(`document.querySelector("#failures").click()`)
	page.Wait("who has failed", `document.querySelectorAll("#rows tr").length > 0 &&
		document.querySelector("#rows tr").cells[5].textContent.startsWith("failed: ") &&
		document.querySelector("#rollout").textContent.includes(
			document.querySelectorAll("#rows tr").length + " failed")`)

	end()
	page.Wait("that they have gone", `document.querySelector("#online").textContent === "0"`)
	require.Contains(t, row("3"), year, "with the date")
	page.Run(`document.querySelector("#rows button").click()`)
	page.Run(`document.querySelector("#one [value=remove]").click()`)
	page.Wait("one less", `document.querySelector("#all").textContent === "209"`)

	server.kill()
	require.NoError(t, os.RemoveAll(data))
	server.start()
	page.Wait("nothing of before", `document.querySelector("#all").textContent === "0"`)
	server.stop()
}
