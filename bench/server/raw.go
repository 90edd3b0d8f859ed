package main

import (
	"crypto/sha1"
	"encoding/base64"
	"net"
	"net/http"

	"github.com/godurable/dog/bench/internal/wire"
)

// serveRaw is the floor: hijacked TCP connections and, for a fan-out, one
// prebuilt frame and a loop of net.Conn.Write. It does nothing a server has to
// do besides, and a client that does not read stops it.
func serveRaw(l net.Listener) (func() int, error) {
	var all rooms[net.Conn]
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		conns := all.of(r)
		conns.add(conn)
		_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(accept[:]) + "\r\n\r\n"))
		if err != nil {
			conns.remove(conn)
			_ = conn.Close()
			return
		}
		rest, _ := rw.Reader.Peek(rw.Reader.Buffered())
		go readRaw(conn, rest, conns)
	})
	return all.size, nil
}

// readRaw answers messages; rest is what has been read already.
func readRaw(conn net.Conn, rest []byte, conns *crowd[net.Conn]) {
	defer func() { _ = conn.Close() }()
	defer conns.remove(conn)
	buf := make([]byte, max(4096, len(rest)))
	have := copy(buf, rest)
	var out []byte
	for {
		used := 0
		for {
			f, n, err := wire.Next(buf[used:have])
			if err != nil {
				return
			}
			if n == 0 {
				break
			}
			used += n
			if f.Op != wire.Binary || len(f.Payload) == 0 {
				return
			}
			out = wire.AppendFrame(out[:0], wire.Binary, f.Payload)
			if f.Payload[0] == wire.FanOut {
				for _, c := range conns.all() {
					_, _ = c.Write(out) // one that fails is removed by its own reader
				}
			} else if _, err := conn.Write(out); err != nil {
				return
			}
		}
		have = copy(buf, buf[used:have])
		if have == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
		n, err := conn.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
	}
}
