package history_test

import (
	"encoding/binary"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/history"
	"github.com/godurable/dog/internal/wire"
)

// message is a message of the model.
type message struct {
	offset  uint64
	op      byte
	payload string
	key     string
	to      history.Audience
}

const (
	epoch = "k3f7q2ab7c2d"
	noEnd = 1<<64 - 1
)

// parse splits frames.
func parse(t require.TestingT, frames []byte) (all []message) {
	for len(frames) > 0 {
		n, header := int(frames[1]), 2
		switch n {
		case 126:
			n, header = int(binary.BigEndian.Uint16(frames[2:])), 4
		case 127:
			n, header = int(binary.BigEndian.Uint64(frames[2:])), 10
		}
		mark, payload, found := strings.Cut(string(frames[header:header+n]), "\n")
		require.True(t, found)
		p, err := wire.ParsePosition(epoch + "-" + strings.TrimPrefix(mark, "m"))
		require.NoError(t, err)
		all = append(all, message{offset: p.Offset, op: frames[0] & 0xF, payload: payload})
		frames = frames[header+n:]
	}
	return all
}

// model is a log without tricks.
type model struct {
	config history.Config
	last   uint64
	gone   uint64
	lost   []message // up to gone
	kept   []message
}

func (m *model) size() (bytes int) {
	for _, k := range m.kept {
		bytes += frameLen(k)
	}
	return bytes
}

func frameLen(m message) int {
	n := len(m.payload) + len(strconv.FormatUint(m.offset, 10)) + 3
	switch {
	case n > 0xFFFF:
		return n + 10
	case n > 125:
		return n + 4
	}
	return n + 2
}

func (m *model) append(k message) {
	m.last++
	k.offset = m.last
	for i, earlier := range m.kept {
		if k.key != "" && earlier.key == k.key {
			m.kept = append(m.kept[:i:i], m.kept[i+1:]...)
			break
		}
	}
	m.kept = append(m.kept, k)
	for len(m.kept) > m.config.Count || m.size() > m.config.Bytes {
		m.gone = m.kept[0].offset
		m.lost = append(m.lost, m.kept[0])
		m.kept = m.kept[1:]
	}
}

func includes(a history.Audience, r history.Reader) bool {
	return (a.Only == "" || a.Only == r.UID) && (a.Except == "" || a.Except != r.UID) &&
		(a.ExceptSession == "" || a.ExceptSession != r.Session)
}

func (m *model) after(offset, until uint64, r history.Reader) (all []message) {
	for _, k := range m.kept {
		if k.offset > offset && k.offset <= until && includes(k.to, r) {
			all = append(all, message{offset: k.offset, op: k.op, payload: k.payload})
		}
	}
	return all
}

// missed reports whether a reader has missed messages after an offset.
func (m *model) missed(offset uint64, r history.Reader) bool {
	return slices.ContainsFunc(m.lost, func(k message) bool { return k.offset > offset && includes(k.to, r) })
}

func TestLog_ReturnsWhatAListWould(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{config: history.Config{
			Count: rapid.IntRange(1, 200).Draw(rt, "count"),
			Bytes: rapid.SampledFrom([]int{10, 1000, 20_000, 300_000}).Draw(rt, "bytes"),
			Age:   1 << 40,
		}}
		l := history.New(m.config)
		names := rapid.SampledFrom([]string{"", "", "a", "b"})
		keys := rapid.SampledFrom([]string{"", "", "x", "y", "z"})
		sizes := rapid.SampledFrom([]int{0, 1, 30, 116, 117, 118, 500, 65_520, 70_000})
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(rt, "n") {
					size := rapid.IntRange(0, 200).Draw(rt, "size")
					if rapid.IntRange(0, 30).Draw(rt, "large") == 0 {
						size = sizes.Draw(rt, "size")
					}
					k := message{
						op: rapid.SampledFrom([]byte{1, 2}).Draw(rt, "op"), key: keys.Draw(rt, "key"),
						payload: strings.Repeat(string(rune('a'+m.last%26)), size),
						to: history.Audience{
							Only: names.Draw(rt, "only"), Except: names.Draw(rt, "except"),
							ExceptSession: names.Draw(rt, "session"),
						},
					}
					m.append(k)
					offset, frame := l.Append(k.op, []byte(k.payload), k.key, k.to, 0)
					require.Equal(rt, m.last, offset)
					require.Equal(rt, []message{{offset: offset, op: k.op, payload: k.payload}}, parse(rt, frame))
				}
			},
			"read": func(rt *rapid.T) {
				r := history.Reader{UID: names.Draw(rt, "uid"), Session: names.Draw(rt, "session")}
				at := rapid.Uint64Range(0, m.last+1).Draw(rt, "after")
				until := rapid.Uint64Range(at, m.last+2).Draw(rt, "until")
				size := rapid.SampledFrom([]int{1, 100, 1000, 64 << 10}).Draw(rt, "bytes")
				p, gap := l.Next(at, until, size, r)
				if at > m.last {
					require.True(rt, gap)
					require.Equal(rt, m.last, p.End)
					return
				}
				require.Equal(rt, gap, l.Missed(at, r))
				if m.missed(at, r) {
					require.True(rt, gap)
				}
				if gap {
					require.Less(rt, at, m.gone)
					require.Equal(rt, m.gone, p.End)
					at = p.End
				}
				want := m.after(at, until, r)
				for at < min(until, m.last) {
					p, gap = l.Next(at, until, size, r)
					require.False(rt, gap)
					require.Greater(rt, p.End, at)
					got := parse(rt, p.Frames)
					require.Len(rt, got, p.Count)
					if len(got) > 1 {
						require.LessOrEqual(rt, len(p.Frames), size)
					}
					if len(got) == 0 {
						require.Equal(rt, max(min(until, m.last), m.gone), p.End)
						break
					}
					require.LessOrEqual(rt, len(got), len(want))
					require.Equal(rt, want[:len(got)], got)
					want = want[len(got):]
					require.LessOrEqual(rt, got[len(got)-1].offset, p.End)
					at = p.End
				}
				require.Empty(rt, want)
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, history.Stats{Messages: len(m.kept), Bytes: m.size()}, l.Stats())
				require.Equal(rt, m.last, l.Last())
			},
		})
	})
}

func TestLog_FramesDoNotChangeAfterTheyWereReturned(t *testing.T) {
	l := history.New(history.Config{Count: 50, Bytes: 1 << 20, Age: 1 << 40})
	var frames [][]byte
	var want []string
	for i := range 5000 {
		_, f := l.Append(1, []byte(strings.Repeat("x", i%300)), strconv.Itoa(i%7), history.Audience{}, 0)
		frames, want = append(frames, f), append(want, string(f))
		if p, _ := l.Next(max(l.Last(), 20)-20, noEnd, 64<<10, history.Reader{}); p.Count > 0 {
			frames, want = append(frames, p.Frames), append(want, string(p.Frames))
		}
	}
	for i, f := range frames {
		require.Equal(t, want[i], string(f))
	}
}

func TestLog_OldMessagesGoWithTheirBlock(t *testing.T) {
	l := history.New(history.Config{Count: 1000, Bytes: 1 << 20, Age: 80})
	for at := range int64(5) {
		l.Append(1, []byte("x"), "", history.Audience{}, at)
	}
	l.Expire(84)
	require.Equal(t, 5, l.Stats().Messages, "the newest of the block is as old as is allowed")
	l.Expire(85)
	require.Zero(t, l.Stats())
	p, gap := l.Next(4, noEnd, 64<<10, history.Reader{})
	require.True(t, gap)
	require.EqualValues(t, 5, p.End)
	p, gap = l.Next(5, noEnd, 64<<10, history.Reader{})
	require.False(t, gap, "nothing was missed")
	require.EqualValues(t, 5, p.End)
	offset, _ := l.Append(1, nil, "", history.Audience{}, 90)
	require.EqualValues(t, 6, offset, "offsets go on")
}

func TestLog_AMessageOverTheBoundIsNotKept(t *testing.T) {
	l := history.New(history.Config{Count: 10, Bytes: 100, Age: 10})
	l.Append(1, []byte("small"), "", history.Audience{}, 0)
	_, frame := l.Append(1, make([]byte, 100), "", history.Audience{}, 0)
	require.Len(t, frame, 2+4+100, "it is returned to be sent")
	require.Zero(t, l.Stats())
	p, gap := l.Next(0, noEnd, 64<<10, history.Reader{})
	require.True(t, gap)
	require.EqualValues(t, 2, p.End)
}

// The state of a few keys that change all the time takes little memory, however
// long it goes on.
func TestLog_KeysCostOneEntryEach(t *testing.T) {
	l := history.New(history.Config{Count: 10_000, Bytes: 64 << 20, Age: 1 << 40})
	before := heap()
	payload := make([]byte, 100)
	for i := range 2_000_000 {
		key := "fast" + strconv.Itoa(i%10)
		if i%1000 == 0 {
			key = "slow" + strconv.Itoa(i/1000%500)
		}
		l.Append(1, payload, key, history.Audience{}, 0)
	}
	require.Equal(t, 510, l.Stats().Messages)
	require.Less(t, heap()-before, int64(1<<20))
	runtime.KeepAlive(l)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
