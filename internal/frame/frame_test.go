package frame_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/frame"
)

func TestCut_ReturnsWhatAppendHasWritten(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 0xFFFF, 0x10000}
	var frames []byte
	for i, n := range sizes {
		before := len(frames)
		frames = frame.Append(frames, frame.Final|byte(i), bytes.Repeat([]byte{byte(i)}, n))
		require.Equal(t, frame.HeaderLen(n)+n, len(frames)-before)
		require.Len(t, frame.Payload(frames[before:]), n)
	}
	for i, n := range sizes {
		require.Equal(t, frame.Final|byte(i), frames[0])
		var payload []byte
		payload, frames = frame.Cut(frames)
		require.Equal(t, bytes.Repeat([]byte{byte(i)}, n), payload)
	}
	require.Empty(t, frames)
}
