package api_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A pair of files of the root that refer to each other can only be read
// together, so new pairs need a reason: see "The files of the root" in
// docs/design.md, which states how many there are.
func TestAPI_FewFilesOfTheRootReferToEachOther(t *testing.T) {
	stated := designNumbers(
		t, `Of some (\d+) arrows between the files of the root, (\d+) run both ways, which are (\d+) pairs`,
	)
	arrows := rootArrows(t)
	var pairs []string
	for a, names := range arrows {
		if back := arrows[arrow{a.to, a.from}]; a.from < a.to && len(back) > 0 {
			pairs = append(pairs, a.from+" -> "+a.to+": "+join(names)+"; <- "+join(back))
		}
	}
	slices.Sort(pairs)
	t.Logf("%d arrows, %d of them both ways", len(arrows), 2*len(pairs))
	require.LessOrEqual(
		t, len(pairs), stated[2], "move a function to the file of its type:\n%s", strings.Join(pairs, "\n"),
	)
	require.Equal(t, []int{2 * len(pairs), len(pairs)}, stated[1:], "of docs/design.md")
	require.InEpsilon(t, len(arrows), stated[0], 0.05, "of docs/design.md")
}

// docs/design.md compares the number of files of the root with those of others.
func TestAPI_RootHasTheStatedNumberOfFiles(t *testing.T) {
	stated := designNumbers(t, `dog has (\d+) and (\d+)\.`)
	files, err := filepath.Glob(filepath.Join("..", "..", "*.go"))
	require.NoError(t, err)
	tests, err := filepath.Glob(filepath.Join("..", "..", "*_test.go"))
	require.NoError(t, err)
	require.Equal(t, []int{len(files) - len(tests), len(tests)}, stated, "of docs/design.md")
}

// designNumbers returns the numbers of the only sentence of docs/design.md that
// matches.
func designNumbers(t *testing.T, sentence string) (numbers []int) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "design.md"))
	require.NoError(t, err)
	found := regexp.MustCompile(sentence).FindAllStringSubmatch(string(page), -1)
	require.Len(t, found, 1, sentence)
	for _, text := range found[0][1:] {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		numbers = append(numbers, n)
	}
	return numbers
}

func join(names map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

// An arrow leads from a file to one that declares something it uses.
type arrow struct{ from, to string }

// rootArrows returns the arrows between the files of the root, without its
// tests, with the names of the types, functions, methods, fields, constants and
// variables that are used.
func rootArrows(t *testing.T) map[arrow]map[string]bool {
	t.Helper()
	imports := goList(t, "-f", `{{join .Imports "\n"}}`, modulePath)
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range goList(t, "-f", `{{join .GoFiles "\n"}}`, modulePath) {
		file, err := parser.ParseFile(set, filepath.Join("..", "..", name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(token.NewFileSet(), "gc", exportData(t, imports...))}
	root, err := config.Check(modulePath, set, files, info)
	require.NoError(t, err)
	arrows := make(map[arrow]map[string]bool)
	for id, o := range info.Uses {
		if o.Pkg() != root {
			continue
		}
		a := arrow{fileOf(set, id.Pos()), fileOf(set, o.Pos())}
		if a.from == a.to {
			continue
		}
		if arrows[a] == nil {
			arrows[a] = make(map[string]bool)
		}
		arrows[a][o.Name()] = true
	}
	return arrows
}

func fileOf(set *token.FileSet, pos token.Pos) string {
	return filepath.Base(set.Position(pos).Filename)
}
