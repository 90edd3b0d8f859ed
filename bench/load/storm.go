//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/godurable/dog/bench/internal/wire"
)

const (
	// storms is how many storms count.
	storms = 3
	// fillWindow is how many of the messages that clients are going to miss are
	// under way at a time.
	fillWindow = 32
	// handshakes is how many handshakes of a process are under way in a storm:
	// so many that the server never waits for one, and fewer than the kernel
	// queues for a listener.
	handshakes = 256
)

// Lines between the process that measures and those that are clients.
const (
	readyLine = "ready"
	goLine    = "go"
)

// storm measures clients that all come back at once and have missed messages,
// several times. The cost of connecting is that of the same clients without
// anything missed. A first time does not count, since the server grows then.
func (c cell) storm(l *loop, emit func(wire.Result) error) error {
	from, to, err := c.fill(l)
	if err != nil {
		return err
	}
	r := wire.Result{Cell: c.name, Sockets: *sockets, Messages: int64(c.n)}
	for i := range 1 + storms {
		still, err := c.come(to, 0)
		if err != nil {
			return fmt.Errorf("clients that have missed nothing: %w", err)
		}
		if err := joined(0); err != nil {
			return err
		}
		if i == 0 {
			r.RSS = still.RSS
			continue
		}
		got, err := c.come(from, c.n)
		if err != nil {
			r.Err = err.Error()
			break
		}
		if err := joined(0); err != nil {
			return err
		}
		r.ServerCPU += got.ServerCPU - still.ServerCPU
		r.LoadCPU += got.LoadCPU
		r.ConnectCPU += still.ServerCPU / storms
		r.ConnectSeconds = max(r.ConnectSeconds, still.Seconds)
		r.Seconds = max(r.Seconds, got.Seconds)
		r.PeakRSS, r.PeakHeap = max(r.PeakRSS, got.PeakRSS), max(r.PeakHeap, got.PeakHeap)
		r.Deliveries += int64(*sockets) * int64(c.n)
	}
	return emit(r)
}

// fill has the server keep the messages that clients are going to miss, and
// returns the positions before and after them.
func (c cell) fill(l *loop) (from, to string, err error) {
	connect := func(n int) (position string, err error) {
		known := false
		l.greeted = func(_ *socket, p string) { position, known = p, true }
		if err := l.open(0, n); err != nil {
			return "", err
		}
		for end := l.now + l.patience; !known; {
			if err := l.turn(time.Second); err != nil {
				return "", err
			}
			if l.now > end {
				return "", errors.New("the server does not greet")
			}
		}
		if position == "" {
			return "", errors.New("the server keeps no history")
		}
		return position, joined(n)
	}
	if from, err = connect(1); err != nil {
		return "", "", err
	}
	if err := newFanout(l, c.size).window(fillWindow, 0, uint64(c.n)); err != nil {
		return "", "", err
	}
	if to, err = connect(2); err != nil {
		return "", "", err
	}
	for _, s := range l.sockets {
		l.lose(s)
	}
	return from, to, joined(0)
}

// come has clients connect that have missed the messages after a position, and
// returns what it took until each has got all of them.
func (c cell) come(position string, missed int) (r wire.Result, err error) {
	share, err := share()
	if err != nil {
		return r, err
	}
	before, err := statOf("?gc=1&peak=1")
	if err != nil {
		return r, err
	}
	var clients []*holder
	defer func() {
		for _, h := range clients {
			h.stop()
		}
	}()
	for from := 0; from < *sockets; from += share {
		h, err := startHolder("-back", from, min(share, *sockets-from), "-after", position,
			"-missed", strconv.Itoa(missed), "-size", strconv.Itoa(c.size))
		if err != nil {
			return r, err
		}
		clients = append(clients, h)
		if err := expect(h.out, readyLine); err != nil {
			return r, err
		}
	}
	began := time.Now()
	for _, h := range clients {
		if _, err := fmt.Fprintln(h.in, goLine); err != nil {
			return r, err
		}
	}
	for _, h := range clients {
		var got wire.Result
		line, err := h.out.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &got)
		}
		if err == nil && got.Err != "" {
			err = errors.New(got.Err)
		}
		if err != nil {
			return r, fmt.Errorf("a process of clients: %w", err)
		}
		r.LoadCPU += got.LoadCPU
	}
	r.Seconds = time.Since(began).Seconds()
	after, err := stat(false)
	if err != nil {
		return r, err
	}
	r.ServerCPU = after.CPU - before.CPU
	r.RSS, r.PeakRSS, r.PeakHeap = before.RSS, after.PeakRSS, after.PeakHeap
	if after.Sockets != *sockets {
		return r, fmt.Errorf("the server has %d sockets of %d", after.Sockets, *sockets)
	}
	return r, nil
}

// A returning is the clients of a storm in one process.
type returning struct {
	*loop
	want     int64 // messages of each
	size     int
	next     int // socket to connect
	shaking  int
	complete int // sockets that have got all
}

// back connects clients that come back on a command, and prints a result when
// each has got the messages that it has missed. It keeps the sockets, and ends
// with its standard input.
func back(t target) error {
	l, err := newLoop(t)
	if err != nil {
		return err
	}
	fmt.Println(readyLine)
	var word string
	if _, err := fmt.Scanln(&word); err != nil || word != goLine {
		return fmt.Errorf("%q instead of %q: %w", word, goLine, err)
	}
	r := &returning{loop: l, want: int64(*missed), size: *size}
	var result wire.Result
	if err := r.run(*first, *sockets); err != nil {
		result.Err = err.Error()
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	result.LoadCPU = float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e3
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// run connects n clients, and returns when each has got its messages.
func (r *returning) run(first, n int) error {
	r.sockets = make([]*socket, n)
	r.greeted = func(s *socket, _ string) { r.check(s) }
	r.shook = func(*socket) { r.shaking-- }
	r.message = r.arrive
	seen, since := -1, r.now
	for r.complete < n {
		for r.next < n && r.shaking < handshakes {
			if err := r.begin(first); err != nil {
				return fmt.Errorf("socket %d: %w", first+r.next, err)
			}
		}
		if err := r.turn(time.Second); err != nil {
			return err
		}
		if r.complete+r.next != seen {
			seen, since = r.complete+r.next, r.now
		}
		if r.now-since > r.patience {
			return fmt.Errorf("%d of %d clients are complete, and none for %v", r.complete, n, r.patience)
		}
	}
	return nil
}

// begin connects the next socket and sends its handshake.
func (r *returning) begin(first int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	i := r.next
	s := &socket{index: i, fd: fd, shaking: true}
	r.sockets[i] = s
	r.next++
	r.shaking++
	if err := r.connect(fd, first+i, false); err != nil {
		return err
	}
	if err := write(fd, r.request(first+i)); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
}

// arrive checks that messages come once and in order. Those that were sent
// first come before the reply of centrifuge ends, and after the hello of dog.
func (r *returning) arrive(s *socket, message []byte) {
	switch {
	case r.failed != nil:
		return
	case len(message) != r.size || wire.Seq(message) != uint64(s.got) || s.got >= r.want:
		r.failed = fmt.Errorf("client %d got message %d of %d bytes as its message %d",
			s.index, wire.Seq(message), len(message), s.got)
		return
	}
	s.got++
	if r.proto != wire.ProtoCentrifuge {
		r.check(s)
	}
}

// check counts the socket if it has got all.
func (r *returning) check(s *socket) {
	if s.got == r.want {
		r.complete++
		s.rest = nil
	}
}
