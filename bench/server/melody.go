package main

import (
	"net"
	"net/http"

	"github.com/olahol/melody"

	"github.com/godurable/dog/bench/internal/wire"
)

// serveMelody is melody with its defaults, except for the size of messages, of
// which it would take 512 bytes.
func serveMelody(l net.Listener) (func() int, error) {
	m := melody.New()
	m.Config.MaxMessageSize = 64 << 10
	m.HandleMessageBinary(func(s *melody.Session, data []byte) {
		if data[0] == wire.FanOut {
			_ = m.BroadcastBinary(data)
			return
		}
		_ = s.WriteBinary(data)
	})
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) { _ = m.HandleRequest(w, r) })
	return m.Len, nil
}
