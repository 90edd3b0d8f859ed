package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/godurable/dog/bench/internal/process"
	"github.com/godurable/dog/bench/internal/wire"
)

// check asks a program that is not of this module whether it can serve, for
// which it may have to install something, and what it serves.
func check(program string) (version string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--check")
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w %s", program, err, process.Tail(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// A server is a process under test.
type server struct {
	cmd   *exec.Cmd
	in    io.Closer
	ready wire.Ready
}

// start starts a row's server and waits until it listens.
func start(ctx context.Context, b binaries, r row) (*server, error) {
	program := r.program
	if program == "" {
		program = b.server
	}
	s := &server{cmd: exec.CommandContext(ctx, program, r.args...)}
	var stderr bytes.Buffer
	s.cmd.Stderr = &stderr
	s.cmd.WaitDelay = 5 * time.Second
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewDecoder(out).Decode(&s.ready); err != nil {
		s.stop()
		return nil, fmt.Errorf("no address: %w: %s", err, process.Tail(stderr.String()))
	}
	return s, nil
}

// stop ends the server by its standard input, or by force when that takes too
// long.
func (s *server) stop() {
	_ = s.in.Close()
	force := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer force.Stop()
	_ = s.cmd.Wait()
}

// environment describes the machine and the versions of the figures.
func environment(b binaries) []string {
	return append(
		process.Environment(),
		process.Versions(b.server, "centrifugal/centrifuge", "coder/websocket", "gorilla/websocket",
			"lesismal/nbio", "lxzan/gws", "olahol/melody")...)
}
