package dog_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

func TestABadUIDReachesNoReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 2, &hooks{})
		bad := map[string]string{
			"empty": "", "too long": strings.Repeat("x", 1025), "newline": "a\nb",
			"escape": "\x1b[0m", "C1": "\u0085", "not UTF-8": "a\xff",
		}
		for name, id := range bad {
			_, err := h.identify(t.Context(), id)
			require.ErrorIs(t, err, dog.ErrInvalidName, name)
			_, answer, err := h.srv.TryDial("/ws?u="+url.QueryEscape(id), dogtest.DialOptions{})
			require.Error(t, err)
			require.Equal(t, http.StatusBadRequest, answer.StatusCode, name)
		}
		require.Empty(t, h.loads())
	})
}

func TestAMalformedUpgradeIsRefused(t *testing.T) {
	upgrade := func(change string, values ...string) http.Header {
		header := http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
			"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		if change != "" {
			header[change] = values
		}
		return header
	}
	tests := []struct {
		name   string
		method string
		header http.Header
		status int
		answer http.Header
	}{
		{"POST", "POST", upgrade(""), 405, http.Header{"Allow": {"GET"}}},
		{"HEAD", "HEAD", upgrade(""), 405, http.Header{"Allow": {"GET"}}},
		{"plain request", "GET", nil, 426, http.Header{"Upgrade": {"websocket"}}},
		{"another protocol", "GET", upgrade("Upgrade", "h2c"), 426, http.Header{"Upgrade": {"websocket"}}},
		{"no Connection", "GET", upgrade("Connection"), 426, http.Header{"Upgrade": {"websocket"}}},
		{"no version", "GET", upgrade("Sec-Websocket-Version"), 400, http.Header{"Sec-Websocket-Version": {"13"}}},
		{"old version", "GET", upgrade("Sec-Websocket-Version", "8"), 400, http.Header{"Sec-Websocket-Version": {"13"}}},
		{"no key", "GET", upgrade("Sec-Websocket-Key"), 400, nil},
		{"bad key", "GET", upgrade("Sec-Websocket-Key", "%%%"), 400, nil},
		{"short key", "GET", upgrade("Sec-Websocket-Key", "c2hvcnQ="), 400, nil},
		{"two keys", "GET", upgrade("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="), 400, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				var socket *dog.Socket
				var refused error
				v := newVenue(t, kind, dog.Options{}, &owners{
					receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
						socket, refused = o.Connect(w, req, nil)
						return nil
					},
					limit: 1,
				})
				answer, body := ask(t, v.srv, test.method, "/?u=ada", test.header)
				require.Equal(t, test.status, answer.StatusCode)
				for name, values := range test.answer {
					require.Equal(t, values, answer.Header[name])
				}
				if test.method != http.MethodHead {
					require.Equal(t, http.StatusText(test.status)+"\n", body, "nothing internal")
				}
				if hasReceive(kind) {
					require.Nil(t, socket)
					require.Equal(t, test.status, dog.HTTPStatus(refused))
				}
				requireEmpty(t, v.rt)
				v.enter("next") // the place of limit 1 is free
			})
		})
	}
}

func TestOnlyAllowedOriginsConnect(t *testing.T) {
	example := dog.SocketOptions{OriginPatterns: []string{"*.example.com"}}
	secure := dog.SocketOptions{OriginPatterns: []string{"https://example.com"}}
	tests := []struct {
		name    string
		options dog.SocketOptions
		origin  string
		status  int
	}{
		{"no origin", dog.SocketOptions{}, "", 101},
		{"same host", dog.SocketOptions{}, "http://dog.test", 101},
		{"other host", dog.SocketOptions{}, "https://evil.example", 403},
		{"other port", dog.SocketOptions{}, "http://dog.test:8080", 403},
		{"not a URL", dog.SocketOptions{}, "://", 403},
		{"null", dog.SocketOptions{}, "null", 403},
		{"allowed", example, "https://a.example.com", 101},
		{"nearly allowed", example, "https://a.example.com.evil.example", 403},
		{"allowed with scheme", secure, "https://example.com", 101},
		{"another scheme", secure, "http://example.com", 403},
		{"any", dog.SocketOptions{AllowAnyOrigin: true}, "https://evil.example", 101},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				v := newVenue(t, kind, dog.Options{Sockets: test.options}, &owners{limit: 1})
				header := http.Header{}
				if test.origin != "" {
					header.Set("Origin", test.origin)
				}
				c, answer, err := v.srv.TryDial("/?u=ada", dogtest.DialOptions{Header: header})
				require.Equal(t, test.status, answer.StatusCode)
				if err == nil {
					c.Close(1000, "")
				}
				requireEmpty(t, v.rt)
			})
		})
	}
}

func TestAClientThatBreaksTheRulesIsClosed(t *testing.T) {
	sixty := strings.Repeat("x", 60)
	begun := frame(1, sixty)
	begun[0] &^= 0x80 // not final
	tests := map[string]struct {
		frame []byte
		code  int
		cause string // of the log
	}{
		"message over the limit":     {frame(1, strings.Repeat("x", 101)), 1009, "message is too big"},
		"fragments over the limit":   {slices.Concat(begun, frame(0, sixty)), 1009, "message is too big"},
		"text that is not UTF-8":     {frame(1, "a\xff"), 1007, "invalid UTF-8"},
		"reason that is not UTF-8":   {frame(8, "\x03\xe8\xff"), 1007, "invalid UTF-8"},
		"unmasked":                   {[]byte{0x81, 1, 'x'}, 1002, "WebSocket protocol error"},
		"reserved bit":               {frame(0x40|1, "x"), 1002, "WebSocket protocol error"},
		"unknown opcode":             {frame(3, "x"), 1002, "WebSocket protocol error"},
		"continuation of nothing":    {frame(0, "x"), 1002, "WebSocket protocol error"},
		"fragmented ping":            {[]byte{0x09, 0x80, 0, 0, 0, 0}, 1002, "WebSocket protocol error"},
		"forbidden close code":       {frame(8, "\x03\xed"), 1002, "WebSocket protocol error"}, // 1005
		"close code of no standard":  {frame(8, "\x03\xe7"), 1002, "WebSocket protocol error"}, // 999
		"close frame with half code": {frame(8, "\x03"), 1002, "WebSocket protocol error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				d := newDen(t, kind, dog.Options{Sockets: dog.SocketOptions{MaxMessage: 100}})
				c := d.srv.Dial("/?u=ada")
				c.Send(strings.Repeat("x", 100))
				c.SendRaw(test.frame)
				code, _ := c.Closed()
				require.Equal(t, test.code, code)
				requireEmpty(t, d.rt)
				require.Equal(t, []string{strings.Repeat("x", 100)}, d.got, "what came before counts")
				require.Equal(t, []int{test.code}, d.closes)
				if hasReceive(kind) {
					require.Len(t, d.errors, 1)
					require.Equal(t, test.code, d.errors[0].Code)
					require.ErrorContains(t, d.errors[0], test.cause)
					require.Equal(t, []string{"error", "close"}, d.ends)
				}
			})
		})
	}
}

func TestAClientThatVanishesIsAnError1006(t *testing.T) {
	tests := map[string][]byte{
		"between messages":    nil,
		"within a header":     {0x81},
		"within a message":    frame(1, "hello")[:8],
		"between fragments":   {0x01, 0x81, 0, 0, 0, 0, 'h'},
		"within a close":      frame(8, "\x03\xe8bye")[:7],
		"with a whole header": frame(1, "hello")[:6],
	}
	for name, part := range tests {
		t.Run(name, func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				d := newDen(t, kind, dog.Options{})
				c := d.srv.Dial("/?u=ada")
				c.SendRaw(part)
				c.Vanish()
				requireEmpty(t, d.rt)
				require.Empty(t, d.got)
				require.Equal(t, []int{1006}, d.closes)
				if hasReceive(kind) {
					require.Len(t, d.errors, 1)
					require.Equal(t, 1006, d.errors[0].Code)
					require.Error(t, d.errors[0].Err)
					require.Equal(t, []string{"error", "close"}, d.ends)
				}
			})
		})
	}
}

func TestACloseIsNoError(t *testing.T) {
	tests := map[string]struct {
		frame []byte
		code  int
	}{
		"normal":      {frame(8, "\x03\xe8bye"), 1000},
		"going away":  {frame(8, "\x03\xe9"), 1001},
		"own code":    {frame(8, "\x0f\xa0"), 4000},
		"no code":     {frame(8, ""), 1005},
		"after pings": {append(frame(9, "?"), frame(8, "\x03\xe8")...), 1000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				d := newDen(t, kind, dog.Options{})
				c := d.srv.Dial("/?u=ada")
				c.SendRaw(test.frame)
				code, _ := c.Closed()
				require.Equal(t, test.code, code, "the echo")
				requireEmpty(t, d.rt)
				require.Equal(t, []int{test.code}, d.closes)
				require.Empty(t, d.errors)
			})
		})
	}
}

func TestASilentClientIsDropped(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		d := newDen(t, kind, dog.Options{Sockets: dog.SocketOptions{PingInterval: 8 * time.Second}})
		d.srv.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true}) // reads nothing, so it answers no ping
		d.srv.Dial("/?u=ada")                                          // answers pings
		elapse(time.Minute)
		require.Equal(t, 1, d.rt.Stats().Sockets)
		require.Equal(t, []int{1006}, d.closes)
		if hasReceive(kind) {
			require.Len(t, d.errors, 1)
			require.Equal(t, 1006, d.errors[0].Code)
			require.ErrorIs(t, d.errors[0], dog.ErrPingTimeout)
		}
	})
}

func TestWithoutHeartbeatsASilentClientStays(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		d := newDen(t, kind, dog.Options{Sockets: dog.SocketOptions{PingInterval: -1}})
		d.srv.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true})
		elapse(24 * time.Hour)
		require.Equal(t, 1, d.rt.Stats().Sockets)
	})
}

func TestAClientIsNotJudgedWhileItsHandlerIsBusy(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		options := dog.Options{Sockets: dog.SocketOptions{PingInterval: 8 * time.Second}}
		v := newVenue(t, kind, options, &owners{message: busy, limit: 1})
		c := v.srv.Dial("/?u=ada")
		c.Send("work")
		elapse(2 * time.Hour)
		synctest.Wait()
		require.Equal(t, []string{"done"}, texts(c))
	})
}
