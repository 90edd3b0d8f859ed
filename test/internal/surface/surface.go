// Package surface reads from the source what a package exports, for tests that
// must notice each new function or method. It knows syntax only, no types.
package surface

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Func is an exported function, or an exported method of any type.
type Func struct {
	Type string // the type that has the method, "" for a function
	Decl *ast.FuncDecl
}

// String returns Type.Name for a method and Name for a function.
func (f Func) String() string {
	if f.Type == "" {
		return f.Decl.Name.Name
	}
	return f.Type + "." + f.Decl.Name.Name
}

// Takes reports whether a parameter has one of these types, as the source
// writes it without a star: context.Context, http.Request.
func (f Func) Takes(types ...string) bool {
	for _, p := range f.Decl.Type.Params.List {
		expr := p.Type
		if star, ok := expr.(*ast.StarExpr); ok {
			expr = star.X
		}
		selector, ok := expr.(*ast.SelectorExpr)
		if !ok {
			continue
		}
		for _, typ := range types {
			if of, name, _ := strings.Cut(typ, "."); baseName(selector.X) == of && selector.Sel.Name == name {
				return true
			}
		}
	}
	return false
}

// A Package is the source of one package, without its tests.
type Package struct {
	declared []Func
	embedded map[string][]string // types by the struct types that embed them
	hooks    []string
	times    []string
}

// Read reads the Go files of a folder but for tests, and those files besides.
func Read(t testing.TB, folder string, files ...string) *Package {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, all, "no source in %s", folder)
	p := &Package{embedded: make(map[string][]string)}
	for _, name := range append(all, files...) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		p.add(file)
	}
	return p
}

func (p *Package) add(file *ast.File) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if !d.Name.IsExported() {
				continue
			}
			f := Func{Decl: d}
			if d.Recv != nil {
				f.Type = baseName(d.Recv.List[0].Type)
			}
			p.declared = append(p.declared, f)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if spec, ok := spec.(*ast.TypeSpec); ok {
					p.embed(spec)
					p.hook(spec)
				}
			}
		}
	}
}

func (p *Package) embed(spec *ast.TypeSpec) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, field := range s.Fields.List {
		if len(field.Names) == 0 {
			p.embedded[spec.Name.Name] = append(p.embedded[spec.Name.Name], baseName(field.Type))
		}
	}
}

// hook adds what the package may call, and times, if the type is exported.
func (p *Package) hook(spec *ast.TypeSpec) {
	if !spec.Name.IsExported() {
		return
	}
	switch typ := spec.Type.(type) {
	case *ast.InterfaceType:
		p.hooks = append(p.hooks, functions(typ.Methods, "")...)
	case *ast.StructType:
		p.hooks = append(p.hooks, functions(typ.Fields, spec.Name.Name+".")...)
		p.times = append(p.times, exported(typ.Fields, spec.Name.Name+".", func(typ ast.Expr) bool {
			selector, ok := typ.(*ast.SelectorExpr)
			return ok && baseName(selector.X) == "time" && selector.Sel.Name == "Duration"
		})...)
	}
}

// functions returns the exported names in a list whose type is a function.
func functions(list *ast.FieldList, prefix string) []string {
	return exported(list, prefix, func(typ ast.Expr) bool {
		_, ok := typ.(*ast.FuncType)
		return ok
	})
}

// exported returns the exported names in a list that have such a type.
func exported(list *ast.FieldList, prefix string, such func(ast.Expr) bool) (names []string) {
	for _, field := range list.List {
		if !such(field.Type) {
			continue
		}
		for _, name := range field.Names {
			if name.IsExported() {
				names = append(names, prefix+name.Name)
			}
		}
	}
	return names
}

// Hooks returns where the package calls the program that uses it: the methods
// of exported interfaces, by their names, and the functions among the fields of
// exported structs, as Type.Field. It does not return the parameters of
// functions.
func (p *Package) Hooks() []string { return p.hooks }

// Durations returns the fields of exported structs whose type is time.Duration,
// as Type.Field.
func (p *Package) Durations() []string { return p.times }

// Declared returns the exported functions and methods as they are declared, the
// methods of unexported types too.
func (p *Package) Declared() []Func { return p.declared }

// Functions returns the exported functions.
func (p *Package) Functions() []Func { return p.methods("", make(map[string]bool)) }

// Types returns the exported types that have exported methods, their own or
// those of a type that they embed.
func (p *Package) Types() []string {
	var names []string
	seen := make(map[string]bool)
	add := func(name string) {
		if ast.IsExported(name) && !seen[name] && len(p.Methods(name)) > 0 {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, f := range p.declared {
		add(f.Type)
	}
	for name := range p.embedded {
		add(name)
	}
	return names
}

// Methods returns the exported methods of a type, promoted methods included.
func (p *Package) Methods(typ string) []Func { return p.methods(typ, make(map[string]bool)) }

func (p *Package) methods(typ string, seen map[string]bool) (all []Func) {
	for _, f := range p.declared {
		if f.Type == typ && !seen[f.Decl.Name.Name] {
			seen[f.Decl.Name.Name] = true
			all = append(all, f)
		}
	}
	for _, inner := range p.embedded[typ] {
		for _, f := range p.methods(inner, seen) {
			all = append(all, Func{Type: typ, Decl: f.Decl})
		}
	}
	return all
}

// baseName returns the name of a type without star, package and arguments.
func baseName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return baseName(e.X)
	case *ast.IndexExpr:
		return baseName(e.X)
	case *ast.IndexListExpr:
		return baseName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}
