package dog_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who imports the library gets these modules and the standard library, and
// nothing else: no storage engine, no SQLite.
func TestTheLibraryDependsOnThreeModules(t *testing.T) {
	var stderr bytes.Buffer
	list := exec.Command(
		"go", "list", "-deps", "-f", "{{if not .Standard}}{{.Module.Path}} {{.ImportPath}}{{end}}", ".",
	)
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

const internalPath = "github.com/godurable/dog/internal/"

var packageName = regexp.MustCompile("`([a-z0-9/]+)`")

// internalOrder returns the internal packages in the order of
// internal/README.md, with their places.
func internalOrder(t *testing.T) map[string]int {
	list, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/godurable/dog").Output()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(list)), "internal", "README.md"))
	require.NoError(t, err)
	places := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "- ") {
			continue
		}
		for _, name := range packageName.FindAllStringSubmatch(line, -1) {
			require.NotContains(t, places, name[1], "it is listed twice")
			places[name[1]] = len(places)
		}
	}
	return places
}

// An internal package imports only those that internal/README.md lists before
// it, so never the library.
func TestInternalPackagesImportOnlyThoseBeforeThem(t *testing.T) {
	places := internalOrder(t)
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", internalPath+"...").Output()
	require.NoError(t, err)
	found := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], internalPath)
		place, listed := places[name]
		require.True(t, listed, "internal/README.md does not list %s", name)
		found++
		for _, path := range fields[1:] {
			if !strings.HasPrefix(path, "github.com/godurable/dog") {
				continue
			}
			imported, internal := strings.CutPrefix(path, internalPath)
			require.True(t, internal, "%s imports %s", name, path)
			require.Less(t, places[imported], place, "%s imports %s, which is listed after it", name, imported)
		}
	}
	require.Len(t, places, found, "internal/README.md lists a package that does not exist")
}
