package history_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/history"
)

func TestPart_HasMessages(t *testing.T) {
	l := history.New(history.Config{Count: 100, Bytes: 1 << 20, Age: 10})
	var want []history.Message
	for i, size := range []int{0, 1, 100, 125, 126, 60_000, 65_536, 100_000} {
		m := history.Message{
			Offset: uint64(i + 1), Op: byte(1 + i%2),
			Payload: []byte(strings.Repeat("\n", min(size, 1)) + strings.Repeat("x", size)),
		}
		want = append(want, m)
		l.Append(m.Op, m.Payload, "", history.Audience{}, 0)
	}
	var got []history.Message
	for at, more := uint64(0), true; more; {
		var p history.Part
		var gap bool
		p, more, gap = l.Page(at, 1000, history.Reader{})
		require.False(t, gap)
		got, at = slices.AppendSeq(got, p.Messages()), p.End
	}
	require.Equal(t, want, got)
	for range (history.Part{}).Messages() {
		require.Fail(t, "there are none")
	}
}

func TestPage_KnowsWhetherMoreFollows(t *testing.T) {
	l := history.New(history.Config{Count: 3, Bytes: 1 << 20, Age: 10})
	l.Append(1, []byte("a"), "", history.Audience{}, 0)
	l.Append(1, []byte("b"), "", history.Audience{Only: "ada"}, 0)
	p, more, gap := l.Page(0, 1, history.Reader{UID: "eve"})
	require.Equal(t, []any{1, uint64(2), false, false}, []any{p.Count, p.End, more, gap}, "nothing for eve follows")
	p, more, _ = l.Page(0, 1, history.Reader{UID: "ada"})
	require.Equal(t, []any{1, uint64(1), true}, []any{p.Count, p.End, more})
	p, more, gap = l.Page(2, 1, history.Reader{})
	require.Equal(t, []any{0, uint64(2), false, false}, []any{p.Count, p.End, more, gap})
	for range 3 {
		l.Append(1, []byte("c"), "", history.Audience{}, 0)
	}
	p, _, gap = l.Page(0, 1, history.Reader{})
	require.Equal(t, []any{0, uint64(2), true}, []any{p.Count, p.End, gap})
}
