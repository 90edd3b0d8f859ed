package api_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// withExample are the main types and functions of each directory with a public
// package. Each needs an example, of its own or of one of its methods. "" is
// the package.
var withExample = map[string][]string{
	".": {
		"", "Alarms", "Gateway", "GroupStub", "HistoryOptions", "MapOf", "Migration", "Object", "Presence", "Receiver",
		"Replica", "Runtime", "Runtime.Serve", "Runtime.Totals", "Socket", "SocketOptions", "StatusError", "Storage",
		"Stub", "Stub.History", "Trace",
	},
	"client":  {"", "Client", "Options"},
	"disk":    {"", "At"},
	"dogtest": {"", "Disk", "Server"},
	"dogview": {""},
	"outbox":  {"Ask", "Queue"},
	"shard":   {""},
}

// The reference shows how the main types are used, by code that runs.
func TestAPI_MainTypesHaveExamples(t *testing.T) {
	names := publicNames(t)
	for dir, needed := range withExample {
		have := examplesIn(t, dir)
		for _, name := range needed {
			require.True(t, name == "" || names[name], "there is no %s", name)
			require.True(t, have[strings.ReplaceAll(name, ".", "_")], "no example of %s in %s", name, dir)
		}
	}
}

// examplesIn returns what a package has examples of, with the types of methods.
func examplesIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "..", dir, "example_*test.go"))
	require.NoError(t, err)
	var files []*ast.File
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	have := make(map[string]bool)
	for _, example := range doc.Examples(files...) {
		name, _, _ := strings.Cut(example.Name, "_")
		have[name], have[example.Name] = true, true
		runs := example.Output != "" || example.EmptyOutput || dir == "client" // which would need a server
		require.True(t, runs, "%s: example %s does not run", dir, example.Name)
	}
	return have
}
