//go:build linux

package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/godurable/dog/bench/internal/wire"
)

// The clients of a storm notice whatever a server does wrong.
func TestStorm_FindsFaults(t *testing.T) {
	const clients, missed, size = 600, 5, 64 // more than handshakes
	hello := func(gap string) []byte {
		return wire.AppendFrame(nil, wire.Text, fmt.Appendf(nil, `h{"v":1,"pos":"e-b10","gap":%q}`, gap))
	}
	message := func(number int) []byte {
		payload := make([]byte, size)
		wire.PutMessage(payload, wire.FanOut, uint64(number))
		return wire.AppendFrame(nil, wire.Binary, append(fmt.Appendf(nil, "mb1%d\n", number), payload...))
	}
	send := func(numbers ...int) []byte {
		b := hello("")
		for _, n := range numbers {
			b = append(b, message(n)...)
		}
		return b
	}
	for name, c := range map[string]struct {
		head string // more of the response's head
		send []byte // to one of the clients
		want string // "": all is well
	}{
		"complete":     {send: send(0, 1, 2, 3, 4)},
		"one lacks":    {send: send(0, 1, 2, 3), want: "599 of 600 clients are complete"},
		"a hole":       {send: send(0, 1, 3, 4), want: "got message 3 of 64 bytes as its message 2"},
		"twice":        {send: send(0, 1, 1, 2, 3, 4), want: "got message 1"},
		"one too many": {send: send(0, 1, 2, 3, 4, 5), want: "got message 5"},
		"a gap":        {send: hello("expired"), want: "expired"},
		"closed":       {send: wire.AppendFrame(hello(""), wire.Close, nil), want: "closed 1 sockets"},
		"refused":      {head: "HTTP/1.1 503 Service Unavailable\r\n\r\n", want: "503"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				t.Cleanup(func() { conn.Close() })
				head := "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: dog.v1\r\n" +
					"Sec-WebSocket-Accept: " + accept + "\r\n\r\n"
				frames := send(0, 1, 2, 3, 4)
				if r.FormValue("uid") == "u7" {
					head, frames = cmp.Or(c.head, head), c.send
				}
				if r.FormValue("after") != "e-a5" {
					head = "HTTP/1.1 400 Bad Request\r\n\r\n"
				}
				_, _ = conn.Write(append([]byte(head), frames...))
			}))
			t.Cleanup(srv.Close)
			l, err := newLoop(target{
				addr:  netip.MustParseAddrPort(strings.TrimPrefix(srv.URL, "http://")),
				proto: wire.ProtoV1,
				after: "e-a5",
			})
			require.NoError(t, err)
			l.patience = 500 * time.Millisecond
			r := &returning{loop: l, want: missed, size: size}
			t.Cleanup(func() {
				for _, s := range r.sockets {
					if s != nil {
						unix.Close(s.fd)
					}
				}
				unix.Close(l.epoll)
				unix.Close(l.timer)
			})
			err = r.run(0, clients)
			if c.want == "" {
				require.NoError(t, err)
				require.Equal(t, clients, r.complete)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}
