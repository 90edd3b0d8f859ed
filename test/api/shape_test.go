package api_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	maxLines   = 400 // of a Go file
	maxColumns = 80  // of a comment that has its line for itself
	tabWidth   = 4
)

// Go files are short, and their comments narrow enough to be read at a glance.
func TestAPI_FilesAreShortAndCommentsNarrow(t *testing.T) {
	root, seen := filepath.Join("..", ".."), 0
	require.NoError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".git" || e.Name() == "testdata"):
			return fs.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		code, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		if lines := bytes.Count(code, []byte("\n")); lines > maxLines {
			t.Errorf("%s has %d lines, more than %d", name, lines, maxLines)
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, code, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, group := range file.Comments {
			for _, comment := range group.List {
				place := files.Position(comment.Pos())
				before := code[place.Offset-place.Column+1 : place.Offset]
				if len(bytes.TrimSpace(before)) > 0 { // it follows code
					continue
				}
				if width := columns(string(before) + comment.Text); width > maxColumns && !mayBeWide(comment.Text) {
					t.Errorf("%s:%d: a comment of %d columns, more than %d", name, place.Line, width, maxColumns)
				}
			}
		}
		return nil
	}))
	require.Greater(t, seen, 400)
}

func TestAPI_CommentsOfScriptsAreNarrow(t *testing.T) {
	root, seen := filepath.Join("..", ".."), 0
	require.NoError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".git" || e.Name() == "node_modules" || e.Name() == "testdata"):
			return fs.SkipDir
		case !e.Type().IsRegular() || filepath.Ext(path) != "" && filepath.Ext(path) != ".sh":
			return nil
		}
		code, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(code, []byte("#!")) {
			return err
		}
		seen++
		for n, line := range strings.Split(string(code), "\n") {
			if width := columns(line); strings.HasPrefix(strings.TrimSpace(line), "#") && width > maxColumns {
				t.Errorf("%s:%d: a comment of %d columns, more than %d", path, n+1, width, maxColumns)
			}
		}
		return nil
	}))
	require.GreaterOrEqual(t, seen, 5)
}

// An example can be read in one go. That of devices has two subjects, the
// devices and the rollouts of their operators.
func TestAPI_ExamplesAreShort(t *testing.T) {
	for name, most := range map[string]int{"chat": 399, "devices": 715, "document": 250, "game": 250} {
		files, err := filepath.Glob(filepath.Join("..", "..", "example", name, "*.go"))
		require.NoError(t, err)
		lines := 0
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			code, err := os.ReadFile(file)
			require.NoError(t, err)
			lines += bytes.Count(code, []byte("\n"))
		}
		require.NotZero(t, lines, name)
		require.LessOrEqual(t, lines, most, name)
	}
}

// columns returns the width of a line.
func columns(line string) int {
	line = strings.ReplaceAll(line, "\t", strings.Repeat(" ", tabWidth))
	return len([]rune(line))
}

// mayBeWide reports whether a comment is a directive or a line of code in a doc
// comment, which cannot be wrapped, or has a URL.
func mayBeWide(comment string) bool {
	return strings.HasPrefix(comment, "//\t") || strings.HasPrefix(comment, "//go:") || strings.Contains(comment, "://")
}
