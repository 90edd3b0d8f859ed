package browser_test

import (
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// Two people play a match in a real browser, and one reloads the page
// meanwhile.
func TestGame_Page(t *testing.T) {
	browser := chromium.Start(t)
	server := example(t, "game")

	ada := browser.Open(t, "ada", chromedp.Navigate(server.url))
	ada.Wait("that it is alone", `document.querySelector("#status").textContent === "waiting for another player"`)
	bob := browser.Open(t, "bob", chromedp.Navigate(server.url))
	for _, p := range []*chromium.Tab{ada, bob} {
		p.Wait("both players", `document.querySelectorAll("#players li").length === 2`)
		p.Wait("the match", `document.querySelector("#status").textContent.endsWith("s left")`)
	}

	ada.Run(`dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }))`)
	ada.Wait(
		"points",
		`[...document.querySelectorAll("#players li")].some(li => /^you: ([3-9]|\d\d)/.test(li.textContent))`,
	)
	bob.Wait(
		"the other's points",
		`[...document.querySelectorAll("#players li")].some(li => /^player \d+: ([3-9]|\d\d)/.test(li.textContent))`,
	)

	// The field and the seat are there after a reload.
	seat := chromium.Eval[int](ada, `seat`)
	ada.Do(chromedp.Reload())
	ada.Wait(
		"the old seat",
		`seat === args[0] &&
			[...document.querySelectorAll("#players li")].some(li => /^you: ([3-9]|\d\d)/.test(li.textContent))`,
		seat,
	)
	ada.Wait("both players", `document.querySelectorAll("#players li:not(.gone)").length === 2`)

	// Bob goes, and his seat is held for him, then free.
	bob.Close()
	ada.Wait("that bob has gone", `document.querySelectorAll("#players li.gone").length === 1`)
	ada.Wait("that his seat is free", `document.querySelectorAll("#players li").length === 1`)
	server.stop()
}
