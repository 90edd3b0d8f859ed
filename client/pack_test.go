package client_test

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is published has the module, its types, and what npm always adds.
func TestJS_PackHasWhatIsPublished(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed: " + err.Error())
	}
	cmd := exec.CommandContext(t.Context(), npm, "pack", "--dry-run", "--json", "--ignore-scripts", "--offline")
	cmd.Dir = "js"
	output, err := cmd.Output()
	require.NoError(t, err)
	var packs []struct {
		Name  string
		Files []struct{ Path string }
	}
	require.NoError(t, json.Unmarshal(output, &packs), "%s", output)
	require.Len(t, packs, 1)
	require.Equal(t, "@godurable/dog", packs[0].Name)
	var files []string
	for _, f := range packs[0].Files {
		files = append(files, f.Path)
	}
	require.ElementsMatch(t, []string{
		"LICENSE", "README.md", "dog-commands.d.ts", "dog-commands.js", "dog.d.ts", "dog.js", "package.json",
	}, files)
}
