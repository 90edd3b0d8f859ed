//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/godurable/dog/bench/internal/wire"
)

const (
	// spare descriptors are left for everything but sockets.
	spare = 100
	// idleSize is the size of the one message that every idle socket has got.
	idleSize = 64
)

// Lines that a holding process prints.
const (
	heldLine    = "held"
	arrivedLine = "arrived"
)

// idle measures what a socket takes of a server's memory when it has got a
// message and then nothing more. Sockets beyond the descriptors of this process
// are held by others.
func idle(l *loop, emit func(wire.Result) error) error {
	empty, err := stat(true)
	if err != nil {
		return err
	}
	share, err := share()
	if err != nil {
		return err
	}
	own := min(*sockets, share)
	if err := l.open(0, own); err != nil {
		return err
	}
	var holders []*holder
	for from := own; from < *sockets; from += share {
		h, err := startHolder("-hold", from, min(share, *sockets-from))
		if err != nil {
			return err
		}
		defer h.stop()
		holders = append(holders, h)
	}
	for _, h := range holders {
		if err := expect(h.out, heldLine); err != nil {
			return err
		}
	}
	if err := joined(*sockets); err != nil {
		return err
	}
	f := newFanout(l, idleSize)
	if err := f.window(1, 0, 1); err != nil {
		return err
	}
	for _, h := range holders {
		if err := expect(h.out, arrivedLine); err != nil {
			return err
		}
	}
	took := f.last[0]
	for end := l.now + *settle; l.now < end; {
		if err := l.turn(end - l.now + time.Millisecond); err != nil {
			return err
		}
	}
	full, err := stat(true)
	if err != nil {
		return err
	}
	r := wire.Result{
		Cell:       "idle",
		Sockets:    *sockets,
		Messages:   1,
		Deliveries: int64(*sockets),
		Seconds:    took.Seconds(),
		RSS:        full.RSS,
		PerSocket:  (full.RSS - empty.RSS) / float64(*sockets),
		HeapEach:   1024 * (full.Heap - empty.Heap) / float64(*sockets),
		Goroutines: float64(full.Goroutines-empty.Goroutines) / float64(*sockets),
	}
	if full.Sockets != *sockets {
		r.Err = fmt.Sprintf("the server has %d sockets", full.Sockets)
	}
	return emit(r)
}

// share is how many sockets this process can hold.
func share() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	return int(limit.Max) - spare, nil
}

// A holder is another process of this program. It ends with its standard input.
type holder struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startHolder(mode string, from, n int, flags ...string) (*holder, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{
		mode, "-addr", *addr, "-proto", *proto, "-first", strconv.Itoa(from), "-sockets", strconv.Itoa(n),
	}, flags...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &holder{cmd: cmd, in: in, out: bufio.NewReader(out)}, cmd.Start()
}

func (h *holder) stop() {
	_ = h.in.Close()
	_ = h.cmd.Wait()
}

// hold opens sockets, reports when they are open and when each has got a
// message, and ends with its standard input.
func hold(t target) error {
	l, err := newLoop(t)
	if err != nil {
		return err
	}
	if err := l.open(*first, *sockets); err != nil {
		return err
	}
	missing := *sockets
	l.message = func(s *socket, _ []byte) {
		if s.got++; s.got > 1 {
			l.failed = fmt.Errorf("a message arrived twice")
			return
		}
		if missing--; missing == 0 {
			fmt.Println(arrivedLine)
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(heldLine)
	for {
		if err := l.turn(time.Second); err != nil {
			return err
		}
	}
}

// expect reads the next line of a holding process.
func expect(out *bufio.Reader, want string) error {
	line, err := out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("waiting for %q: %w", want, err)
	}
	if strings.TrimSpace(line) != want {
		return fmt.Errorf("%q instead of %q", line, want)
	}
	return nil
}
