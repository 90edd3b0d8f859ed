package api_test

import (
	"go/ast"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program cannot name the types of internal packages, so nothing that it can
// call has them in its signature.
func TestAPI_SignaturesHaveNoInternalTypes(t *testing.T) {
	checked := 0
	for name, file := range publicFiles(t) {
		internal := internalImports(file)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BlockStmt, *ast.CommentGroup:
				return false // bodies are ours
			case *ast.FuncDecl:
				return n.Name.IsExported() && (n.Recv == nil || exportedReceiver(n.Recv))
			case *ast.TypeSpec:
				return n.Name.IsExported()
			case *ast.ValueSpec:
				return n.Names[0].IsExported() && n.Values == nil
			case *ast.Field:
				return len(n.Names) == 0 || n.Names[0].IsExported() || !isMember(file, n)
			case *ast.SelectorExpr:
				checked++
				if from, ok := n.X.(*ast.Ident); ok {
					require.False(t, internal[from.Name], "%s: %s.%s", name, from.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
	require.Greater(t, checked, 100)
}

// internalImports returns the names under which a file knows internal packages.
func internalImports(file *ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, i := range file.Imports {
		if path := strings.Trim(i.Path.Value, `"`); strings.Contains(path, "/internal/") {
			names[filepath.Base(path)] = true
		}
	}
	return names
}

func exportedReceiver(receivers *ast.FieldList) bool {
	exported := false
	ast.Inspect(receivers.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			exported = id.IsExported()
			return false
		}
		return true
	})
	return exported
}

// isMember reports whether a field is one of a struct or a method of an
// interface, and not a parameter.
func isMember(file *ast.File, field *ast.Field) (member bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		var list *ast.FieldList
		switch n := n.(type) {
		case *ast.StructType:
			list = n.Fields
		case *ast.InterfaceType:
			list = n.Methods
		}
		if list != nil {
			for _, f := range list.List {
				member = member || f == field
			}
		}
		return true
	})
	return member
}
