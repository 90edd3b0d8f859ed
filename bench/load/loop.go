//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/godurable/dog/bench/internal/wire"
)

const (
	batch      = 512       // events taken from the kernel at once
	readBuffer = 256 << 10 // bytes taken from a socket at once
	dialers    = 4         // handshakes under way
)

// A socket is one connection.
type socket struct {
	index   int
	fd      int
	shaking bool   // the response to its handshake has not arrived; see storm
	rest    []byte // a frame that has not arrived whole
	out     []byte // what the kernel has not taken yet

	got int64  // messages of this cell
	sum uint64 // of their sequence numbers
}

// A loop reads all sockets in one thread with one buffer. Nothing in it is for
// concurrent use.
type loop struct {
	target
	epoll   int
	timer   int // wakes the loop for tick
	sockets []*socket
	events  []unix.EpollEvent
	buf     []byte
	frame   []byte    // being built
	blocked []*socket // with something in out

	message func(*socket, []byte) // called for each message
	greeted func(*socket, string) // called with the position of the history when a client is connected; may be nil
	shook   func(*socket)         // called when a handshake of a storm has succeeded
	tick    func()                // called when it is due; nil: never
	due     time.Duration         // on the loop's clock

	patience time.Duration // how long nothing may arrive before what is missing counts as lost

	start  time.Time
	now    time.Duration // since start, when the bytes at hand were read
	closed int           // sockets that the server closed
	code   uint16        // the close code of one of them; 0: none had one
	failed error         // what else the server did wrong
}

func newLoop(t target) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("timer: %w", err)
	}
	l := &loop{
		target:   t,
		epoll:    epoll,
		timer:    timer,
		events:   make([]unix.EpollEvent, batch),
		buf:      make([]byte, readBuffer),
		patience: 10 * time.Second,
		start:    time.Now(),
	}
	return l, unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1})
}

// open connects until there are n sockets; first is the index of the first of
// all.
func (l *loop) open(first, n int) error {
	from := len(l.sockets)
	l.sockets = append(l.sockets, make([]*socket, max(n-from, 0))...)
	next := make(chan int)
	errs := make(chan error, dialers)
	var wg sync.WaitGroup
	for range dialers {
		wg.Go(func() {
			for i := range next {
				fd, rest, err := l.dial(first+i, false)
				if err != nil {
					errs <- fmt.Errorf("socket %d: %w", first+i, err)
					return
				}
				l.sockets[i] = &socket{index: i, fd: fd, rest: rest}
			}
		})
	}
	var err error
	for i := from; i < n && err == nil; i++ {
		select {
		case next <- i:
		case err = <-errs:
		}
	}
	close(next)
	wg.Wait()
	select {
	case err = <-errs:
	default:
	}
	if err != nil {
		return err
	}
	l.message = func(*socket, []byte) {}
	for i := from; i < n; i++ {
		s := l.sockets[i]
		err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
		if err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
		l.feed(s, append([]byte(nil), s.rest...))
	}
	return nil
}

// turn waits for what the kernel has, but not longer than wait, and handles it.
func (l *loop) turn(wait time.Duration) error {
	l.flush()
	n, err := unix.EpollWait(l.epoll, l.events, int(wait.Milliseconds()))
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("epoll: %w", err)
	}
	for _, e := range l.events[:max(n, 0)] {
		if e.Fd >= 0 {
			l.read(l.sockets[e.Fd])
		} else {
			_, _ = unix.Read(l.timer, l.buf) // makes it quiet until it expires again
		}
		l.clock()
	}
	l.clock()
	switch {
	case l.failed != nil:
		return l.failed
	case l.closed > 0:
		return fmt.Errorf("the server closed %d sockets, close code %d", l.closed, l.code)
	}
	return nil
}

// every makes the loop call tick at a fixed rate from now on; never stops that.
func (l *loop) every(interval time.Duration, tick func()) error {
	l.tick, l.due = nil, 0
	l.clock()
	l.due = l.now + interval
	l.tick = func() {
		for l.now >= l.due && l.tick != nil {
			tick()
			l.due += interval
		}
	}
	spec := unix.NsecToTimespec(interval.Nanoseconds())
	return unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Interval: spec, Value: spec}, nil)
}

func (l *loop) never() error {
	l.tick = nil
	return unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{}, nil)
}

func (l *loop) clock() {
	l.now = time.Since(l.start)
	if l.tick != nil && l.now >= l.due {
		l.tick()
	}
}

func (l *loop) read(s *socket) {
	have := copy(l.buf, s.rest)
	n, err := unix.Read(s.fd, l.buf[have:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err != nil || n == 0:
		l.lose(s)
	default:
		l.now = time.Since(l.start)
		data := l.buf[:have+n]
		if s.shaking {
			if data = l.shake(s, data); s.shaking {
				return
			}
		}
		l.feed(s, data)
	}
}

// feed handles the whole frames in data and keeps the rest.
func (l *loop) feed(s *socket, data []byte) {
	for {
		f, n, err := wire.Next(data)
		if err != nil {
			l.failed = err
			return
		}
		if n == 0 {
			break
		}
		data = data[n:]
		switch f.Op {
		case wire.Binary, wire.Text:
			l.unpack(s, f.Payload)
		case wire.Ping:
			l.send(s, wire.Pong, f.Payload)
		case wire.Close:
			if len(f.Payload) >= 2 {
				l.code = binary.BigEndian.Uint16(f.Payload)
			}
			l.lose(s)
			return
		}
	}
	if len(data) == len(l.buf) {
		l.failed = fmt.Errorf("a frame of more than %d bytes", len(l.buf))
		return
	}
	s.rest = append(s.rest[:0], data...)
}

// shake handles the response to a handshake and returns what follows.
func (l *loop) shake(s *socket, data []byte) (rest []byte) {
	head, rest, found := bytes.Cut(data, headEnd)
	if !found {
		s.rest = append(s.rest[:0], data...)
		return nil
	}
	if err := l.accepted(head); err != nil {
		l.failed = err
		return nil
	}
	s.shaking = false
	if l.proto == wire.ProtoCentrifuge {
		connect, err := wire.AppendCentrifugeConnect(nil, l.after)
		if err != nil {
			l.failed = err
			return nil
		}
		l.send(s, wire.Binary, connect)
	}
	l.shook(s)
	return rest
}

func (l *loop) unpack(s *socket, payload []byte) {
	var err error
	switch l.proto {
	case wire.ProtoCentrifuge:
		err = l.unpackCentrifuge(s, payload)
	case wire.ProtoV1:
		err = l.unpackV1(s, payload)
	default:
		l.message(s, payload)
	}
	if err != nil {
		l.failed = err
	}
}

func (l *loop) unpackCentrifuge(s *socket, payload []byte) error {
	f, err := wire.ParseCentrifuge(payload, l.after != "", func(data []byte) { l.message(s, data) })
	if f.Connected && l.greeted != nil {
		l.greeted(s, f.Position)
	}
	if f.Ping {
		l.send(s, wire.Binary, wire.CentrifugePong)
	}
	return err
}

func (l *loop) unpackV1(s *socket, payload []byte) error {
	f, err := wire.ParseV1(payload)
	if err != nil {
		return err
	}
	switch f.Kind {
	case 'm':
		l.message(s, f.Data)
	case 'h':
		position, err := f.Position()
		if err != nil {
			return err
		}
		if l.greeted != nil {
			l.greeted(s, position)
		}
	default:
		return fmt.Errorf("a frame of kind %q", f.Kind)
	}
	return nil
}

// ask sends a message.
func (l *loop) ask(s *socket, message []byte) {
	switch l.proto {
	case wire.ProtoCentrifuge:
		message = wire.AppendCentrifugeSend(nil, message)
	case wire.ProtoV1:
		message = wire.AppendV1(nil, message)
	}
	l.send(s, wire.Binary, message)
}

func (l *loop) send(s *socket, op byte, payload []byte) {
	if s.fd < 0 {
		return
	}
	if len(s.out) > 0 {
		s.out = wire.AppendMasked(s.out, op, payload)
		return
	}
	l.frame = wire.AppendMasked(l.frame[:0], op, payload)
	n, err := unix.Write(s.fd, l.frame)
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		l.lose(s)
		return
	}
	if rest := l.frame[max(n, 0):]; len(rest) > 0 {
		s.out = append(s.out[:0], rest...)
		l.blocked = append(l.blocked, s)
	}
}

// flush tries once more to send what is left.
func (l *loop) flush() {
	still := l.blocked[:0]
	for _, s := range l.blocked {
		if s.fd < 0 {
			continue
		}
		n, err := unix.Write(s.fd, s.out)
		if err != nil && err != unix.EAGAIN && err != unix.EINTR {
			l.lose(s)
			continue
		}
		if s.out = append(s.out[:0], s.out[max(n, 0):]...); len(s.out) > 0 {
			still = append(still, s)
		}
	}
	l.blocked = still
}

// lose gives up a socket that the server closed.
func (l *loop) lose(s *socket) {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
		l.closed++
	}
}
