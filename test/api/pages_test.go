package api_test

import (
	"go/importer"
	"go/scanner"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	goBlock   = regexp.MustCompile("(?s)```.*?```") // tests compile these
	codeSpan  = regexp.MustCompile("`([^`\n]+)`")
	qualified = regexp.MustCompile(`\b(?:dog|client|disk|dogtest|dogview|outbox|shard)\.[A-Z]\w*(?:\.[A-Z]\w*)?`)
	bareName  = regexp.MustCompile(`(?:^|[^\w.-])([A-Z]\w*[a-z]\w*(?:\.[A-Z]\w*)?)`)
	fileName  = regexp.MustCompile(`^[\w/]+\.(?:go|md)$`)
)

// foreign are names of other packages and programs, and of the examples, that
// pages write without a package.
var foreign = []string{
	"Add", "Connection", "Content", "DurableObject", "Flush", "Hijack", "Host", "LimitNOFILE", "Origin", "Recreate",
	"ResponseWriter", "RollingUpdate", "WriteHeader",
}

// Markdown names nothing that does not exist: identifiers, tests and files.
func TestAPI_PagesNameOnlyExistingIdentifiers(t *testing.T) {
	public, source := publicNames(t), readSource(t)
	for _, page := range markdown(t) {
		data, err := os.ReadFile(filepath.Join("..", "..", page))
		require.NoError(t, err)
		text := goBlock.ReplaceAllString(string(data), "")
		for _, name := range qualified.FindAllString(text, -1) {
			if !public[name] {
				t.Errorf("%s: there is no %s", page, name)
			}
		}
		if strings.HasPrefix(page, "bench/") || strings.HasPrefix(page, "client/js/") {
			continue // the names in code are those of other libraries, and of JavaScript
		}
		for _, span := range codeSpan.FindAllStringSubmatch(text, -1) {
			code := span[1]
			if fileName.MatchString(code) && !source.files[code] {
				t.Errorf("%s: there is no file %s", page, code)
			}
			for _, found := range bareName.FindAllStringSubmatch(qualified.ReplaceAllString(code, ""), -1) {
				name := found[1]
				switch {
				case public[name], slices.Contains(foreign, name):
				case (strings.Contains(code, "go test") || strings.HasPrefix(code, "Test")) && source.hasTest(name):
				case page == "docs/design.md" && source.hasAny(name): // which is about the inside, too
				default:
					t.Errorf("%s: `%s` names %s, which does not exist", page, code, name)
				}
			}
		}
	}
}

// markdown returns the pages of the repository.
func markdown(t *testing.T) (pages []string) {
	t.Helper()
	root := filepath.Join("..", "..")
	for _, pattern := range []string{
		"*.md", "docs/*.md", "docs/guide/*.md", "internal/*.md", "dogotel/*.md", "dogprom/*.md", "client/js/*.md",
		"bench/*.md", "example/*/*.md",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, page := range found {
			name, err := filepath.Rel(root, page)
			require.NoError(t, err)
			pages = append(pages, filepath.ToSlash(name))
		}
	}
	require.Greater(t, len(pages), 12)
	return pages
}

// publicNames returns the exported identifiers of the public packages, with and
// without their packages and types: dog.Stub.Delete, Stub.Delete, Delete.
func publicNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	imports := importer.ForCompiler(token.NewFileSet(), "gc", exportData(t, publicPaths...))
	for _, path := range publicPaths {
		p, err := imports.Import(path)
		require.NoError(t, err)
		names[p.Name()] = true
		for _, name := range p.Scope().Names() {
			o := p.Scope().Lookup(name)
			if !o.Exported() {
				continue
			}
			names[name], names[p.Name()+"."+name] = true, true
			for _, member := range allMembersOf(o) {
				names[member], names[name+"."+member], names[p.Name()+"."+name+"."+member] = true, true, true
			}
		}
	}
	return names
}

// allMembersOf returns the names of the fields and methods of a type, promoted
// ones included.
func allMembersOf(o types.Object) (names []string) {
	for _, m := range membersOf(o) {
		names = append(names, m.Name())
	}
	name, ok := o.(*types.TypeName)
	if !ok {
		return names
	}
	for m := range types.NewMethodSet(types.NewPointer(name.Type())).Methods() {
		names = append(names, m.Obj().Name())
	}
	if s, ok := name.Type().Underlying().(*types.Struct); ok {
		for f := range s.Fields() {
			if named, ok := f.Type().(*types.Named); ok && f.Embedded() {
				names = append(append(names, f.Name()), allMembersOf(named.Obj())...)
			}
		}
	}
	return names
}

// source is what the files of the module have.
type source struct {
	files       map[string]bool // names, with and without their folders
	identifiers map[string]bool // of Go files that are no tests
	tests       map[string]bool // identifiers of tests that begin with Test or Benchmark
}

// hasTest reports whether a part of a test's name is this.
func (s *source) hasTest(part string) bool {
	for name := range s.tests {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// hasAny reports whether one of the parts of a name is an identifier.
func (s *source) hasAny(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if s.identifiers[part] {
			return true
		}
	}
	return false
}

func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{files: make(map[string]bool), identifiers: make(map[string]bool), tests: make(map[string]bool)}
	root := filepath.Join("..", "..")
	require.NoError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if e != nil && e.Name() == ".git" {
				return fs.SkipDir
			}
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s.files[filepath.ToSlash(name)], s.files[filepath.Base(name)] = true, true
		if filepath.Ext(name) != ".go" {
			return nil
		}
		code, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		s.scan(code, strings.HasSuffix(name, "_test.go"))
		return nil
	}))
	return s
}

func (s *source) scan(code []byte, test bool) {
	set := token.NewFileSet()
	var tokens scanner.Scanner
	tokens.Init(set.AddFile("", set.Base(), len(code)), code, nil, 0)
	for {
		_, tok, literal := tokens.Scan()
		switch {
		case tok == token.EOF:
			return
		case tok == token.IDENT && !test:
			s.identifiers[literal] = true
		case tok == token.IDENT && (strings.HasPrefix(literal, "Test") || strings.HasPrefix(literal, "Benchmark")):
			s.tests[literal] = true
		}
	}
}
