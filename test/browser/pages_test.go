package browser_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// programs builds the programs of the README and the guides, with another
// address to listen on, and returns the files by a word in them.
func programs(t *testing.T, addr string) map[string]string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(root, "docs/guide/*.md"))
	require.NoError(t, err)
	built := make(map[string]string)
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, rest := range strings.Split(string(text), "```go\n")[1:] {
			code, _, found := strings.Cut(rest, "```")
			require.True(t, found, page)
			if !strings.HasPrefix(code, "package main\n") {
				continue
			}
			code = strings.ReplaceAll(code, "127.0.0.1:8080", addr)
			dir := t.TempDir()
			source, file := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
			require.NoError(t, os.WriteFile(source, []byte(code), 0o600))
			build(t, file, source)
			for _, word := range []string{"type Doc struct", "type Counter struct", "type Lobby struct"} {
				if strings.Contains(code, word) {
					built[word] = file
				}
			}
		}
	}
	require.Len(t, built, 3)
	return built
}

// The programs that a newcomer copies do what the pages say.
func TestPages_ProgramsRun(t *testing.T) {
	browser := chromium.Start(t)
	addr := freeAddr(t)
	built := programs(t, addr)

	dir := t.TempDir()
	for _, want := range []string{"1 <nil> <nil>\n", "2 <nil> <nil>\n"} {
		counter := exec.CommandContext(t.Context(), built["type Counter struct"])
		counter.Dir = dir
		out, err := counter.Output()
		require.NoError(t, err)
		require.Equal(t, want, string(out))
	}

	doc := start(t, built["type Doc struct"], addr)
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
