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

// lists are the tests that name identifiers only to list them.
var lists = []string{
	"test/api/types_test.go", "test/api/zero_test.go", "test/api/uses_test.go",
	"test/gate/ways_tables_test.go", "test/life/after_shutdown_table_test.go", "test/life/times_table_test.go",
	"test/turn/keeps_turn_table_test.go",
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
	importer    types.Importer
	used        map[types.Object]bool
	implemented map[string]bool // names of methods that tests and examples declare
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
		_, inInterface := m.(*types.Func)
		switch {
		case u.used[m], inInterface && isInterface(o) && u.implemented[m.Name()]:
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

func isInterface(o types.Object) bool { return types.IsInterface(o.Type()) }

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
		used:     make(map[types.Object]bool), implemented: make(map[string]bool),
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
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	_, err := config.Check(folder, set, files, info)
	require.NoError(t, err)
	for id, o := range info.Uses {
		name, err := filepath.Rel(filepath.Join("..", ".."), set.Position(id.Pos()).Filename)
		require.NoError(t, err)
		if slices.Contains(lists, filepath.ToSlash(name)) {
			continue
		}
		switch o := o.(type) {
		case *types.Var:
			u.used[o.Origin()] = true
		case *types.Func:
			u.used[o.Origin()] = true
		default:
			u.used[o] = true
		}
	}
	for _, file := range files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				u.implemented[f.Name.Name] = true
			}
		}
	}
}
