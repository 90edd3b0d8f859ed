package socket_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSocket_InvalidOptionsOfConnectAnswer500(t *testing.T) {
	for name, options := range map[string]dog.SocketOptions{
		"tags":            {Tags: strings.Split(strings.Repeat("x y ", 6)+"1 2 3 4 5 6 7 8 9", " ")},
		"a negative size": {MaxMessage: -1},
		"half an answer":  {AutoRequest: "ping"},
		"an attachment":   {Attachment: strings.Repeat("x", 20_000)},
		"no JSON":         {Attachment: func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						_, err := o.Connect(w, req, &options)
						require.Error(t, err)
						return err
					},
				})
				require.Equal(t, 500, statusOf(t, v.Server, "GET", "/?u=ada", handshakeHeader()))
				synctest.Wait()
				require.Zero(t, v.Runtime.Stats().Sockets)
			})
		})
	}
}

// An object may name its client, and a replica's group has done so.
func TestSocket_UIDOfSocketOptionsIsChecked(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		uid := ""
		var refused error
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				_, refused = o.Connect(w, req, &dog.SocketOptions{UID: uid})
				return refused
			},
			Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { return s.Send(s.UID()) },
		})
		uid = "ada"
		require.Equal(t, "ada", v.Enter("ada").Receive().String())
		for other, status := range map[string]int{"bob": 101, "a\nb": 400} {
			uid = other
			if fixture.IsReplica(kind) {
				require.Equal(t, 500, statusOf(t, v.Server, "GET", "/?u=ada", handshakeHeader()))
				fixture.RequireUsage(t, refused, `has the uid "ada" that was identified, not`)
				continue
			}
			if status != 101 {
				require.Equal(t, status, statusOf(t, v.Server, "GET", "/?u=ada", handshakeHeader()))
				require.ErrorIs(t, refused, dog.ErrInvalidName)
				continue
			}
			require.Equal(t, other, v.Enter("ada").Receive().String())
		}
	})
}

func TestSocket_InvalidDefaultsAreRefusedAtRegistration(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	for name, sockets := range map[string]dog.SocketOptions{
		"a uid":            {UID: "ada"},
		"an attachment":    {Attachment: func() {}},
		"a big attachment": {Attachment: strings.Repeat("x", 20_000)},
		"tags":             {Tags: []string{strings.Repeat("x", 257)}},
		"a negative size":  {QueueBytes: -1},
		"half an answer":   {AutoReply: "pong"},
		"a pattern":        {OriginPatterns: []string{"["}},
		"a policy":         {Slow: 77},
	} {
		_, err := dog.RegisterObject(rt, "x", &dog.ObjectOptions[onlyOpens]{Sockets: sockets})
		require.ErrorAs(t, err, new(*dog.RegistrationError), name)
		_, err = dog.RegisterReplica(rt, "x", &dog.ReplicaOptions[dog.Replica]{Sockets: sockets})
		require.ErrorAs(t, err, new(*dog.RegistrationError), name)
		_, err = dog.New(dog.Options{Sockets: sockets})
		require.Error(t, err, name)
	}
}

func TestSocket_InvalidOptionsAreRefused(t *testing.T) {
	bad := map[string]dog.SocketOptions{
		"an unknown policy":             {Slow: dog.CoalesceSlow + 1},
		"a negative policy":             {Slow: -1},
		"an unknown compression":        {Compression: dog.CompressionOn + 1},
		"a negative compression":        {Compression: -1},
		"a request and no reply":        {AutoRequest: "ping"},
		"a reply and no request":        {AutoReply: "pong"},
		"a request too long":            {AutoRequest: strings.Repeat("x", 2049), AutoReply: "pong"},
		"a reply that is invalid UTF-8": {AutoRequest: "ping", AutoReply: "\xff"},
		"a bad origin pattern":          {OriginPatterns: []string{"example.com", "a["}},
		"too many tags":                 {Tags: strings.Split("a b c d e f g h i j k", " ")},
		"a tag too long":                {Tags: []string{strings.Repeat("x", 257)}},
	}
	for name, options := range bad {
		t.Run(name, func(t *testing.T) {
			rt, err := dog.New(dog.Options{Sockets: options})
			require.Error(t, err)
			require.Nil(t, rt)
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						s, err := o.Connect(w, req, &options)
						require.Nil(t, s)
						require.Error(t, err)
						return nil
					},
				})
				_, answer, err := v.Server.TryDial("/?u=ada", dogtest.DialOptions{})
				require.Error(t, err)
				require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
				fixture.RequireEmpty(t, v.Runtime)
			})
		})
	}
	good := dog.SocketOptions{
		Slow: dog.CoalesceSlow, AutoRequest: strings.Repeat("x", 2048), AutoReply: "pong",
		OriginPatterns: []string{"*.example.com", "https://a?.example.com"}, Tags: slices.Repeat([]string{"same"}, 20),
	}
	rt, err := dog.New(dog.Options{Sockets: good})
	require.NoError(t, err)
	require.NoError(t, rt.Shutdown(t.Context()))
}

// What is on for the runtime can be off for a type, and what is on for a type
// can be off for a socket, and the other way round.
func TestSocket_OptionsAreSwitchedOnAndOffAtEachLevel(t *testing.T) {
	on := dog.SocketOptions{
		Compression: dog.CompressionOn, OriginPatterns: []string{"*"}, Subprotocols: []string{"p"}, Tags: []string{"t"},
	}
	off := dog.SocketOptions{
		Compression: dog.CompressionOff, OriginPatterns: []string{}, Subprotocols: []string{}, Tags: []string{},
	}
	unset := dog.SocketOptions{}
	for name, levels := range map[string]struct {
		runtime, typ, socket dog.SocketOptions
		on                   bool
	}{
		"nowhere":                                {},
		"on for the runtime":                     {runtime: on, on: true},
		"off for the type":                       {runtime: on, typ: off},
		"off for the socket":                     {runtime: on, socket: off},
		"on for the type, off for the socket":    {runtime: unset, typ: on, socket: off},
		"off for the type, on for the socket":    {runtime: on, typ: off, socket: on, on: true},
		"off for the runtime, on for the type":   {runtime: off, typ: on, on: true},
		"off for the runtime, on for the socket": {runtime: off, socket: on, on: true},
	} {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				var tags []string
				v := fixture.NewOwners(t, kind, dog.Options{Sockets: levels.runtime}, &fixture.OwnerHooks{
					SocketOptions: levels.typ,
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						_, err := o.Connect(w, req, &levels.socket)
						return err
					},
					Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
						tags = s.Tags()
						return nil
					},
				})
				dial := dogtest.DialOptions{Compress: true, Subprotocols: []string{"p"}}
				c, answer, err := v.Server.TryDial("/?u=ada", dial)
				require.NoError(t, err)
				synctest.Wait()
				require.Equal(t, levels.on, answer.Header.Get("Sec-WebSocket-Extensions") != "")
				require.Equal(t, levels.on, answer.Header.Get("Sec-WebSocket-Protocol") == "p")
				require.Equal(t, levels.on, slices.Equal(tags, []string{"t"}), tags)
				c.Close(1000, "")
				_, answer, _ = v.Server.TryDial(
					"/?u=bob", dogtest.DialOptions{Header: http.Header{"Origin": {"https://other.example"}}},
				)
				require.Equal(t, levels.on, answer.StatusCode == http.StatusSwitchingProtocols, answer.Status)
			})
		})
	}
}
