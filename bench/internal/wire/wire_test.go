package wire_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/bench/internal/wire"
)

func TestNext_TakesWholeFramesOnly(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 1 << 10, 1<<16 - 1, 1 << 16} {
		payload := bytes.Repeat([]byte("abcde"), size/5+1)[:size]
		for name, frame := range map[string][]byte{
			"server": wire.AppendFrame(nil, wire.Binary, payload),
			"client": wire.AppendMasked(nil, wire.Binary, payload),
		} {
			for _, cut := range []int{0, 1, 2, 3, len(frame) - 1} {
				if cut < len(frame) {
					_, n, err := wire.Next(frame[:cut])
					require.NoError(t, err, name)
					require.Zero(t, n, "%s, %d of %d bytes", name, cut, len(frame))
				}
			}
			f, n, err := wire.Next(append(bytes.Clone(frame), "next"...))
			require.NoError(t, err, name)
			require.Equal(t, len(frame), n, name)
			require.Equal(t, byte(wire.Binary), f.Op, name)
			require.True(t, bytes.Equal(payload, f.Payload), name)
		}
	}
}

func TestNext_RefusesFragments(t *testing.T) {
	for name, frame := range map[string][]byte{
		"first": {wire.Binary, 1, 'x'},
		"last":  {0x80 | wire.Continuation, 1, 'x'},
	} {
		_, _, err := wire.Next(frame)
		require.ErrorIs(t, err, wire.ErrFragmented, name)
	}
}

func TestAppendMasked_ChangesThePayload(t *testing.T) {
	require.NotContains(t, string(wire.AppendMasked(nil, wire.Binary, []byte("plain"))), "plain")
}

func TestMessage_KeepsItsNumber(t *testing.T) {
	m := make([]byte, wire.MinMessage)
	wire.PutMessage(m, wire.FanOut, 1<<40+7)
	require.Equal(t, byte(wire.FanOut), m[0])
	require.Equal(t, uint64(1<<40+7), wire.Seq(m))
}

func TestCentrifugeMessages(t *testing.T) {
	// reply { push { channel, pub { data } } }
	publication := []byte("\x0d\x22\x0b" + "\x12\x01b" + "\x22\x06" + "\x22\x04data")
	message := []byte("\x09\x22\x07" + "\x42\x05" + "\x0a\x03one") // reply { push { message { data } } }
	reply := []byte("\x04\x08\x01\x2a\x00")                        // reply { id, connect {} }
	ping := []byte{0}
	failed := []byte("\x04\x12\x02\x08\x64") // reply { error { code } }

	var got []string
	each := func(data []byte) { got = append(got, string(data)) }
	pinged, err := wire.CentrifugeMessages(bytes.Join([][]byte{reply, publication, message, publication}, nil), each)
	require.NoError(t, err)
	require.False(t, pinged)
	require.Equal(t, []string{"data", "one", "data"}, got)

	pinged, err = wire.CentrifugeMessages(ping, each)
	require.NoError(t, err)
	require.True(t, pinged)

	for name, payload := range map[string][]byte{"cut": publication[:5], "failed": failed} {
		_, err = wire.CentrifugeMessages(payload, each)
		require.Error(t, err, name)
	}
	require.Len(t, got, 3)
}
