package conn

import (
	"os"
	"syscall"
)

// epoll is an epoll instance. Waiting for it uses Go's own poller, so that no
// thread is blocked.
type epoll struct {
	file *os.File
	raw  syscall.RawConn
	fd   int // of file; valid until close
}

func openEpoll() (*epoll, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // makes os.NewFile use Go's poller
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("setnonblock", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &epoll{file: file, raw: raw, fd: fd}, nil
}

// arm makes wait report token once when d is readable. known means that d was
// armed before. arm must not be called after close.
func (e *epoll) arm(d direct, token int32, known bool) error {
	op := syscall.EPOLL_CTL_ADD
	if known {
		op = syscall.EPOLL_CTL_MOD
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: token}
	var failed error
	if err := d.raw.Control(func(fd uintptr) { failed = syscall.EpollCtl(e.fd, op, int(fd), &event) }); err != nil {
		return err
	}
	return os.NewSyscallError("epoll_ctl", failed)
}

// wait calls ready with the tokens of readable connections until close.
func (e *epoll) wait(ready func(tokens []int32)) {
	events := make([]syscall.EpollEvent, 256)
	tokens := make([]int32, 0, len(events))
	for {
		n := 0
		err := e.raw.Read(func(fd uintptr) bool {
			for {
				var err error
				n, err = syscall.EpollWait(int(fd), events, 0)
				if err != syscall.EINTR {
					return n != 0
				}
			}
		})
		if err != nil || n < 0 {
			return
		}
		tokens = tokens[:0]
		for _, event := range events[:n] {
			tokens = append(tokens, event.Fd)
		}
		ready(tokens)
	}
}

// close makes wait return.
func (e *epoll) close() { _ = e.file.Close() }
