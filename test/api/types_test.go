package api_test

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
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goList returns what go list prints in the root of the module.
func goList(t *testing.T, args ...string) (lines []string) {
	t.Helper()
	var stderr bytes.Buffer
	list := exec.Command("go", append([]string{"list"}, args...)...)
	list.Dir = filepath.Join("..", "..")
	list.Stderr = &stderr
	out, err := list.Output()
	require.NoError(t, err, stderr.String())
	return strings.Fields(string(out))
}

// exportData returns a look-up of what the compiler knows about packages and
// their dependencies.
func exportData(t *testing.T, packages ...string) func(path string) (io.ReadCloser, error) {
	t.Helper()
	files := make(map[string]string)
	args := append([]string{"-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}"}, packages...)
	for _, line := range goList(t, args...) {
		path, file, _ := strings.Cut(line, "=")
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

func (*replica) Receive(http.ResponseWriter, *http.Request) error { return nil }

type nothing struct{}

type both struct {
	dog.Group
	dog.Replica
}

type held struct{ inner dog.Replica }

type object struct{ dog.Object }

func use(
	rt *dog.Runtime,
	groups *dog.Groups[group, replica], replicas *dog.Replicas[replica], objects *dog.Namespace[object],
	stub dog.GroupStub[group, replica], other dog.Stub[replica], o *object, r *replica,
) {
	STATEMENT
}
`

func TestRegister_WrongTypesDoNotCompile(t *testing.T) {
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", exportData(t, "."))
	compile := func(statement string) error {
		file, err := parser.ParseFile(files, "p.go", strings.Replace(program, "STATEMENT", statement, 1), 0)
		require.NoError(t, err)
		config := types.Config{Importer: imports}
		_, err = config.Check("p", files, []*ast.File{file}, nil)
		return err
	}
	right := map[string]string{
		"group": `
			dog.RegisterGroup(rt, "x", replicas, &dog.GroupOptions[group]{New: func() *group { return nil }})`,
		"replica":        `dog.RegisterReplica(rt, "x", &dog.ReplicaOptions[replica]{})`,
		"replica, plain": `dog.RegisterReplica[replica](rt, "x", nil)`,
		"object":         `dog.RegisterObject[object](rt, "x", nil)`,
		"itself":         `dog.RegisterObject[dog.Object](rt, "x", nil)`,
		"stub":           `other, _ = stub.Identify(nil, "")`,
		"plain stub":     `var s dog.Stub[group] = stub.Stub; _ = s`,
		"of a group":     `stub = dog.GroupOf[group](r)`,
		"of an object":   `objects = dog.NamespaceOf(o)`,
		"oneself":        `other = dog.Self(r)`,
	}
	for name, statement := range right {
		require.NoError(t, compile(statement), name)
	}
	wrong := map[string]string{
		"a group that embeds nothing":   `dog.RegisterGroup(rt, "x", replicas, &dog.GroupOptions[nothing]{})`,
		"a replica that embeds nothing": `dog.RegisterReplica[nothing](rt, "x", nil)`,
		"an object that embeds nothing": `dog.RegisterObject[nothing](rt, "x", nil)`,
		"a group that is both":          `dog.RegisterGroup(rt, "x", replicas, &dog.GroupOptions[both]{})`,
		"a replica that is both":        `dog.RegisterReplica[both](rt, "x", nil)`,
		"an object that is both":        `dog.RegisterObject[both](rt, "x", nil)`,
		"a replica as a group":          `dog.RegisterGroup(rt, "x", replicas, &dog.GroupOptions[replica]{})`,
		"a group as a replica":          `dog.RegisterReplica[group](rt, "x", nil)`,
		"a replica as an object":        `dog.RegisterObject[replica](rt, "x", nil)`,
		"a group as an object":          `dog.RegisterObject[group](rt, "x", nil)`,
		"a field that is not embedded":  `dog.RegisterReplica[held](rt, "x", nil)`,
		"an object as a replica":        `dog.RegisterReplica[object](rt, "x", nil)`,
		"New of a value": `
			dog.RegisterReplica(rt, "x", &dog.ReplicaOptions[replica]{New: func() replica { return replica{} }})`,
		"options of another kind":        `dog.RegisterReplica(rt, "x", &dog.ObjectOptions[replica]{})`,
		"a Limit of replicas":            `dog.RegisterReplica(rt, "x", &dog.ReplicaOptions[replica]{Limit: 1})`,
		"objects as the replicas":        `dog.RegisterGroup(rt, "x", objects, &dog.GroupOptions[group]{})`,
		"groups as the replicas":         `dog.RegisterGroup(rt, "x", groups, &dog.GroupOptions[group]{})`,
		"Identify of a replica's stub":   `other.Identify(nil, "")`,
		"a replica of another type":      `var s dog.Stub[object]; s, _ = stub.Identify(nil, "")`,
		"Drain of a replica's stub":      `other.Drain(nil, dog.ID{})`,
		"replicas by name":               `replicas.Named("x")`,
		"a new replica":                  `replicas.New()`,
		"NamespaceOf a replica":          `dog.NamespaceOf(r)`,
		"a namespace made by hand":       `_ = dog.Namespace[group]{nil}`,
		"a group that uses its own core": `_ = group{}.Group.core`,
	}
	for name, statement := range wrong {
		assert.Error(t, compile(statement), name)
	}
}
