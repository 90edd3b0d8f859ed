package wire_test

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/wire"
)

func TestParseRequest(t *testing.T) {
	at := wire.Position{Epoch: "abcdefghijkl", Offset: 7}
	for query, want := range map[string]wire.Request{
		"":                                       {Latest: true},
		"?after=":                                {},
		"?after=" + at.String():                  {Asked: at.Pack()},
		"?session=12345678":                      {Session: "12345678", Latest: true},
		"?session=12345678&after=" + at.String(): {Session: "12345678", Asked: at.Pack()},
		"?other=1&session=a-b_c-d_e&after=&after=": {Session: "a-b_c-d_e"},
	} {
		r := httptest.NewRequest("GET", "/"+query, nil)
		got, err := wire.ParseRequest(r)
		require.NoError(t, err)
		require.Nil(t, got, "the client does not offer the subprotocol")
		r.Header.Set("Sec-WebSocket-Protocol", "chat, dog.v1")
		got, err = wire.ParseRequest(r)
		require.NoError(t, err, query)
		require.Equal(t, want, *got, query)
	}
	for query, want := range map[string]string{
		"?after=7":           "after is not a position",
		"?session=":          "session must be 8 to 64 letters, digits, - or _",
		"?session=1234567":   "session must be 8 to 64 letters, digits, - or _",
		"?session=1234567.8": "session must be 8 to 64 letters, digits, - or _",
	} {
		r := httptest.NewRequest("GET", "/"+query, nil)
		r.Header.Set("Sec-WebSocket-Protocol", wire.Protocol)
		_, err := wire.ParseRequest(r)
		var malformed *wire.RequestError
		require.ErrorAs(t, err, &malformed, query)
		require.Equal(t, want, malformed.Text)
	}
}

func TestAppendHello(t *testing.T) {
	require.Equal(
		t, `h{"v":1,"pos":"p","gap":"first","in":3,"ping":20000,"max":32}`,
		string(wire.AppendHello(nil, wire.Greeting{From: "p", Gap: "first", Handled: 3, Ping: 20_000, Max: 32})),
	)
}
