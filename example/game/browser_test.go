package main

import (
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/browser"
)

// Two people play a match in a real browser, and one reloads the page meanwhile.
func TestBrowser(t *testing.T) {
	chromium := browser.Start(t)
	rt, err := dog.New(dog.Options{})
	require.NoError(t, err)
	handler, err := newServer(rt)
	require.NoError(t, err)
	srv := httptest.NewServer(handler)
	defer srv.Close()
	defer func() { require.NoError(t, rt.Shutdown(t.Context())) }()

	ada := chromium.Open(t, "ada", chromedp.Navigate(srv.URL))
	ada.Wait("that it is alone", `document.querySelector("#status").textContent === "waiting for another player"`)
	bob := chromium.Open(t, "bob", chromedp.Navigate(srv.URL))
	for _, p := range []*browser.Tab{ada, bob} {
		p.Wait("both players", `document.querySelectorAll("#players li").length === 2`)
		p.Wait("the match", `document.querySelector("#status").textContent.endsWith("s left")`)
	}

	ada.Run(`dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }))`)
	ada.Wait("points", `[...document.querySelectorAll("#players li")].some(li => /^you: ([3-9]|\d\d)/.test(li.textContent))`)
	bob.Wait("the other's points", `[...document.querySelectorAll("#players li")].some(li => /^player \d+: ([3-9]|\d\d)/.test(li.textContent))`)

	// The field and the seat are there after a reload.
	seat := browser.Eval[int](ada, `seat`)
	ada.Do(chromedp.Reload())
	ada.Wait("the old seat", `seat === args[0] && [...document.querySelectorAll("#players li")].some(li => /^you: ([3-9]|\d\d)/.test(li.textContent))`, seat)
	ada.Wait("both players", `document.querySelectorAll("#players li:not(.gone)").length === 2`)

	// Bob goes, and his seat is held for him, then free.
	bob.Close()
	ada.Wait("that bob has gone", `document.querySelectorAll("#players li.gone").length === 1`)
	ada.Wait("that his seat is free", `document.querySelectorAll("#players li").length === 1`)
}
