package dog_test

import (
	"bytes"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// exportData returns a look-up of what the compiler knows about the library and its dependencies.
func exportData(t *testing.T) func(path string) (io.ReadCloser, error) {
	t.Helper()
	var stderr bytes.Buffer
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".")
	list.Stderr = &stderr
	out, err := list.Output()
	require.NoError(t, err, stderr.String())
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

const program = `package p

import (
	"net/http"

	"github.com/godurable/dog"
)

type group struct{ dog.Group }

type replica struct{ dog.Replica }

func (*replica) Receive(http.ResponseWriter, *http.Request) {}

type nothing struct{}

type both struct {
	dog.Group
	dog.Replica
}

type held struct{ inner dog.Replica }

type object struct{ dog.Object }

func use(rt *dog.Runtime, groups *dog.Namespace[group], replicas *dog.Namespace[replica], stub dog.Stub[group], other dog.Stub[replica]) {
	STATEMENT
}
`

func TestWrongTypesDoNotCompile(t *testing.T) {
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", exportData(t))
	compile := func(statement string) error {
		file, err := parser.ParseFile(files, "p.go", strings.Replace(program, "STATEMENT", statement, 1), 0)
		require.NoError(t, err)
		config := types.Config{Importer: imports}
		_, err = config.Check("p", files, []*ast.File{file}, nil)
		return err
	}
	right := map[string]string{
		"group":   `dog.RegisterGroup(rt, "x", func(*group) {})`,
		"replica": `dog.RegisterReplica(rt, "x", func(*replica) {})`,
		"link":    `dog.Link(groups, replicas)`,
		"stub":    `dog.Identify(nil, stub, "", dog.Link(groups, replicas))`,
	}
	for name, statement := range right {
		require.NoError(t, compile(statement), name)
	}
	wrong := map[string]string{
		"a group that embeds nothing":       `dog.RegisterGroup(rt, "x", func(*nothing) {})`,
		"a replica that embeds nothing":     `dog.RegisterReplica(rt, "x", func(*nothing) {})`,
		"a group that is both":              `dog.RegisterGroup(rt, "x", func(*both) {})`,
		"a replica that is both":            `dog.RegisterReplica(rt, "x", func(*both) {})`,
		"a replica as a group":              `dog.RegisterGroup(rt, "x", func(*replica) {})`,
		"a group as a replica":              `dog.RegisterReplica(rt, "x", func(*group) {})`,
		"a field that is not embedded":      `dog.RegisterReplica(rt, "x", func(*held) {})`,
		"an object":                         `dog.RegisterReplica(rt, "x", func(*object) {})`,
		"setup of a value":                  `dog.RegisterGroup(rt, "x", func(group) {})`,
		"swapped arguments of Link":         `dog.Link(replicas, groups)`,
		"two groups":                        `dog.Link(groups, groups)`,
		"a replica's stub in Identify":      `dog.Identify(nil, other, "", dog.Link(groups, replicas))`,
		"a replica's stub for the family":   `dog.Link(groups, replicas).Drain(nil, other, dog.ID{})`,
		"a namespace made by hand":          `_ = dog.Namespace[group]{nil}`,
		"a group that tells its own object": `_ = group{}.Group.core`,
	}
	for name, statement := range wrong {
		require.Error(t, compile(statement), name)
	}
}
