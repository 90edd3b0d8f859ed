package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

// The errors for errors.Is stand in one file, and a test shows when each comes.
func TestErrors_AreInOneFileAndTested(t *testing.T) {
	files, err := filepath.Glob("../../*.go")
	require.NoError(t, err)
	tests, err := filepath.Glob("../*/*_test.go")
	require.NoError(t, err)
	files = append(files, tests...)
	var sentinels []string
	tested := map[string]bool{}
	expected := regexp.MustCompile(`dog\.(Err\w+)`)
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		if strings.HasSuffix(name, "_test.go") {
			for _, found := range expected.FindAllSubmatch(source, -1) {
				tested[string(found[1])] = true
			}
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range file.Decls {
			if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.VAR {
				for _, spec := range d.Specs {
					for _, id := range spec.(*ast.ValueSpec).Names {
						if strings.HasPrefix(id.Name, "Err") {
							require.Equal(t, "errors.go", filepath.Base(name), id.Name)
							sentinels = append(sentinels, id.Name)
						}
					}
				}
			}
		}
	}
	require.NotEmpty(t, sentinels)
	for _, sentinel := range sentinels {
		require.True(t, tested[sentinel], "no test expects %s", sentinel)
	}
}

// remedies says for each error what in its text is the remedy.
var remedies = map[string]remedy{
	"ErrGroupFull":     {err: dog.ErrGroupFull, words: "raise Limit or MaxReplicas, or let the client try again later"},
	"ErrHeldBack":      {err: dog.ErrHeldBack, words: "send less, or call Storage.Sync first"},
	"ErrInTransaction": {err: dog.ErrInTransaction, words: "do it before or after"},
	"ErrNoStore":       {err: dog.ErrNoStore, words: "Options.Store"},
	"ErrNotEmpty":      {err: dog.ErrNotEmpty, words: "delete it first"},
	"ErrPastGate":      {err: dog.ErrPastGate, words: "pass the handler's own context"},
	"ErrReplicaFull":   {err: dog.ErrReplicaFull, words: "call Identify again"},
	"ErrReplicaGone":   {err: dog.ErrReplicaGone, words: "call Identify again"},
	"ErrSQLLimit":      {in: "internal/sqlite/meter.go", words: "add an index, or do it in parts"},
	"ErrSocketsFull":   {err: dog.ErrSocketsFull, words: "raise MaxSockets, or let the client try again later"},
	"ErrStoreCorrupt":  {err: dog.ErrStoreCorrupt, words: "start from a backup"},
	"ErrStoreFailed":   {err: dog.ErrStoreFailed, words: "restart the program"},
	"ErrStoreForeign":  {err: dog.ErrStoreForeign, words: "choose another directory"},
	"ErrStoreFull":     {in: "internal/pebblekv/shortage.go", words: "make room on the volume"},
	"ErrStoreLocked":   {err: dog.ErrStoreLocked, words: "end the other program"},
	"ErrStoreStalled":  {err: dog.ErrStoreStalled, words: "check the volume"},
	"ErrStoreTooNew":   {err: dog.ErrStoreTooNew, words: "use that version"},
	"ErrTooBig":        {err: dog.ErrTooBig, words: "store less, or in parts"},

	// What is wrong is in the details, and is the remedy.
	"ErrConstraint": {}, "ErrForeignID": {}, "ErrInvalidName": {}, "ErrSQLRefused": {},
	// The text names the cause, which the program knows best how to avoid.
	"ErrDeadlock": {}, "ErrOutsideTurn": {}, "ErrOverloaded": {},
	// They are news, not faults.
	"ErrDeleted": {}, "ErrNoTarget": {}, "ErrPingTimeout": {}, "ErrReset": {}, "ErrShutdown": {},
	"ErrSlowConsumer": {}, "ErrSocketClosed": {},
}

type remedy struct {
	err   error  // whose text has the words
	in    string // or the file of the details that have them
	words string // "": there is none to name
}

func TestErrors_TextNamesTheRemedy(t *testing.T) {
	source, err := os.ReadFile("../../errors.go")
	require.NoError(t, err)
	for _, found := range regexp.MustCompile(`(?m)^\t(Err\w+) += `).FindAllSubmatch(source, -1) {
		require.Contains(t, remedies, string(found[1]))
	}
	for name, r := range remedies {
		require.Contains(t, string(source), "\t"+name+" = ")
		switch {
		case r.err != nil:
			require.ErrorContains(t, r.err, r.words, name)
		case r.in != "":
			details, err := os.ReadFile(filepath.Join("../..", r.in))
			require.NoError(t, err)
			require.Contains(t, string(details), r.words, name)
		}
	}
}
