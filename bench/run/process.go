package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/godurable/dog/bench/internal/wire"
)

// check asks a program that is not of this module whether it can serve, for which it may have to install something, and what it
// serves.
func check(program string) (version string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--check")
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w %s", program, err, tail(stderr.String()))
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
		return nil, fmt.Errorf("no address: %w: %s", err, tail(stderr.String()))
	}
	return s, nil
}

// stop ends the server by its standard input, or by force when that takes too long.
func (s *server) stop() {
	_ = s.in.Close()
	force := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer force.Stop()
	_ = s.cmd.Wait()
}

// decode runs a command and returns the values on its standard output, also when it fails after some.
func decode[T any](cmd *exec.Cmd) ([]T, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, failed := cmd.Output()
	var all []T
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var v T
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	if failed != nil {
		return all, fmt.Errorf("%w: %s", failed, tail(stderr.String()))
	}
	return all, nil
}

// tail is the last line of what a process said.
func tail(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// environment says where and of what the figures are.
func environment(b binaries) []string {
	env := []string{
		time.Now().UTC().Format("2 January 2006"),
		fmt.Sprintf("%s, %s/%s, %d cores", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		env = append(env, fmt.Sprintf("%d descriptors per process", limit.Max))
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		env = append(env, "Linux "+strings.TrimSpace(string(kernel)))
	}
	if control, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control"); err == nil {
		env = append(env, "TCP congestion control "+strings.TrimSpace(string(control)))
	}
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, model, found := strings.Cut(string(cpu), "model name\t: "); found {
			model, _, _ = strings.Cut(model, "\n")
			env = append(env, model)
		}
	}
	if commit, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		env = append(env, "dog "+strings.TrimSpace(string(commit)))
	}
	if info, err := buildinfo.ReadFile(b.server); err == nil {
		peers := []string{
			"centrifugal/centrifuge", "coder/websocket", "gorilla/websocket", "lesismal/nbio", "lxzan/gws", "olahol/melody",
		}
		for _, d := range info.Deps {
			for _, peer := range peers {
				if d.Path == "github.com/"+peer {
					env = append(env, peer+" "+d.Version)
				}
			}
		}
	}
	return env
}
