// Package ci_test tests the scripts in ci.
package ci_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const script = "../../ci/chromium"

// installs is what the script does with apt-get to install Chromium.
const installs = "apt-get update\n" +
	"apt-get install -y --no-install-recommends chromium, without a dialog\n"

// A machine has no commands but those of a test, all in a directory of the
// test. The script finds commands by PATH alone, which is this directory, so it
// does not reach those of the real machine.
type machine struct {
	t    *testing.T
	bash string
	bin  string
	did  string // a file with what the commands were called for
}

// newMachine makes a machine with an apt-get, whose user is root.
func newMachine(t *testing.T) *machine {
	t.Helper()
	text, err := os.ReadFile(script)
	require.NoError(t, err)
	require.False(t, mayEscape(string(text)), "it is not safe to run the script")
	m := &machine{t: t, bin: filepath.Join(t.TempDir(), "bin"), did: filepath.Join(t.TempDir(), "did")}
	require.NoError(t, os.Mkdir(m.bin, 0o700))
	require.NoError(t, os.WriteFile(m.did, nil, 0o600))
	m.bash = find(t, "bash")
	for _, name := range []string{"cat", "env", "mktemp", "rm", "tail"} { // none changes the machine by itself
		require.NoError(t, os.Symlink(find(t, name), filepath.Join(m.bin, name)))
	}
	m.add("apt-get", `echo "apt-get $*${DEBIAN_FRONTEND:+, without a dialog}" >>"$did"; echo "apt-get was here"`)
	m.add("id", `echo 0`)
	return m
}

// find returns the absolute path of a command of the real machine.
func find(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("there is no %s", name)
	}
	require.NoError(t, err)
	return path
}

var (
	comment = regexp.MustCompile(`(?m)^\s*#.*$`)
	message = regexp.MustCompile(`(?s)<<'TXT'\n.*?\nTXT\n|"ci/chromium: [^"$]*"`)
	escape  = regexp.MustCompile(`\bPATH\b|\bcommand\s+-\w*p|\b(?:eval|hash|builtin|enable|source)\b`)
)

// mayEscape reports whether a script could reach commands other than by their
// names and the PATH that it is given.
func mayEscape(text string) bool {
	text = message.ReplaceAllString(comment.ReplaceAllString(text, ""), "")
	return strings.Contains(strings.ReplaceAll(text, ">/dev/null", ""), "/") || escape.MatchString(text)
}

// add adds a command. It never replaces a file, nor follows a link.
func (m *machine) add(name, body string) {
	m.t.Helper()
	file, err := os.OpenFile(filepath.Join(m.bin, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	require.NoError(m.t, err)
	_, err = fmt.Fprintf(file, "#!%s\ndid='%s'\n%s\n", m.bash, m.did, body)
	require.NoError(m.t, errors.Join(err, file.Close()))
}

// replace replaces a command of the machine.
func (m *machine) replace(name, body string) {
	m.t.Helper()
	require.NoError(m.t, os.Remove(filepath.Join(m.bin, name)))
	m.add(name, body)
}

// command returns a call of bash in the machine.
func (m *machine) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(m.t.Context(), m.bash, args...)
	cmd.Env = append([]string{"PATH=" + m.bin, "TMPDIR=" + m.t.TempDir()}, env...)
	return cmd
}

// requireClosed requires that no command which could change the real machine is
// found.
func (m *machine) requireClosed() {
	m.t.Helper()
	const list = `for name in apt-get sudo id su doas pkexec dpkg apt chromium; do command -v "$name" || true; done`
	out, err := m.command(nil, "-c", list).Output()
	require.NoError(m.t, err)
	for path := range strings.FieldsSeq(string(out)) {
		require.Equal(m.t, m.bin, filepath.Dir(path))
	}
}

// A result is what the script has done.
type result struct {
	ok     bool
	output string
	did    string // what the commands were called for
}

// run runs the script without a terminal. Its input would agree.
func (m *machine) run(env ...string) result {
	m.t.Helper()
	cmd := m.command(env, script)
	cmd.Stdin = strings.NewReader("y\n")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.start(cmd)
	return m.result(out.String(), err)
}

// runInTerminal runs the script in a terminal in which answer is typed.
func (m *machine) runInTerminal(answer string, env ...string) result {
	m.t.Helper()
	screen, terminal := openTerminal(m.t)
	_, err := screen.WriteString(answer + "\n")
	require.NoError(m.t, err)
	cmd := m.command(env, script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	err = m.start(cmd)
	require.NoError(m.t, terminal.Close())
	var out strings.Builder
	_, _ = io.Copy(&out, screen) // its end is an error
	return m.result(out.String(), err)
}

// start runs the script's command, if nothing of the real machine can be found.
func (m *machine) start(cmd *exec.Cmd) error {
	m.t.Helper()
	m.requireClosed()
	return cmd.Run()
}

func (m *machine) result(output string, err error) result {
	m.t.Helper()
	if err != nil {
		require.IsType(m.t, new(exec.ExitError), err)
	}
	did, readErr := os.ReadFile(m.did)
	require.NoError(m.t, readErr)
	return result{ok: err == nil, output: output, did: string(did)}
}

// openTerminal opens a terminal and what somebody sees and types there.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = terminal.Close() })
	return screen, terminal
}

const question = "Install Debian's package with apt-get? [y/N]"

// What the other tests rely on: a script that could reach the real machine is
// not run.
func TestChromium_ScriptThatNamesAPathIsNotRun(t *testing.T) {
	for _, bad := range []string{
		"/usr/bin/apt-get update", "sudo /bin/sh", `x="/usr/bin/apt-get"`, `"$dir"/apt-get`, "cd / && usr/bin/apt-get",
		"cat </etc/passwd", "PATH=x", "command -p apt-get", "command -vp apt-get", `eval "$x"`,
	} {
		require.True(t, mayEscape(bad), bad)
	}
	require.False(t, mayEscape("# /usr\ncommand -v x >/dev/null\ncat <<'TXT'\n/usr\nTXT\n"))
}

func TestChromium_OneThatIsThereIsFound(t *testing.T) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		m := newMachine(t)
		m.add(name, "")
		require.Equal(t, result{ok: true}, m.run("CI=true"), name)
	}
	m := newMachine(t)
	m.add("elsewhere", "")
	require.Equal(t, result{ok: true}, m.run("CI=true", "DOG_CHROMIUM="+filepath.Join(m.bin, "elsewhere")))
}

func TestChromium_NothingIsInstalledWithoutATerminal(t *testing.T) {
	r := newMachine(t).run()
	require.False(t, r.ok)
	require.Empty(t, r.did)
	require.NotContains(t, r.output, question)
	require.Contains(t, r.output, "DOG_CHROMIUM", "how to get one")
}

// Half a terminal is not enough: somebody has to see the question, and to
// answer it.
func TestChromium_NothingIsInstalledInHalfATerminal(t *testing.T) {
	for _, sees := range []bool{true, false} {
		m := newMachine(t)
		screen, terminal := openTerminal(t)
		cmd := m.command(nil, script)
		if sees {
			cmd.Stdin, cmd.Stderr = strings.NewReader("y\n"), terminal
		} else {
			_, err := screen.WriteString("y\n")
			require.NoError(t, err)
			cmd.Stdin, cmd.Stderr = terminal, io.Discard
		}
		r := m.result("", m.start(cmd))
		require.False(t, r.ok, "sees the question: %t", sees)
		require.Empty(t, r.did, "sees the question: %t", sees)
	}
}

func TestChromium_CIInstallsWithoutAQuestion(t *testing.T) {
	r := newMachine(t).run("CI=true")
	require.True(t, r.ok, r.output)
	require.Equal(t, installs, r.did)

	r = newMachine(t).runInTerminal("n", "CI=true")
	require.True(t, r.ok, r.output)
	require.Equal(t, installs, r.did)
	require.NotContains(t, r.output, question)
}

func TestChromium_WhoeverIsAtTheTerminalDecides(t *testing.T) {
	for answer, agrees := range map[string]bool{"y": true, "Yes": true, "n": false, "": false, "what?": false} {
		r := newMachine(t).runInTerminal(answer)
		require.Contains(t, r.output, question)
		require.Equal(t, agrees, r.ok, "%q: %s", answer, r.output)
		want := ""
		if agrees {
			want = installs
		}
		require.Equal(t, want, r.did, "%q", answer)
	}
}

// Whoever is not root needs a sudo that asks for no password. It does not pass
// on the environment.
func TestChromium_UserWhoIsNotRootInstallsBySudo(t *testing.T) {
	m := newMachine(t)
	m.replace("id", `echo 1000`)
	r := m.run("CI=true")
	require.False(t, r.ok)
	require.Empty(t, r.did, "there is no sudo")

	m.add("sudo", `[ "$1" = -n ] || exit 1; shift; unset DEBIAN_FRONTEND; "$@"`)
	r = m.run("CI=true")
	require.True(t, r.ok, r.output)
	require.Equal(t, installs, r.did)

	m.replace("sudo", `exit 1`)
	require.NoError(t, os.Truncate(m.did, 0))
	r = m.run("CI=true")
	require.False(t, r.ok)
	require.Empty(t, r.did, "sudo asks for a password")
}

func TestChromium_FailureOfAptIsShown(t *testing.T) {
	m := newMachine(t)
	m.replace("apt-get", `echo "$1" >>"$did"; echo "E: no network"; exit 100`)
	r := m.run("CI=true")
	require.False(t, r.ok)
	require.Equal(t, "update\n", r.did)
	require.Contains(t, r.output, "E: no network")
	require.Contains(t, r.output, "DOG_CHROMIUM", "how to get one")
}
