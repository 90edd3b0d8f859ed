package storage_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/test/internal/fixture"
)

// leavingDir names, in the environment of a second process, the data directory
// that the process opens, and closes at the end of its input.
const leavingDir = "DOG_LEAVING_DIR"

// waitingLog does something when New begins to wait for the lock.
type waitingLog struct {
	slog.Handler
	waits func()
}

func (l waitingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l waitingLog) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "another runtime has the data directory open") {
		l.waits()
	}
	return nil
}

// openWaiting opens a data directory for which it waits. waits is called when
// the wait begins.
func openWaiting(dir string, wait time.Duration, waits func()) (*dog.Runtime, error) {
	return dog.New(dog.Options{
		Store: disk.With(disk.Options{Dir: dir, Wait: wait}), Logger: slog.New(waitingLog{slog.DiscardHandler, waits}),
	})
}

func TestDiskWait_TakesOverFromAProcessThatEnds(t *testing.T) {
	if dir := os.Getenv(leavingDir); dir != "" { // the process that ends
		rt, _ := mustOpenDir(t, dir)
		fmt.Println("open")
		_, _ = io.ReadAll(os.Stdin)
		require.NoError(t, rt.Shutdown(t.Context()))
		return
	}
	for name, end := range map[string]func(p *os.Process, stdin io.Closer) error{
		"by a shutdown": func(_ *os.Process, stdin io.Closer) error { return stdin.Close() },
		"by a kill":     func(p *os.Process, _ io.Closer) error { return p.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			other := exec.Command(os.Args[0], "-test.run=^TestDiskWait_TakesOverFromAProcessThatEnds$")
			other.Env = append(os.Environ(), leavingDir+"="+dir)
			stdin, err := other.StdinPipe()
			require.NoError(t, err)
			stdout, err := other.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, other.Start())
			t.Cleanup(func() { _, _ = other.Process.Kill(), other.Wait() })
			line, err := bufio.NewReader(stdout).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "open\n", line)

			waits := 0
			rt, err := openWaiting(dir, time.Hour, func() {
				waits++
				require.NoError(t, end(other.Process, stdin))
			})
			require.NoError(t, err)
			require.Equal(t, 1, waits)
			require.NoError(t, rt.Shutdown(t.Context()))
			requireStore(t, dir)
		})
	}
}

func TestDiskWait_TakesOverFromARuntimeOfTheSameProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		rt, _ := mustOpenDir(t, dir)
		began := time.Now()
		time.AfterFunc(10*time.Second, func() { _ = rt.Shutdown(context.Background()) })
		next, err := openWaiting(dir, time.Minute, func() {})
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		require.Less(t, time.Since(began), 11*time.Second, "it does not wait for longer than it has to")
		require.NoError(t, next.Shutdown(t.Context()))
		requireStore(t, dir)
	})
}

func TestDiskWait_FailsWithTheSameErrorAfterwards(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Millisecond, 7777 * time.Millisecond} {
		t.Run(wait.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "data")
				rt, _ := mustOpenDir(t, dir)
				began, waits := time.Now(), 0
				_, err := openWaiting(dir, wait, func() { waits++ })
				require.ErrorIs(t, err, dog.ErrStoreLocked)
				require.ErrorContains(t, err, dir)
				require.Equal(t, wait, time.Since(began))
				if wait == 0 {
					require.NotContains(t, err.Error(), "waiting")
					require.Zero(t, waits)
				} else {
					require.ErrorContains(t, err, "after waiting for "+wait.String())
					require.Equal(t, 1, waits, "the log has it once")
				}
				require.NoError(t, rt.Shutdown(t.Context()))
				requireStore(t, dir)
			})
		})
	}
}

func TestDiskWait_AppliesOnlyToTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign := filepath.Join(t.TempDir(), "data")
		write(t, filepath.Join(foreign, "CURRENT"), "x")
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, "x")
		began := time.Now()
		for _, dir := range []string{"", foreign, file} {
			_, err := openWaiting(dir, time.Minute, func() { require.Fail(t, "it waits") })
			require.Error(t, err, dir)
			require.NotErrorIs(t, err, dog.ErrStoreLocked, dir)
		}
		require.Zero(t, time.Since(began))
	})
}

func TestDiskWait_RefusesNegativeTimes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, err := openWaiting(dir, -time.Second, func() {})
	fixture.RequireUsage(t, err, "must not be negative")
	require.ErrorContains(t, err, "disk.Options.Wait: -1s")
	require.NoDirExists(t, dir)
}
