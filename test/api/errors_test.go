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
