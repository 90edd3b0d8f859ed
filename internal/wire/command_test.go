package wire_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/wire"
)

const someEpoch = "k3f7q2ab7c2d"

func TestParseReply_ReadsWhatDevicesSend(t *testing.T) {
	for text, want := range map[string]wire.CommandReply{
		"7 k3f7q2ab7c2d done":                {Number: 7, Epoch: someEpoch, Verdict: wire.Done},
		"9007199254740991 k3f7q2ab7c2d fail": {Number: 1<<53 - 1, Epoch: someEpoch, Verdict: wire.Failed},
		"7 k3f7q2ab7c2d retry later word":    {Number: 7, Epoch: someEpoch, Verdict: wire.Retry},
		"7 k3f7q2ab7c2d perhaps":             {Number: 7, Epoch: someEpoch, Verdict: "perhaps"},
	} {
		got, err := wire.ParseReply([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestParseReply_RefusesWhatIsMalformed(t *testing.T) {
	for _, text := range []string{
		"", "7", "7 k3f7q2ab7c2d", "7 k3f7q2ab7c2d ", "7  done", "7 short done", "0 k3f7q2ab7c2d done",
		"07 k3f7q2ab7c2d done", "-7 k3f7q2ab7c2d done", "9007199254740992 k3f7q2ab7c2d done", "x k3f7q2ab7c2d done",
	} {
		_, err := wire.ParseReply([]byte(text))
		require.ErrorIs(t, err, wire.ErrMalformed, "%q", text)
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add([]byte("7 k3f7q2ab7c2d done"))
	f.Add([]byte("9007199254740991 k3f7q2ab7c2d retry later word"))
	f.Add([]byte("07  fail"))
	f.Fuzz(func(t *testing.T, header []byte) {
		r, err := wire.ParseReply(header)
		if err != nil {
			require.ErrorIs(t, err, wire.ErrMalformed)
			return
		}
		require.Positive(t, r.Number)
		rest, found := strings.CutPrefix(string(header), fmt.Sprintf("%d %s %s", r.Number, r.Epoch, r.Verdict))
		require.True(t, found, "%q", header)
		require.True(t, rest == "" || rest[0] == ' ', "%q", header)
	})
}

func TestAppendCommand_FitsIntoAHeader(t *testing.T) {
	got := wire.AppendCommand(nil, 7, someEpoch, 1500*time.Millisecond, 0)
	require.Equal(t, "c7 k3f7q2ab7c2d 1500 0\n", string(got))
	longest := wire.AppendCommand(nil, 1<<53-1, someEpoch, 30*24*time.Hour, 1<<53-2)
	require.Equal(t, "c9007199254740991 k3f7q2ab7c2d 2592000000 9007199254740990\n", string(longest))
	_, err := wire.Parse(longest)
	require.NoError(t, err)
}
