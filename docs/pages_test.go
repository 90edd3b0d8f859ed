// Package docs_test holds the README and the guides to what they say.
package docs_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/browser"
)

// pages returns the README and the guides.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("guide/*.md")
	require.NoError(t, err)
	texts := make(map[string]string)
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[file] = string(text)
	}
	require.Greater(t, len(texts), 8)
	return texts
}

// pageCode returns the blocks of Go code in the README and the guides.
func pageCode(t *testing.T) (blocks []string) {
	t.Helper()
	for file, text := range pages(t) {
		for i, rest := range strings.Split(text, "```go\n") {
			if i == 0 {
				continue
			}
			block, _, found := strings.Cut(rest, "```")
			require.True(t, found, file)
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// Links to files and to tests lead somewhere.
func TestTheLinksOfThePagesLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	code := regexp.MustCompile("(?s)```.*?```")
	for file, text := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			if !strings.Contains(found[1], "://") {
				_, err := os.Stat(filepath.Join(filepath.Dir(file), found[1]))
				require.NoError(t, err, file)
			}
		}
	}
}

// programs builds the programs of the pages, with another address to listen on,
// and returns the files by a word in them.
func programs(t *testing.T, addr string) map[string]string {
	t.Helper()
	built := make(map[string]string)
	for _, block := range pageCode(t) {
		if !strings.HasPrefix(block, "package main\n") {
			continue
		}
		dir := t.TempDir()
		source, file := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
		code := strings.ReplaceAll(block, "127.0.0.1:8080", addr)
		require.NoError(t, os.WriteFile(source, []byte(code), 0o600))
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", file, source).CombinedOutput()
		require.NoError(t, err, "%s", out)
		for _, word := range []string{"type Doc struct", "type Counter struct", "type Lobby struct"} {
			if strings.Contains(code, word) {
				built[word] = file
			}
		}
	}
	require.Len(t, built, 3)
	return built
}

// The programs that a newcomer copies do what the pages say.
func TestTheProgramsOfThePagesRun(t *testing.T) {
	chromium := browser.Start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	built := programs(t, addr)

	dir := t.TempDir()
	for _, want := range []string{"1 <nil> <nil>\n", "2 <nil> <nil>\n"} {
		counter := exec.CommandContext(t.Context(), built["type Counter struct"])
		counter.Dir = dir
		out, err := counter.Output()
		require.NoError(t, err)
		require.Equal(t, want, string(out))
	}

	doc := exec.CommandContext(t.Context(), built["type Doc struct"])
	doc.Stderr = os.Stderr
	require.NoError(t, doc.Start())
	defer func() { _ = doc.Process.Kill() }()
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://" + addr + "/readme")
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	ada := chromium.Open(t, "ada", chromedp.Navigate("http://"+addr+"/readme"))
	bob := chromium.Open(t, "bob", chromedp.Navigate("http://"+addr+"/readme"))
	for _, p := range []*browser.Tab{ada, bob} {
		p.Wait("a connection", `socket.readyState === WebSocket.OPEN`)
	}
	ada.Do(chromedp.SendKeys(chromedp.CSS("textarea"), "hello"))
	bob.Wait("what ada writes", `text.value === "hello"`)
	cyd := chromium.Open(t, "cyd", chromedp.Navigate("http://"+addr+"/readme"))
	cyd.Wait("what was written before", `text.value === "hello"`)
	require.NoError(t, doc.Process.Signal(os.Interrupt))
	require.NoError(t, doc.Wait(), "an interrupt ends it in good order")
}

// What is not a program is an excerpt of an example, word by word, and so compiles as well.
func TestTheExcerptsOfThePagesAreThoseOfTheExamples(t *testing.T) {
	var examples strings.Builder
	for _, pattern := range []string{"../example_*_test.go", "../example/*/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			code, err := os.ReadFile(file)
			require.NoError(t, err)
			examples.Write(code)
		}
	}
	excerpts := 0
	for _, block := range pageCode(t) {
		if strings.HasPrefix(block, "package main\n") {
			continue
		}
		excerpts++
		require.Contains(t, examples.String(), block)
	}
	require.NotZero(t, excerpts)
}
