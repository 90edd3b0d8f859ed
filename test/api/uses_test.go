package api_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const modulePath = "github.com/godurable/dog"

// lists are the tests, by the beginnings of their paths, that name identifiers
// to list them, or to find out what nobody would do with them.
var lists = []string{
	"test/api/",
	"test/gate/ways_tables_test.go", "test/life/after_shutdown_besides_test.go",
	"test/life/after_shutdown_table_test.go", "test/life/times_table_test.go",
	"test/turn/keeps_turn_besides_test.go", "test/turn/keeps_turn_table_test.go",
}

// isList reports whether a file is one of lists.
func isList(name string) bool {
	return slices.ContainsFunc(lists, func(list string) bool { return strings.HasPrefix(name, list) })
}

// calledByOthers are methods that the standard library calls: their types are
// used where they are.
var calledByOthers = []string{"Error", "Is", "Unwrap", "String", "MarshalText", "UnmarshalText", "MarshalJSON"}

// What no test and no example uses may work in no way that a user would want.
func TestAPI_ExportedIdentifiersAreUsedByATestOrExample(t *testing.T) {
	u := readUses(t)
	for _, path := range publicPaths {
		scope := u.imported(t, path).Scope()
		for _, name := range scope.Names() {
			if o := scope.Lookup(name); o.Exported() {
				for _, unused := range u.unused(o) {
					t.Errorf("no test and no example uses %s.%s", o.Pkg().Name(), unused)
				}
			}
		}
	}
	require.Greater(t, len(u.used), 500)
}

// uses are the identifiers that tests and examples use.
type uses struct {
	importer types.Importer
	used     map[types.Object]bool
	types    []types.Type // that tests and examples declare
}

func (u *uses) imported(t *testing.T, path string) *types.Package {
	t.Helper()
	p, err := u.importer.Import(path)
	require.NoError(t, err)
	return p
}

// unused returns the names of what nothing uses of an identifier: itself and
// its members.
func (u *uses) unused(o types.Object) (names []string) {
	members := membersOf(o)
	anyUsed := u.used[o]
	for _, m := range members {
		switch {
		case u.used[m], u.implements(o):
			anyUsed = true
		case slices.Contains(calledByOthers, m.Name()):
		default:
			names = append(names, o.Name()+"."+m.Name())
		}
	}
	if !anyUsed {
		names = append(names, o.Name())
	}
	return names
}

// implements reports whether a test or an example implements an interface.
func (u *uses) implements(o types.Object) bool {
	i, ok := o.Type().Underlying().(*types.Interface)
	return ok && slices.ContainsFunc(u.types, func(t types.Type) bool { return types.Implements(t, i) })
}

// membersOf returns the exported fields and methods of a type, also those that
// it has from unexported types, but not the fields of embedded types.
func membersOf(o types.Object) (members []types.Object) {
	name, ok := o.(*types.TypeName)
	if !ok {
		return nil
	}
	named, ok := name.Type().(*types.Named)
	if !ok {
		return nil
	}
	for m := range named.Methods() {
		members = append(members, m)
	}
	switch typ := named.Underlying().(type) {
	case *types.Interface:
		for m := range typ.ExplicitMethods() {
			members = append(members, m)
		}
	case *types.Struct:
		for f := range typ.Fields() {
			if !f.Embedded() {
				members = append(members, f)
			} else if inner, ok := f.Type().(*types.Named); ok && !f.Exported() {
				members = append(members, membersOf(inner.Obj())...)
			}
		}
	}
	return slices.DeleteFunc(members, func(m types.Object) bool { return !m.Exported() })
}

// readUses checks the types of all tests and examples outside of internal.
func readUses(t *testing.T) *uses {
	t.Helper()
	packages := slices.DeleteFunc(goList(t, "./..."), func(path string) bool {
		return strings.HasPrefix(path, modulePath+"/internal/")
	})
	imports := goList(t, append([]string{
		"-f", `{{join .TestImports " "}} {{join .XTestImports " "}}`,
	}, packages...)...)
	slices.Sort(imports)
	imports = append(packages, slices.Compact(imports)...)
	u := &uses{
		importer: importer.ForCompiler(token.NewFileSet(), "gc", exportData(t, imports...)),
		used:     make(map[types.Object]bool),
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	for _, p := range goList(t, append([]string{
		"-f", `{{.Dir}}={{join .GoFiles ","}}={{join .TestGoFiles ","}}={{join .XTestGoFiles ","}}`,
	}, packages...)...) {
		fields := strings.Split(p, "=")
		folder, err := filepath.Rel(root, fields[0])
		require.NoError(t, err)
		var files []string
		if strings.HasPrefix(folder, "test") || strings.HasPrefix(folder, "example") {
			files = strings.Split(fields[1]+","+fields[2], ",")
		}
		u.check(t, folder, files)
		u.check(t, folder, strings.Split(fields[3], ","))
	}
	return u
}

// check notes what the files of a package use.
func (u *uses) check(t *testing.T, folder string, names []string) {
	t.Helper()
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if name == "" {
			continue
		}
		file, err := parser.ParseFile(set, filepath.Join("..", "..", folder, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	config := types.Config{Importer: u.importer}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object)}
	_, err := config.Check(folder, set, files, info)
	require.NoError(t, err)
	for _, file := range files {
		name, err := filepath.Rel(filepath.Join("..", ".."), set.Position(file.Pos()).Filename)
		require.NoError(t, err)
		if !isList(filepath.ToSlash(name)) {
			u.note(file, info)
		}
	}
	for _, o := range info.Defs {
		if o, ok := o.(*types.TypeName); ok && !types.IsInterface(o.Type()) {
			u.types = append(u.types, types.NewPointer(o.Type()))
		}
	}
}

// note notes what a file uses.
func (u *uses) note(file *ast.File, info *types.Info) {
	ast.PreorderStack(file, nil, func(n ast.Node, around []ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if !ok {
			return true
		}
		switch o := info.Uses[id].(type) {
		case nil:
		case *types.Var:
			if isUse(id, around, o.IsField(), false) {
				u.used[o.Origin()] = true
			}
		case *types.Func:
			if isUse(id, around, false, true) {
				u.used[o.Origin()] = true
			}
		default:
			if isUse(id, around, false, false) {
				u.used[o] = true
			}
		}
		return true
	})
}

// isUse reports whether an identifier is used where it stands, and not only
// mentioned: in a list or a table that stands alone, or for the blank
// identifier. A function is used if it is called or passed on. around are the
// nodes around the identifier, the outermost first.
func isUse(id ast.Node, around []ast.Node, field, function bool) bool {
	listed := false
	for _, outer := range slices.Backward(around) {
		switch outer := outer.(type) {
		case *ast.SelectorExpr:
			if outer.X == id {
				return true
			}
		case *ast.ParenExpr, *ast.StarExpr, *ast.IndexExpr, *ast.IndexListExpr:
		case *ast.KeyValueExpr:
			if field && outer.Key == id {
				return true
			}
		case *ast.CompositeLit:
			listed = listed || outer.Type != id && isListed(outer)
			if !listed && !function {
				return true
			}
		case *ast.ValueSpec:
			return !listed && outer.Names[0].Name != "_"
		case *ast.AssignStmt:
			name, ok := outer.Lhs[0].(*ast.Ident)
			return !listed && !(ok && name.Name == "_")
		default: // a call, a comparison, a loop, a declaration ...
			return true
		}
		id = outer
	}
	return true
}

// isListed reports whether the parts of a literal are the elements of a list or
// of a table.
func isListed(lit *ast.CompositeLit) bool {
	switch lit.Type.(type) {
	case *ast.ArrayType, *ast.MapType:
		return true
	}
	return false
}

// What stands for each name that is used, and for none that is only mentioned.
const mentions = `package p

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// strings.Title is mentioned in a comment.
var _ = strings.ToLower
var _ io.Writer = nil
var all = []error{io.EOF, io.ErrNoProgress}
var table = map[string]any{"fields": strings.Fields, "map": struct{ f any }{strings.Map}}

func f(err error) {
	_, _ = strings.ToUpper, http.MethodGet
	_ = strings.TrimSpace("called")
	each(strings.ToTitle)
	trim := strings.TrimLeft
	trim("", "")
	if err == io.ErrUnexpectedEOF {
		return
	}
	for _, unit := range []time.Duration{time.Second} {
		time.Sleep(unit)
	}
	_ = http.Server{Addr: http.MethodPut}
	var _ io.Reader = strings.NewReader("")
}

func each(func(string) string) {}
`

func TestUses_AreNoMentions(t *testing.T) {
	std := []string{"io", "net/http", "strings", "time"}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "p.go", mentions, parser.SkipObjectResolution)
	require.NoError(t, err)
	u := &uses{importer: importer.ForCompiler(set, "gc", exportData(t, std...)), used: make(map[types.Object]bool)}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	_, err = (&types.Config{Importer: u.importer}).Check("p", set, []*ast.File{file}, info)
	require.NoError(t, err)
	u.note(file, info)
	var used []string
	for o := range u.used {
		if o.Pkg() != nil && slices.Contains(std, o.Pkg().Path()) && o.Exported() {
			used = append(used, o.Name())
		}
	}
	slices.Sort(used)
	require.Equal(t, []string{
		"Addr", "Duration", "ErrUnexpectedEOF", "MethodPut", "NewReader", "Second", "Server", "Sleep", "ToTitle",
		"TrimLeft", "TrimSpace",
	}, used)
}
