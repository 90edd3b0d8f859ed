package dog_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// readmeCode returns the blocks of Go code in the README.
func readmeCode(t *testing.T) (blocks []string) {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for i, rest := range strings.Split(string(readme), "```go\n") {
		if i == 0 {
			continue
		}
		block, _, found := strings.Cut(rest, "```")
		require.True(t, found)
		blocks = append(blocks, block)
	}
	return blocks
}

// The programs that a newcomer copies must compile.
func TestTheProgramsInTheReadmeCompile(t *testing.T) {
	programs := 0
	for _, block := range readmeCode(t) {
		if !strings.HasPrefix(block, "package main\n") {
			continue
		}
		programs++
		dir := t.TempDir()
		file := filepath.Join(dir, "main.go")
		require.NoError(t, os.WriteFile(file, []byte(block), 0o600))
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "program"), file).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.Equal(t, 3, programs)
}

// What is not a program is an excerpt of an example, word by word, and so compiles as well.
func TestTheExcerptsInTheReadmeAreThoseOfTheExamples(t *testing.T) {
	var examples strings.Builder
	for _, pattern := range []string{"example_*_test.go", "example/*/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			code, err := os.ReadFile(file)
			require.NoError(t, err)
			examples.Write(code)
		}
	}
	excerpts := 0
	for _, block := range readmeCode(t) {
		if strings.HasPrefix(block, "package main\n") {
			continue
		}
		excerpts++
		require.Contains(t, examples.String(), block)
	}
	require.NotZero(t, excerpts)
}
