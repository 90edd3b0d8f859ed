// Package browser_test tests the examples and the programs of the guides in a
// real browser. It is a module of its own so that what drives the browser does
// not become a requirement of the library, and runs the programs as a user
// does: go builds them, and they listen on a port.
package browser_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// root is the root of the library's module.
const root = "../.."

// build builds a package or a file of the library's module and returns the
// program.
func build(t *testing.T, what string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, what)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return file
}

// freeAddr returns an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// A program is a server under test.
type program struct {
	t    *testing.T
	file string
	args []string
	url  string
	cmd  *exec.Cmd
}

// example builds and starts an example, which listens on a free port.
func example(t *testing.T, name string, args ...string) *program {
	t.Helper()
	addr := freeAddr(t)
	return start(t, build(t, "./example/"+name), addr, append(args, "-addr", addr)...)
}

// start starts a program that listens on addr and waits until it answers. It
// ends with the test.
func start(t *testing.T, file, addr string, args ...string) *program {
	t.Helper()
	p := &program{t: t, file: file, args: args, url: "http://" + addr}
	p.start()
	t.Cleanup(func() {
		if p.cmd != nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

func (p *program) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.file, p.args...)
	p.cmd.Dir, p.cmd.Stderr = p.t.TempDir(), os.Stderr
	require.NoError(p.t, p.cmd.Start())
	require.Eventually(p.t, func() bool {
		res, err := http.Get(p.url)
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond, "%s answers", p.file)
}

// stop interrupts the program and requires that it ends without an error.
func (p *program) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(os.Interrupt))
	err := p.cmd.Wait()
	p.cmd = nil
	require.NoError(p.t, err, "an interrupt ends the program without an error")
}
