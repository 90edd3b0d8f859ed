package socket_test

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
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSocket_InvalidUIDReachesNoOwner(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v := fixture.NewOwners(t, kind, dog.Options{}, new(fixture.OwnerHooks))
		bad := map[string]string{
			"too long": strings.Repeat("x", 1025), "newline": "a\nb",
			"escape": "\x1b[0m", "C1": "\u0085", "not UTF-8": "a\xff",
		}
		if fixture.IsReplica(kind) { // an object needs no uid
			bad["empty"] = ""
		}
		for name, uid := range bad {
			_, answer, err := v.Server.TryDial("/?u="+url.QueryEscape(uid), dogtest.DialOptions{})
			require.Error(t, err)
			require.Equal(t, http.StatusBadRequest, answer.StatusCode, name)
		}
		require.Empty(t, v.Loads())
	})
}

func TestSocket_InvalidUIDIsNotIdentified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 2, &fixture.Hooks{})
		for _, uid := range []string{"", strings.Repeat("x", 1025), "a\nb", "\x1b[0m", "\u0085", "a\xff"} {
			_, err := h.Identify(t.Context(), uid)
			require.ErrorIs(t, err, dog.ErrInvalidName, "%q", uid)
		}
		require.Empty(t, h.Loads())
	})
}

func TestSocket_MalformedUpgradeIsRefused(t *testing.T) {
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
		{
			"old version",
			"GET",
			upgrade("Sec-Websocket-Version", "8"),
			400,
			http.Header{"Sec-Websocket-Version": {"13"}},
		},
		{"no key", "GET", upgrade("Sec-Websocket-Key"), 400, nil},
		{"bad key", "GET", upgrade("Sec-Websocket-Key", "%%%"), 400, nil},
		{"short key", "GET", upgrade("Sec-Websocket-Key", "c2hvcnQ="), 400, nil},
		{
			"two keys",
			"GET",
			upgrade("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="),
			400,
			nil,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				var socket *dog.Socket
				var refused error
				v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						socket, refused = o.Connect(w, req, nil)
						return nil
					},
					MaxSockets: 1,
				})
				answer, body := fixture.Request(t, v.Server, test.method, "/?u=ada", test.header)
				require.Equal(t, test.status, answer.StatusCode)
				for name, values := range test.answer {
					require.Equal(t, values, answer.Header[name])
				}
				if test.method != http.MethodHead {
					require.Equal(t, http.StatusText(test.status)+"\n", body, "nothing internal")
				}
				if fixture.HasReceive(kind) {
					require.Nil(t, socket)
					require.Equal(t, test.status, dog.HTTPStatus(refused))
				}
				fixture.RequireEmpty(t, v.Runtime)
				v.Enter("next") // the place of limit 1 is free
			})
		})
	}
}

func TestSocket_OnlyAllowedOriginsConnect(t *testing.T) {
	example := dog.SocketOptions{OriginPatterns: []string{"*.example.com"}}
	secure := dog.SocketOptions{OriginPatterns: []string{"https://example.com"}}
	anyOrigin := dog.SocketOptions{OriginPatterns: []string{"*"}}
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
		{"any", anyOrigin, "https://evil.example:8080", 101},
		{"any, of a page without one", anyOrigin, "null", 101},
		{"any, and not a URL", anyOrigin, "://", 403},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				v := fixture.NewOwners(t, kind, dog.Options{Sockets: test.options}, &fixture.OwnerHooks{MaxSockets: 1})
				header := http.Header{}
				if test.origin != "" {
					header.Set("Origin", test.origin)
				}
				c, answer, err := v.Server.TryDial("/?u=ada", dogtest.DialOptions{Header: header})
				require.Equal(t, test.status, answer.StatusCode)
				if err == nil {
					c.Close(1000, "")
				}
				fixture.RequireEmpty(t, v.Runtime)
			})
		})
	}
}

func TestSocket_ProtocolViolationClosesTheSocket(t *testing.T) {
	sixty := strings.Repeat("x", 60)
	begun := fixture.Frame(1, sixty)
	begun[0] &^= 0x80 // not final
	tests := map[string]struct {
		frame []byte
		code  int
		cause string // of the log
	}{
		"message over the limit":     {fixture.Frame(1, strings.Repeat("x", 101)), 1009, "message is too big"},
		"fragments over the limit":   {slices.Concat(begun, fixture.Frame(0, sixty)), 1009, "message is too big"},
		"text that is not UTF-8":     {fixture.Frame(1, "a\xff"), 1007, "invalid UTF-8"},
		"reason that is not UTF-8":   {fixture.Frame(8, "\x03\xe8\xff"), 1007, "invalid UTF-8"},
		"unmasked":                   {[]byte{0x81, 1, 'x'}, 1002, "WebSocket protocol error"},
		"reserved bit":               {fixture.Frame(0x40|1, "x"), 1002, "WebSocket protocol error"},
		"unknown opcode":             {fixture.Frame(3, "x"), 1002, "WebSocket protocol error"},
		"continuation of nothing":    {fixture.Frame(0, "x"), 1002, "WebSocket protocol error"},
		"fragmented ping":            {[]byte{0x09, 0x80, 0, 0, 0, 0}, 1002, "WebSocket protocol error"},
		"forbidden close code":       {fixture.Frame(8, "\x03\xed"), 1002, "WebSocket protocol error"}, // 1005
		"close code of no standard":  {fixture.Frame(8, "\x03\xe7"), 1002, "WebSocket protocol error"}, // 999
		"close frame with half code": {fixture.Frame(8, "\x03"), 1002, "WebSocket protocol error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				d := newRecorder(t, kind, dog.Options{Sockets: dog.SocketOptions{MaxMessage: 100}})
				bob := d.Enter("bob")
				c := d.Server.Dial("/?u=ada")
				c.Send(strings.Repeat("x", 100))
				c.SendRaw(test.frame)
				code, _ := c.Closed()
				require.Equal(t, test.code, code)
				synctest.Wait()
				require.NoError(t, d.Broadcast(t.Context(), "to the others"))
				require.Equal(t, []string{"to the others"}, fixture.Texts(bob))
				require.Equal(t, []string{strings.Repeat("x", 100)}, d.got, "what came before counts")
				require.Equal(t, []int{test.code}, d.closes)
				if fixture.HasReceive(kind) {
					require.Len(t, d.errors, 1)
					require.Equal(t, test.code, d.errors[0].Code)
					require.ErrorContains(t, d.errors[0], test.cause)
					require.Equal(t, []string{"error", "close"}, d.ends)
				}
				bob.Close(1000, "")
				fixture.RequireEmpty(t, d.Runtime)
			})
		})
	}
}

func TestSocket_VanishedClientIsAnError1006(t *testing.T) {
	tests := map[string][]byte{
		"between messages":    nil,
		"within a header":     {0x81},
		"within a message":    fixture.Frame(1, "hello")[:8],
		"between fragments":   {0x01, 0x81, 0, 0, 0, 0, 'h'},
		"within a close":      fixture.Frame(8, "\x03\xe8bye")[:7],
		"with a whole header": fixture.Frame(1, "hello")[:6],
	}
	for name, part := range tests {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				d := newRecorder(t, kind, dog.Options{})
				c := d.Server.Dial("/?u=ada")
				c.SendRaw(part)
				c.Vanish()
				fixture.RequireEmpty(t, d.Runtime)
				require.Empty(t, d.got)
				require.Equal(t, []int{1006}, d.closes)
				if fixture.HasReceive(kind) {
					require.Len(t, d.errors, 1)
					require.Equal(t, 1006, d.errors[0].Code)
					require.Error(t, d.errors[0].Err)
					require.Equal(t, []string{"error", "close"}, d.ends)
				}
			})
		})
	}
}

func TestSocket_CloseIsNoError(t *testing.T) {
	tests := map[string]struct {
		frame []byte
		code  int
	}{
		"normal":      {fixture.Frame(8, "\x03\xe8bye"), 1000},
		"going away":  {fixture.Frame(8, "\x03\xe9"), 1001},
		"own code":    {fixture.Frame(8, "\x0f\xa0"), 4000},
		"no code":     {fixture.Frame(8, ""), 1005},
		"after pings": {append(fixture.Frame(9, "?"), fixture.Frame(8, "\x03\xe8")...), 1000},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				d := newRecorder(t, kind, dog.Options{})
				c := d.Server.Dial("/?u=ada")
				c.SendRaw(test.frame)
				code, _ := c.Closed()
				require.Equal(t, test.code, code, "the echo")
				fixture.RequireEmpty(t, d.Runtime)
				require.Equal(t, []int{test.code}, d.closes)
				require.Empty(t, d.errors)
			})
		})
	}
}

func TestSocket_SilentClientIsDropped(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		d := newRecorder(t, kind, dog.Options{Sockets: dog.SocketOptions{PingInterval: 8 * time.Second}})
		d.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true}) // reads nothing, so it answers no ping
		d.Server.Dial("/?u=ada")                                          // answers pings
		fixture.Elapse(time.Minute)
		require.Equal(t, 1, d.Runtime.Stats().Sockets)
		require.Equal(t, []int{1006}, d.closes)
		if fixture.HasReceive(kind) {
			require.Len(t, d.errors, 1)
			require.Equal(t, 1006, d.errors[0].Code)
			require.ErrorIs(t, d.errors[0], dog.ErrPingTimeout)
		}
	})
}

func TestSocket_WithoutHeartbeatsASilentClientStays(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		d := newRecorder(t, kind, dog.Options{Sockets: dog.SocketOptions{PingInterval: -1}})
		d.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true})
		fixture.Elapse(24 * time.Hour)
		require.Equal(t, 1, d.Runtime.Stats().Sockets)
	})
}

func TestSocket_HeartbeatPausesWhileTheHandlerIsBusy(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		options := dog.Options{Sockets: dog.SocketOptions{PingInterval: 8 * time.Second}}
		v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{Message: busy, MaxSockets: 1})
		c := v.Server.Dial("/?u=ada")
		c.Send("work")
		fixture.Elapse(2 * time.Hour)
		synctest.Wait()
		require.Equal(t, []string{"done"}, fixture.Texts(c))
	})
}
