//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"

	"golang.org/x/sys/unix"

	"github.com/godurable/dog/bench/internal/wire"
)

const (
	// perSource is how many sockets share a source address: fewer than there
	// are ephemeral ports.
	perSource = 20_000
	// slowWindow is the receive buffer of a socket that is never read, and
	// slowSegment its segment size, that of an Ethernet. With those of the
	// loopback the kernels would take megabytes before the server notices.
	slowWindow, slowSegment = 4 << 10, 1460
	// handshakeTimeout bounds each wait for the server during a handshake.
	handshakeTimeout = 20
	// The challenge of all handshakes and the answer to it.
	challenge, accept = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// A target is the endpoint under test.
type target struct {
	addr  netip.AddrPort
	proto string
	rooms bool   // of roomSize sockets, instead of one for all
	after string // the position after which the clients have missed messages; "": they are new
}

// dial connects and shakes hands. It returns the descriptor, non-blocking, and
// what has been read past the handshake.
func (t target) dial(index int, slow bool) (fd int, rest []byte, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err := t.connect(fd, index, slow); err != nil {
		return -1, nil, fmt.Errorf("connect: %w", err)
	}
	if rest, err = t.handshake(fd, index); err != nil {
		return -1, nil, fmt.Errorf("handshake: %w", err)
	}
	return fd, rest, unix.SetNonblock(fd, true)
}

func (t target) connect(fd, index int, slow bool) error {
	if slow {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, slowWindow); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, slowSegment); err != nil {
			return err
		}
	}
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(
			fd, unix.SOL_SOCKET, option, &unix.Timeval{Sec: handshakeTimeout},
		); err != nil {
			return err
		}
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	// Without TIME_WAIT, thousands of ports are free again at once.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if t.addr.Addr().IsLoopback() { // all of 127/8 is ours
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return err
		}
		source := unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + index/perSource)}}
		if err := unix.Bind(fd, &source); err != nil {
			return err
		}
	}
	err := unix.Connect(fd, &unix.SockaddrInet4{Addr: t.addr.Addr().As4(), Port: int(t.addr.Port())})
	if err == unix.EINTR { // it goes on, and the first write waits for it
		return nil
	}
	return err
}

// request is that of a handshake.
func (t target) request(index int) []byte {
	query, header := "", ""
	switch t.proto {
	case wire.ProtoCentrifuge:
		query = "&format=protobuf"
	case wire.ProtoV1:
		header = "Sec-WebSocket-Protocol: " + wire.V1Subprotocol + "\r\n"
		if t.after != "" {
			query = "&after=" + url.QueryEscape(t.after)
		}
	}
	if t.rooms {
		query += fmt.Sprintf("&room=%d", index/roomSize)
	}
	return fmt.Appendf(nil, "GET /ws?uid=u%d%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\n%sSec-WebSocket-Key: %s\r\n\r\n", index, query, t.addr, header, challenge)
}

var headEnd = []byte("\r\n\r\n")

// accepted checks the response to a handshake.
func (t target) accepted(head []byte) error {
	ok := bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) && bytes.Contains(head, []byte(accept))
	if ok && t.proto == wire.ProtoV1 {
		ok = bytes.Contains(head, []byte(wire.V1Subprotocol))
	}
	if !ok {
		return fmt.Errorf("the server answered %q", head)
	}
	return nil
}

func (t target) handshake(fd, index int) (rest []byte, err error) {
	if err := write(fd, t.request(index)); err != nil {
		return nil, err
	}
	var b []byte
	for !bytes.Contains(b, headEnd) {
		if b, err = more(fd, b); err != nil {
			return nil, err
		}
	}
	head, rest, _ := bytes.Cut(b, headEnd)
	if err := t.accepted(head); err != nil {
		return nil, err
	}
	if t.proto == wire.ProtoCentrifuge {
		return t.greet(fd, rest)
	}
	return rest, nil
}

// greet connects on centrifuge's level and waits for the reply, after which the
// server has subscribed the client. The reply is in what it returns.
func (t target) greet(fd int, rest []byte) ([]byte, error) {
	connect, err := wire.AppendCentrifugeConnect(nil, t.after)
	if err != nil {
		return nil, err
	}
	if err := write(fd, wire.AppendMasked(nil, wire.Binary, connect)); err != nil {
		return nil, err
	}
	for {
		if _, n, err := wire.Next(rest); n > 0 || err != nil {
			return rest, err
		}
		if rest, err = more(fd, rest); err != nil {
			return nil, err
		}
	}
}

// write writes all of b to a blocking descriptor.
func write(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// more reads from a blocking descriptor and appends what there is to b.
func more(fd int, b []byte) ([]byte, error) {
	var chunk [1024]byte
	for {
		n, err := unix.Read(fd, chunk[:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return nil, fmt.Errorf("closed by the server after %q", b)
		default:
			return append(b, chunk[:n]...), nil
		}
	}
}
