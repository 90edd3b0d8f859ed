// Package program starts the program of an example in a process of its own, for
// tests that kill it. The process is the test binary, which runs the program
// instead of its tests if [DataOf] returns a directory.
//
// The package is for tests only. It does not know what a program does, except
// that it prints the address it listens on.
package program

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// dataOf is set in the environment of a test binary that is to be the program
// itself.
const dataOf = "DOG_TEST_PROGRAM_DATA"

// DataOf returns the directory of the program's data if this process is to be
// the program, and "" if it is to run tests. TestMain calls it.
func DataOf() string { return os.Getenv(dataOf) }

// EndWithTests ends this process when the process of the tests has ended. A
// program without a time-out of its own calls it.
func EndWithTests() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}

// A tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const maxTail = 8 << 10 // bytes

// Write implements io.Writer.
func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-maxTail):]
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// Start starts the program with a directory for its data and returns the
// address that it prints after http:// in its first line. The process is killed
// at the end of the test if it still runs. If the test has failed, the end of
// the program's log is part of the test's.
func Start(t testing.TB, data string) (cmd *exec.Cmd, addr string) {
	t.Helper()
	cmd, addr, err := TryStart(t, data)
	if err != nil {
		t.Fatalf("the program does not start: %v", err)
	}
	return cmd, addr
}

// TryStart is like [Start] for a program that may end before it prints its
// first line, which is the error. Then it has been waited for.
func TryStart(t testing.TB, data string) (cmd *exec.Cmd, addr string, err error) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dataOf+"="+data)
	log := new(tail)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err == nil {
		_, err = cmd.StdinPipe() // for EndWithTests
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("cannot start the program: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the end of the log of process %d:\n%s", cmd.Process.Pid, log)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return cmd, "", fmt.Errorf("it ended before its first line: %w: %w\n%s", err, cmd.Wait(), log.String())
	}
	_, addr, found := strings.Cut(strings.TrimSpace(line), "http://")
	if !found {
		t.Fatalf("the program's first line has no address: %s", line)
	}
	return cmd, addr, nil
}

// Serve serves the requests of the test until the program is killed, and prints
// the address first, as [Start] expects.
func Serve(handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	return http.Serve(listener, handler) //nolint:gosec // it is killed before a time-out matters
}
