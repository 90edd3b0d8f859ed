package browser_test

import (
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

const paragraphs = `[...document.querySelectorAll("#text div")]
	.map(e => e.innerText + " " + (e.dataset.author || "")).join("; ")`

// Two people write a document in a real browser, and a third reads it later.
func TestDocument_Page(t *testing.T) {
	browser := chromium.Start(t)
	server := example(t, "document", "-data", filepath.Join(t.TempDir(), "documents"))

	ada := browser.Open(t, "ada", chromedp.Navigate(server.url+"/readme?writer=ada"))
	bob := browser.Open(t, "bob", chromedp.Navigate(server.url+"/readme?writer=bob"))
	for _, p := range []*chromium.Tab{ada, bob} {
		p.Wait("both people", `document.querySelector("#people").textContent === "ada, bob"`)
		p.Wait("a place to write", `document.querySelectorAll("#text .draft").length === 1`)
	}

	// Enter ends a paragraph, and the next one can be written at once.
	ada.Do(chromedp.SendKeys(chromedp.CSS("#text .draft"), "first <b>line</b>\n"))
	ada.Wait("the second paragraph", `document.activeElement.className === "draft"`)
	ada.Do(chromedp.SendKeys(chromedp.CSS("#text .draft"), "second\n"))
	for _, p := range []*chromium.Tab{ada, bob} {
		p.Wait("two paragraphs", paragraphs+`.startsWith("first <b>line</b> ada; second ada")`)
	}

	// Bob changes the one and empties the other.
	bob.Do(chromedp.SendKeys(chromedp.CSS("#p2"), "+\n"))
	bob.Run(`document.activeElement.blur()`)
	ada.Wait("what bob has changed", paragraphs+`.includes("+second bob")`)
	bob.Run(
		`document.querySelector("#p1").focus(); document.querySelector("#p1").innerText = "";
		document.querySelector("#p1").blur()`,
	)
	ada.Wait("that the first is gone", `!document.querySelector("#p1")`)

	// What is written without a connection stays until there is one.
	ada.Run(`const d = document.querySelector(".draft"); d.focus(); socket.close(); d.innerText = "offline"; d.blur()`)
	ada.Wait("that it knows", `document.querySelector("#status").textContent === "not connected"`)
	ada.Wait("a new connection", `document.querySelector("#status").textContent === ""`)
	ada.Wait("its draft", `document.querySelector(".draft")?.innerText === "offline"`)
	ada.Do(chromedp.SendKeys(chromedp.CSS(".draft"), "\n"))
	bob.Wait("what was written", paragraphs+`.includes("offline ada")`)
	bob.Close()
	ada.Wait("that bob has gone", `document.querySelector("#people").textContent === "ada"`)

	cleo := browser.Open(t, "cleo", chromedp.Navigate(server.url+"/readme?writer=cleo"))
	cleo.Wait("the document", paragraphs+` === "+second bob; offline ada"`)
	server.stop()
}
