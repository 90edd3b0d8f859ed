// Package streams_test runs the conformance suite of Durable Streams against
// the histories that the library serves.
package streams_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/internal/fixture"
)

// leftOut are regular expressions for the tests of the suite that are not run,
// with the reason.
var leftOut = map[string]string{
	// What clients write is not served: the programs of the library do that.
	`^(TTL|HEAD Metadata Edge Cases|Fork - TTL)`:             "clients set no time to live",
	`^Idempotent Producer Operations`:                        "clients do not append by HTTP; they have ids in dog.v1",
	`^Stream Closure`:                                        "a history does not end",
	`^Fork - `:                                               "a history has no forks",
	`^Reserved subscription APIs`:                            "there are none, and the suite leaves them out too",
	`(sequence|seq) ordering|duplicate seq|out-of-order seq`: "clients do not append, with or without Stream-Seq",
	`delete a stream|stream after delete|successful DELETE`:  "clients do not delete histories",
	// What the program does in front of the history.
	`CORS preflight`: "the program decides about other origins",
}

// A result is what vitest writes about a test.
type result struct {
	FullName        string
	Status          string
	FailureMessages []string
}

func TestConformance_TheReadPartOfTheSuitePasses(t *testing.T) {
	fixture.TakesLong(t)
	dir := t.TempDir()
	install(t, dir)
	var patterns []string
	for p := range leftOut {
		patterns = append(patterns, strings.TrimPrefix(p, "^"))
	}
	vitest := exec.CommandContext(t.Context(), "npx", "--no-install", "vitest", "run",
		"--reporter=json", "--outputFile=results.json", "-t", "^(?!.*("+strings.Join(patterns, "|")+"))")
	vitest.Dir = dir
	vitest.Env = append(os.Environ(), "CONFORMANCE_TEST_URL="+newServer(t), "NO_COLOR=1")
	output, failed := vitest.CombinedOutput()
	written, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err, "%v: %s", failed, output)
	var report struct {
		TestResults []struct{ AssertionResults []result }
	}
	require.NoError(t, json.Unmarshal(written, &report))
	passed, used := 0, make(map[string]bool)
	for _, file := range report.TestResults {
		for _, r := range file.AssertionResults {
			out := false
			for p := range leftOut {
				if regexp.MustCompile(p).MatchString(r.FullName) {
					out, used[p] = true, true
				}
			}
			switch {
			case out:
			case r.Status == "passed":
				passed++
			default:
				t.Errorf("%s: %s\n%s", r.FullName, r.Status, strings.Join(r.FailureMessages, "\n"))
			}
		}
	}
	for p, why := range leftOut {
		require.True(t, used[p], "the suite has no test %q (%s)", p, why)
	}
	require.GreaterOrEqual(t, passed, 140, "tests of the suite are not run: %s", output)
	t.Logf("%d tests of the suite pass", passed)
}

// install installs the suite. Where that is not possible, the test is skipped,
// or fails where the suite must not be missing.
func install(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		lacking(t, "the suite needs Node: "+err.Error())
	}
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata")))
	npm := exec.CommandContext(
		t.Context(), "npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund",
		"--prefer-offline",
	)
	npm.Dir = dir
	output, err := npm.CombinedOutput()
	if err != nil && noNetwork.Match(output) {
		lacking(t, "the suite cannot be installed without a network: "+string(output))
	}
	require.NoError(t, err, "%s", output)
}

// lacking skips the test, or fails it in CI with Node.
func lacking(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" && os.Getenv("DOG_WITHOUT_NODE") == "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// noNetwork matches what npm writes if it reaches no registry.
var noNetwork = regexp.MustCompile(
	`ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|` +
		`E403|E407|E5\d\d`,
)
