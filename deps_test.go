package dog_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who imports the library gets these modules and the standard library, and nothing else: no storage engine, no SQLite.
func TestTheLibraryDependsOnThreeModules(t *testing.T) {
	var stderr bytes.Buffer
	list := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.Module.Path}} {{.ImportPath}}{{end}}", ".")
	list.Stderr = &stderr
	out, err := list.Output()
	require.NoError(t, err, stderr.String())
	modules := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		module, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		modules[module] = true
		require.NotContains(t, path, "dogtest")
	}
	require.Equal(t, map[string]bool{
		"github.com/godurable/dog":   true,
		"github.com/coder/websocket": true,
		"github.com/google/uuid":     true,
		"github.com/tidwall/btree":   true,
	}, modules)
}

// What is internal must not know the library.
func TestInternalPackagesDoNotImportTheLibrary(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}}", "./internal/...").Output()
	require.NoError(t, err)
	require.NotContains(t, strings.Fields(string(out)), "github.com/godurable/dog")
}
