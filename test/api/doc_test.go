package api_test

import (
	"errors"
	"go/ast"
	"go/doc/comment"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docFrame is what the code of doc.go may use without declaring it.
const docFrame = `package doc

import (
	"context"
	"net/http"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

type (
	Room   struct{ dog.Replica }
	Lobby  struct{ dog.Group }
	Square struct{ dog.Group }
)
`

// docFunction has the statements of one block.
const docFunction = `
func _(ctx context.Context, rt *dog.Runtime, w http.ResponseWriter, r *http.Request, user string) {
`

// The code in the comment of the package compiles.
func TestAPI_CodeOfThePackageCommentCompiles(t *testing.T) {
	set := token.NewFileSet()
	const mode = parser.PackageClauseOnly | parser.ParseComments
	file, err := parser.ParseFile(set, filepath.Join("..", "..", "doc.go"), nil, mode)
	require.NoError(t, err)
	declarations, functions, blocks := "", "", 0
	for _, part := range new(comment.Parser).Parse(file.Doc.Text()).Content {
		code, ok := part.(*comment.Code)
		if !ok {
			continue
		}
		blocks++
		statements := ""
		for paragraph := range strings.SplitSeq(code.Text, "\n\n") {
			if strings.HasPrefix(paragraph, "type ") || strings.HasPrefix(paragraph, "func ") {
				declarations += paragraph + "\n"
			} else {
				statements += paragraph + "\n"
			}
		}
		functions += docFunction + statements + "}\n"
	}
	require.Greater(t, blocks, 4)

	text := docFrame + declarations + functions
	program, err := parser.ParseFile(set, "doc.go", text, parser.SkipObjectResolution)
	require.NoError(t, err, text)
	imports := []string{"context", "net/http", modulePath, modulePath + "/disk"}
	config := types.Config{
		Importer: importer.ForCompiler(token.NewFileSet(), "gc", exportData(t, imports...)),
		Error: func(err error) {
			if typed, ok := errors.AsType[types.Error](err); !ok || !typed.Soft { // a variable that is not used is soft
				t.Errorf("%v in\n%s", err, text)
			}
		},
	}
	_, _ = config.Check("doc", set, []*ast.File{program}, nil) // Error has seen its errors
}
