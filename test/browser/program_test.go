// Package browser_test tests the examples and the programs of the guides in a
// real browser. It is a module of its own so that what drives the browser does
// not become a requirement of the library, and runs the programs as a user
// does: go builds them, and they listen on a port.
package browser_test

import (
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// root is the root of the library's module.
const root = "../.."

// examples is the directory of the examples' programs. Tests share it, so that
// go links each of them once.
var examples string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	examples = dir
	m.Run()
}

// build builds a package or a file of the library's module as a program.
func build(t *testing.T, program, what string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, what)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
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
	dir  string // where it runs
	url  string
	cmd  *exec.Cmd
}

// example builds and starts an example, which listens on a free port.
func example(t *testing.T, name string, args ...string) *program {
	t.Helper()
	file := filepath.Join(examples, name)
	build(t, file, "./example/"+name)
	addr := freeAddr(t)
	return start(t, file, addr, append(args, "-addr", addr)...)
}

// start starts a program that listens on addr and waits until it answers. It is
// stopped when the test ends.
func start(t *testing.T, file, addr string, args ...string) *program {
	t.Helper()
	p := &program{t: t, file: file, args: args, dir: t.TempDir(), url: "http://" + addr}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.stop()
		}
	})
	p.start()
	return p
}

func (p *program) start() {
	p.t.Helper()
	cmd := exec.Command(p.file, p.args...)
	cmd.Dir, cmd.Stderr = p.dir, os.Stderr
	require.NoError(p.t, cmd.Start())
	p.cmd = cmd
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
	p.end(os.Interrupt)
}

// terminate is stop with the signal that ends a service.
func (p *program) terminate() {
	p.t.Helper()
	p.end(syscall.SIGTERM)
}

func (p *program) end(signal os.Signal) {
	p.t.Helper()
	cmd := p.cmd
	p.cmd = nil
	require.NoError(p.t, cmd.Process.Signal(signal))
	require.NoError(p.t, cmd.Wait(), "the signal %s ends the program without an error", signal)
}

// kill kills the program.
func (p *program) kill() {
	p.t.Helper()
	cmd := p.cmd
	p.cmd = nil
	require.NoError(p.t, cmd.Process.Kill())
	require.Error(p.t, cmd.Wait(), "killed")
}
