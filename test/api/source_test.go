package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// publicPaths are the import paths of the public packages of this module, which
// dogotel is not in.
var publicPaths = []string{
	modulePath, modulePath + "/client", modulePath + "/disk", modulePath + "/dogprom", modulePath + "/dogtest",
	modulePath + "/dogview", modulePath + "/outbox", modulePath + "/shard",
}

// publicFiles returns the files of the public packages without their tests, by
// their paths.
func publicFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	parsed := make(map[string]*ast.File)
	for _, pattern := range []string{
		"*.go", "client/*.go", "disk/*.go", "dogotel/*.go", "dogprom/*.go", "dogtest/*.go", "dogview/*.go",
		"outbox/*.go", "shard/*.go",
	} {
		files, err := filepath.Glob(filepath.Join("..", "..", pattern))
		require.NoError(t, err)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			parsed[name] = file
		}
	}
	return parsed
}
