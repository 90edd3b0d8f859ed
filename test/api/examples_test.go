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

// withExample are the types of the root that need an example, of their own or
// of one of their methods.
var withExample = []string{
	"Alarms", "Gateway", "GroupStub", "HistoryOptions", "Migration", "Object", "Presence", "Receiver", "Replica",
	"Runtime", "Socket", "SocketOptions", "StatusError", "Storage", "Stub", "Trace",
}

// The reference shows how the main types are used, by code that runs.
func TestAPI_MainTypesHaveExamples(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "example_*test.go"))
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
		require.True(t, example.Output != "" || example.EmptyOutput, "example %s does not run", example.Name)
	}
	require.True(t, have["Runtime_Serve"], "the first that a program calls")
	names := publicNames(t)
	for _, name := range withExample {
		require.True(t, names[name], "there is no %s", name)
		require.True(t, have[name], "no example of %s", name)
	}
}
