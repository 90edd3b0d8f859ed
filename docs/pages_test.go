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
	for _, file := range append(files, readme) {
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

// What is not a program is an excerpt of an example, word by word, and so
// compiles as well.
func TestPages_ExcerptsMatchTheExamples(t *testing.T) {
	var examples strings.Builder
	for _, pattern := range []string{
		"../example_*_test.go", "../client/example_test.go", "../dogtest/example_test.go", "../example/*/*.go",
	} {
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

var (
	codeBlock = regexp.MustCompile("(?s)```.*?```")
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	listItem  = regexp.MustCompile(`^\s*([-*]|\d+\.)\s+`)
	label     = regexp.MustCompile(`^\*\*[^*]+[.!?]\*\* `) // of a list item
	endWithin = regexp.MustCompile(`[.!?]["')\]*_]* +[A-Z0-9\x60*\["(_]`)
	endOfLine = regexp.MustCompile(`[.!?:]["')\]*_]*$`)
)

// A line of a page has one sentence, so that a change shows in a diff as what
// it is.
func TestPages_HaveOneSentenceALine(t *testing.T) {
	for path, page := range markdown(t) {
		for _, line := range notOneSentence(page) {
			t.Errorf("%s: not one sentence: %s", path, line)
		}
	}
}

// notOneSentence returns the lines of a page that have more than one sentence
// or less than one. It leaves out code, headings and tables.
func notOneSentence(page string) (lines []string) {
	page = codeBlock.ReplaceAllString(page, "\n")
	open := "" // a line that does not end a sentence
	for line := range strings.Lines(codeSpan.ReplaceAllString(page, "`x`")) {
		line = strings.TrimRight(line, " \n")
		text := strings.TrimSpace(line)
		if text == "" || strings.ContainsRune("|#!<", rune(text[0])) {
			open = ""
			continue
		}
		text = listItem.ReplaceAllString(text, "")
		if open != "" && !listItem.MatchString(line) {
			lines = append(lines, open)
		}
		if open = ""; !endOfLine.MatchString(text) {
			open = line
		}
		if endWithin.MatchString(label.ReplaceAllString(text, "")) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestPages_SecondSentenceOnALineIsFound(t *testing.T) {
	for page, want := range map[string]int{
		"One.\nTwo.":                      0,
		"- **A label.** One: `a. B`.":     0,
		"1. One\n2. Two, `x`":             0,
		"```\nOne. Two.\n```":             0,
		"One. Two.":                       1,
		"- One.\n  `Two` is code. Three.": 1,
		"A sentence that\ngoes on.":       1,
		"- One that\n  goes on.\n- Two.":  1,
	} {
		require.Len(t, notOneSentence(page), want, page)
	}
}

func TestReadme_DocumentHasTheStatedLength(t *testing.T) {
	_, text, found := strings.Cut(pages(t)[readme], "## A document in ")
	require.True(t, found)
	lines, text, _ := strings.Cut(text, " lines\n")
	_, text, _ = strings.Cut(text, "```go\n")
	code, _, _ := strings.Cut(text, "```")
	require.Equal(t, lines, strconv.Itoa(strings.Count(code, "\n")))
}

// The README is read to its end, so what does not fit belongs to a guide.
func TestReadme_IsShort(t *testing.T) {
	require.LessOrEqual(t, strings.Count(pages(t)[readme], "\n"), 160)
}
