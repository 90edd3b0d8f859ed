package api_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who imports the library gets these modules and the standard library, and
// nothing else: no storage engine, no SQLite.
func TestAPI_LibraryDependsOnThreeModules(t *testing.T) {
	modules := make(map[string]bool)
	for _, line := range goList(
		t, "-deps", "-f", "{{if not .Standard}}{{.Module.Path}}={{.ImportPath}}{{end}}", modulePath,
	) {
		module, path, _ := strings.Cut(line, "=")
		modules[module] = true
		require.NotContains(t, path, "dogtest")
	}
	require.Equal(t, map[string]bool{
		"github.com/godurable/dog":   true,
		"github.com/coder/websocket": true,
		"github.com/google/uuid":     true,
		"github.com/tidwall/btree":   true,
	}, modules)
}

// A program that is only a client does not get the server.
func TestAPI_ClientDependsOnTwoModules(t *testing.T) {
	modules := make(map[string]bool)
	for _, line := range goList(
		t, "-deps", "-f", "{{if not .Standard}}{{.Module.Path}}={{.ImportPath}}{{end}}", modulePath+"/client",
	) {
		module, path, _ := strings.Cut(line, "=")
		if module == modulePath {
			require.True(t, strings.HasPrefix(path, modulePath+"/client"), "package client imports %s", path)
			continue
		}
		modules[module] = true
	}
	require.Equal(t, map[string]bool{"github.com/coder/websocket": true, "github.com/google/uuid": true}, modules)
}

const internalPath = modulePath + "/internal/"

var packageName = regexp.MustCompile("`([a-z0-9/]+)`")

// internalOrder returns the internal packages in the order of
// internal/README.md, with their places.
func internalOrder(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "internal", "README.md"))
	require.NoError(t, err)
	places := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "- ") {
			continue
		}
		for _, name := range packageName.FindAllStringSubmatch(line, -1) {
			require.NotContains(t, places, name[1], "it is listed twice")
			places[name[1]] = len(places)
		}
	}
	return places
}

// An internal package imports only those that internal/README.md lists before
// it, so never the library.
func TestAPI_InternalPackagesImportOnlyThoseBeforeThem(t *testing.T) {
	places := internalOrder(t)
	found := 0
	for _, line := range goList(t, "-f", `{{.ImportPath}}={{join .Imports ","}}`, internalPath+"...") {
		importer, imports, _ := strings.Cut(line, "=")
		name := strings.TrimPrefix(importer, internalPath)
		place, listed := places[name]
		require.True(t, listed, "internal/README.md does not list %s", name)
		found++
		for path := range strings.SplitSeq(imports, ",") {
			if !strings.HasPrefix(path, modulePath) {
				continue
			}
			imported, internal := strings.CutPrefix(path, internalPath)
			require.True(t, internal, "%s imports %s", name, path)
			require.Less(t, places[imported], place, "%s imports %s, which is listed after it", name, imported)
		}
	}
	require.Len(t, places, found, "internal/README.md lists a package that does not exist")
}

// What a package must not know is what keeps it apart from the others.
func TestAPI_InternalPackagesSayWhatTheyDoNotKnow(t *testing.T) {
	for name := range internalOrder(t) {
		files, err := filepath.Glob(filepath.Join("..", "..", "internal", name, "*.go"))
		require.NoError(t, err)
		var docs []string
		for _, file := range files {
			const mode = parser.PackageClauseOnly | parser.ParseComments
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, mode)
			require.NoError(t, err)
			if parsed.Doc != nil && !strings.HasSuffix(file, "_test.go") {
				docs = append(docs, strings.Join(strings.Fields(parsed.Doc.Text()), " "))
			}
		}
		require.NotEmpty(t, docs, "package %s has no comment", name)
		require.Regexp(t, `\b(not know|knows)\b`, strings.Join(docs, " "), "of package %s", name)
	}
}
