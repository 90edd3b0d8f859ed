package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	insideName = regexp.MustCompile(`^\*?([a-z]\w*(?:\.\w+)*)$`)
	insidePath = regexp.MustCompile(`^[\w.-]+(?:/[\w.-]+)+$`)
)

// foreignInside are spans that look like identifiers of dog or its files, and
// are those of the system, of SQL and of examples.
var foreignInside = []string{
	"close", "dog.store", "flock", "instr", "o.Broadcast", "renameat2", "renamex_np", "replace", "s.Broadcast",
	"s.Send", "stat", "tcpi_bytes_acked", "tcpi_snd_wnd", "tcpi_unacked", "test/storage/testdata/layout-N", "vX.Y.Z",
}

// The pages about the inside name no identifier, file or folder of the inside
// that does not exist.
func TestAPI_DesignPagesNameOnlyExistingIdentifiers(t *testing.T) {
	for page, tests := range map[string]bool{"docs/design.md": false, "CONTRIBUTING.md": true} {
		inside := readInside(t, tests)
		data, err := os.ReadFile(filepath.Join("..", "..", page))
		require.NoError(t, err)
		for _, span := range codeSpan.FindAllStringSubmatch(goBlock.ReplaceAllString(string(data), ""), -1) {
			code := span[1]
			if slices.Contains(foreignInside, code) || fileName.MatchString(code) {
				continue // a Go file or page is looked for with those of the other pages
			}
			if name := insideName.FindStringSubmatch(code); name != nil && !inside.has(name[1]) {
				t.Errorf("%s: there is no `%s`", page, code)
			}
			if insidePath.MatchString(code) && !inside.files[code] && !inside.hasPackage(code) {
				t.Errorf("%s: there is no file or folder `%s`", page, code)
			}
		}
	}
}

// inside is what the files of the module declare.
type inside struct {
	files map[string]bool // with the folders
	// packages, package-level identifiers and members of types, with and
	// without what they belong to: mu, Conn.mu, conn.Conn.mu
	names   map[string]bool
	imports map[string]bool // paths
}

// has reports whether a name is declared in the module, or belongs to an
// imported package.
func (in *inside) has(name string) bool {
	if in.names[name] || in.files[name] {
		return true
	}
	first, _, qualified := strings.Cut(name, ".")
	return qualified && in.hasPackage(first)
}

// hasPackage reports whether the module imports a package of others whose path
// ends like this.
func (in *inside) hasPackage(name string) bool {
	for imported := range in.imports {
		if imported == name || strings.HasSuffix(imported, "/"+name) {
			return true
		}
	}
	return false
}

// readInside reads the files of the module, and the declarations of the Go
// files, those of tests only if tests is set.
func readInside(t *testing.T, tests bool) *inside {
	t.Helper()
	in := &inside{files: map[string]bool{}, names: map[string]bool{}, imports: map[string]bool{}}
	root := filepath.Join("..", "..")
	require.NoError(t, filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.Name() == ".git" && e.IsDir():
			return fs.SkipDir
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		in.files[name] = true
		if path.Ext(name) != ".go" || !tests && strings.HasSuffix(name, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		in.add(parsed)
		return nil
	}))
	return in
}

func (in *inside) add(file *ast.File) {
	in.names[file.Name.Name] = true
	for _, spec := range file.Imports {
		if imported := strings.Trim(spec.Path.Value, `"`); !strings.HasPrefix(imported, modulePath) {
			in.imports[imported] = true
		}
	}
	for _, declared := range file.Decls {
		switch d := declared.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				in.declare(file.Name.Name, d.Name.Name)
			} else {
				in.member(file.Name.Name, receiver(d.Recv.List[0].Type), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				in.spec(file.Name.Name, spec)
			}
		}
	}
}

func (in *inside) spec(pkg string, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range s.Names {
			in.declare(pkg, name.Name)
		}
	case *ast.TypeSpec:
		in.declare(pkg, s.Name.Name)
		var members *ast.FieldList
		switch typ := s.Type.(type) {
		case *ast.StructType:
			members = typ.Fields
		case *ast.InterfaceType:
			members = typ.Methods
		default:
			return
		}
		for _, field := range members.List {
			for _, name := range field.Names {
				in.member(pkg, s.Name.Name, name.Name)
			}
		}
	}
}

func (in *inside) declare(pkg, name string) { in.names[name], in.names[pkg+"."+name] = true, true }

func (in *inside) member(pkg, typ, name string) {
	in.names[name], in.names[typ+"."+name], in.names[pkg+"."+typ+"."+name] = true, true, true
}

// receiver returns the name of the type of a method's receiver.
func receiver(typ ast.Expr) string {
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}
