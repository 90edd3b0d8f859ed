package browser_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// buildDocument builds the document of the README with another address to
// listen on, and returns the executable. The tests of docs build and run all
// programs of the README and the guides, but without a browser.
func buildDocument(t *testing.T, addr string) (file string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	for _, rest := range strings.Split(string(text), "```go\n")[1:] {
		code, _, found := strings.Cut(rest, "```")
		require.True(t, found)
		if !strings.Contains(code, "type Doc struct") {
			continue
		}
		dir := t.TempDir()
		source, file := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
		code = strings.ReplaceAll(code, "127.0.0.1:8080", addr)
		require.NoError(t, os.WriteFile(source, []byte(code), 0o600))
		build(t, file, source)
		return file
	}
	require.Fail(t, "the README has no document")
	return ""
}

// Two people who have the document of the README open write into one text.
func TestPages_DocumentOfTheReadmeIsShared(t *testing.T) {
	browser := chromium.Start(t)
	addr := freeAddr(t)
	doc := start(t, buildDocument(t, addr), addr)
	ada := browser.Open(t, "ada", chromedp.Navigate(doc.url+"/readme"))
	bob := browser.Open(t, "bob", chromedp.Navigate(doc.url+"/readme"))
	for _, p := range []*chromium.Tab{ada, bob} {
		p.Wait("a connection", `socket.readyState === WebSocket.OPEN`)
	}
	ada.Do(chromedp.SendKeys(chromedp.CSS("textarea"), "hello"))
	bob.Wait("what ada writes", `text.value === "hello"`)
	cyd := browser.Open(t, "cyd", chromedp.Navigate(doc.url+"/readme"))
	cyd.Wait("what was written before", `text.value === "hello"`)
	doc.stop()
}
