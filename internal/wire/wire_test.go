package wire_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/wire"
)

func TestParse_ReadsWhatClientsSend(t *testing.T) {
	for text, want := range map[string]wire.Frame{
		"m58\nhello":        {Kind: 'm', ID: 58, Header: []byte("58"), Payload: []byte("hello")},
		"m\nhello":          {Kind: 'm', Header: []byte{}, Payload: []byte("hello")},
		"m\n":               {Kind: 'm', Header: []byte{}, Payload: []byte{}},
		"m58\na\nb\n":       {Kind: 'm', ID: 58, Header: []byte("58"), Payload: []byte("a\nb\n")},
		"p":                 {Kind: 'p', Header: []byte{}, Payload: []byte{}},
		"z something later": {Kind: 'z', Header: []byte(" something later"), Payload: []byte{}},
		"r\n{}":             {Kind: 'r', Header: []byte{}, Payload: []byte("{}")},

		"m9007199254740991\n": {Kind: 'm', ID: 1<<53 - 1, Header: []byte("9007199254740991"), Payload: []byte{}},
	} {
		got, err := wire.Parse([]byte(text))
		require.NoError(t, err, text)
		if len(want.Payload) == 0 {
			require.Empty(t, got.Payload, text)
			got.Payload, want.Payload = nil, nil
		}
		require.Equal(t, want, got, text)
	}
}

func TestParse_RefusesWhatIsMalformed(t *testing.T) {
	for _, text := range []string{
		"", "\n", "\nhello", "M1\n", "{}", "m0\n", "m01\n", "m-1\n", "m+1\n", "m1x\n", "m18446744073709551616\n",
		"m9007199254740992\n", "m1 word\n", "m word\n",
		"m" + strings.Repeat("1", 64) + "\n", "m" + strings.Repeat(" ", 1<<20),
	} {
		_, err := wire.Parse([]byte(text))
		require.ErrorIs(t, err, wire.ErrMalformed, "%.40q", text)
		require.Less(t, len(err.Error()), 120)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("m58\nhello"))
	f.Add([]byte("z later\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := wire.Parse(data)
		if err != nil {
			require.ErrorIs(t, err, wire.ErrMalformed)
			return
		}
		require.True(t, len(frame.Payload) < len(data))
		require.True(t, strings.HasSuffix(string(data), string(frame.Payload)))
	})
}

func TestAppendBack_SpreadsClients(t *testing.T) {
	for clients, want := range map[int]string{
		0: `b{"in":[0,500]}`, 1000: `b{"in":[0,500]}`, 1500: `b{"in":[0,750]}`,
		60_000: `b{"in":[0,30000]}`, 1_000_000: `b{"in":[0,30000]}`,
	} {
		require.Equal(t, want, string(wire.AppendBack(nil, clients)), "%d clients", clients)
	}
}

func TestPosition_SortsLikeItsOffset(t *testing.T) {
	offsets := []uint64{0, 1, 9, 10, 99, 100, 123456, 1<<63 - 1, 1<<64 - 1}
	for i, n := range offsets {
		p := wire.Position{Epoch: "k3f7q2ab7c2d", Offset: n}
		back, err := wire.ParsePosition(p.String())
		require.NoError(t, err)
		require.Equal(t, p, back)
		require.Equal(t, p.String(), p.Pack().String())
		if i > 0 {
			require.Less(t, wire.Position{Epoch: p.Epoch, Offset: offsets[i-1]}.String(), p.String())
		}
	}
}

func TestPacked_IsAsGoodAsText(t *testing.T) {
	require.Empty(t, wire.Packed{}.String())
	for _, epoch := range []string{"aaaaaaaaaaaa", "abcdefghijkl", "mnopqrstuvwx", "yz234567abyz", "777777777777"} {
		p := wire.Position{Epoch: epoch}
		require.NotEqual(t, wire.Packed{}, p.Pack())
		require.Equal(t, p.String(), p.Pack().String())
	}
}

func TestPosition_RefusesWhatIsMalformed(t *testing.T) {
	for _, text := range []string{
		"", "-", "k3f7q2ab7c2d", "k3f7q2ab7c2d-", "k3f7q2ab7c2d-a", "k3f7q2ab7c2d-b1", "k3f7q2ab7c2d-a12",
		"k3f7q2ab7c2d-a1 ", "K3F7Q2AB7C2D-a1", "k3f7q2ab7c2d_a1", "k3f7q2ab7c2d-b01", "k3f7q2ab7c2d-\xff1",
		"k3f7q2ab7c2d-u100000000000000000000", strings.Repeat("a", 1<<20),
	} {
		_, err := wire.ParsePosition(text)
		require.ErrorIs(t, err, wire.ErrMalformed, "%.40q", text)
		require.Less(t, len(err.Error()), 120)
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add("k3f7q2ab7c2d-c123")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := wire.ParsePosition(text)
		if err == nil {
			require.Equal(t, text, p.String())
			require.Equal(t, text, p.Pack().String())
		}
	})
}
