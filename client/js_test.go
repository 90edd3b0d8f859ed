package client_test

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/client/internal/faults"
)

// dog.js passes its own tests, and gets through the table of faults that the
// client in Go gets through as well.
func TestJS_PassesItsTestsInNode(t *testing.T) {
	node, major := findNode(t)
	file, err := os.Open("testdata/faults.json")
	require.NoError(t, err)
	table, err := faults.Read(file)
	require.NoError(t, errors.Join(err, file.Close()))
	fast := httptest.NewServer(faults.New(table, table.Scale))
	defer fast.Close()
	slow := httptest.NewServer(faults.New(table, 10*table.Scale))
	defer slow.Close()

	files, err := filepath.Glob("js/test/*.test.js")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var args []string
	if major < 22 {
		args = append(args, "--experimental-websocket")
	}
	args = append(args, "--test", "--test-reporter=spec")
	for _, file := range files {
		args = append(args, strings.TrimPrefix(filepath.ToSlash(file), "js/"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // it takes seconds
	defer cancel()
	cmd := exec.CommandContext(ctx, node, args...)
	cmd.WaitDelay = time.Second // for its children
	cmd.Dir = "js"
	cmd.Env = append(os.Environ(), "DOG_FAULTS="+fast.URL+"/ "+slow.URL+"/")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// The code of the page on dog.js is what Node accepts as code, and imports what
// there is.
func TestJS_CodeOfThePageIsValid(t *testing.T) {
	node, _ := findNode(t)
	page, err := os.ReadFile("js/README.md")
	require.NoError(t, err)
	script, err := os.ReadFile("js/dog.js")
	require.NoError(t, err)
	imported := regexp.MustCompile(`import \{ (\w+) \} from '@godurable/dog'`)
	blocks := regexp.MustCompile("(?s)```js\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		file := filepath.Join(t.TempDir(), "page.mjs")
		require.NoError(t, os.WriteFile(file, []byte(block[1]), 0o600))
		output, err := exec.CommandContext(t.Context(), node, "--check", file).CombinedOutput()
		require.NoError(t, err, "%s", output)
		for _, names := range imported.FindAllStringSubmatch(block[1], -1) {
			require.Regexp(t, `(?m)^export (class|function|const) `+names[1]+`\b`, string(script))
		}
	}
}

// findNode returns the path of Node and its major version. Without it, the test
// is skipped, or fails where it must not be missing.
func findNode(t *testing.T) (path string, major int) {
	t.Helper()
	lacking := func(why string) {
		if os.Getenv("CI") != "" && os.Getenv("DOG_WITHOUT_NODE") == "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	path, err := exec.LookPath("node")
	if err != nil {
		lacking("Node is not installed: " + err.Error())
	}
	version, err := exec.CommandContext(t.Context(), path, "--version").Output()
	require.NoError(t, err)
	digits, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	major, err = strconv.Atoi(digits)
	require.NoError(t, err)
	if major < 20 {
		lacking("Node 20 or newer is needed, not " + string(version))
	}
	return path, major
}

const (
	maxMinified = 8 << 10
	// maxStripped is about what a minifier makes 8 KiB of, by shorter names.
	maxStripped = 16500
)

func TestJS_IsSmall(t *testing.T) {
	if esbuild, err := exec.LookPath("./js/node_modules/.bin/esbuild"); err == nil {
		minified, err := exec.CommandContext(t.Context(), esbuild,
			"js/dog.js", "--bundle", "--minify", "--format=esm").Output()
		require.NoError(t, err)
		require.LessOrEqual(t, len(minified), maxMinified)
	}
	require.LessOrEqual(t, len(stripped(t)), maxStripped)
}

func TestJS_ImportsNothing(t *testing.T) {
	require.NotRegexp(t, `\bimport\b|\brequire\b|\bfrom '`, string(stripped(t)))
	commands, err := os.ReadFile("js/dog-commands.js")
	require.NoError(t, err)
	for _, from := range regexp.MustCompile(`\bfrom '(.*)'`).FindAllStringSubmatch(string(commands), -1) {
		require.Equal(t, "./dog.js", from[1])
	}
}

// The types that are published describe what dog.js does.
func TestJS_HasItsTypes(t *testing.T) {
	tsc, err := exec.LookPath("./js/node_modules/.bin/tsc")
	if err != nil {
		t.Skip("TypeScript is not installed: npm ci in client/js does so")
	}
	output, err := exec.CommandContext(t.Context(), tsc, "-p", "js").CombinedOutput()
	require.NoError(t, err, "%s", output)
}

var (
	comment     = regexp.MustCompile(`(?s)/\*\*.*?\*/|(^|\s)//[^\n]*`)
	indentation = regexp.MustCompile(`(?m)^\s+`)
)

// stripped returns dog.js without comments and indentation.
func stripped(t *testing.T) []byte {
	t.Helper()
	source, err := os.ReadFile("js/dog.js")
	require.NoError(t, err)
	return bytes.TrimSpace(indentation.ReplaceAll(comment.ReplaceAll(source, nil), nil))
}
