// Package process builds this module's programs, runs them, and reports their
// versions and machine.
package process

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Build builds programs of this module into a directory, under the last parts
// of their paths, without what debuggers need. It has to be called in the
// module's directory.
func Build(dir string, programs ...string) error {
	cmd := exec.Command(
		"go",
		append([]string{"build", "-ldflags=-w", "-o", dir + string(filepath.Separator)}, programs...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s (from the module's directory?): %w", strings.Join(programs, ", "), err)
	}
	return nil
}

// Decode runs a command and returns the values on its standard output, also
// when it fails after some.
func Decode[T any](cmd *exec.Cmd) ([]T, error) {
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
		return all, fmt.Errorf("%w: %s", failed, Tail(stderr.String()))
	}
	return all, nil
}

// Tail is the last line of a process's output.
func Tail(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// Environment describes where the figures are from, and which commit of dog
// they are of.
func Environment() []string {
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
	return env
}

// Versions returns those of the GitHub modules that a program is built of.
func Versions(program string, modules ...string) (versions []string) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil
	}
	for _, d := range info.Deps {
		for _, m := range modules {
			if d.Path == "github.com/"+m {
				versions = append(versions, m+" "+d.Version)
			}
		}
	}
	return versions
}
