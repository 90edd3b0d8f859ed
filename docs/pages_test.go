// Package docs_test holds the README and the guides to what they say.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
func TestPages_LinksResolve(t *testing.T) {
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

// What is not a program is an excerpt of an example, word by word, and so
// compiles as well.
func TestPages_ExcerptsMatchTheExamples(t *testing.T) {
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
		require.True(t, strings.Contains(examples.String(), block), "no example has this:\n%s", block)
	}
	require.NotZero(t, excerpts)
}

func TestReadme_DocumentHasTheStatedLength(t *testing.T) {
	_, text, found := strings.Cut(pages(t)["../README.md"], "## A document in ")
	require.True(t, found)
	lines, text, _ := strings.Cut(text, " lines\n")
	_, text, _ = strings.Cut(text, "```go\n")
	code, _, _ := strings.Cut(text, "```")
	require.Equal(t, lines, strconv.Itoa(strings.Count(code, "\n")))
}
