package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A restored log has the same messages at the same offsets, also where messages
// in between have been replaced.
func TestRestore_ReturnsTheSameMessages(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 1))
		c := Config{Count: 200, Bytes: 100 << 10, Age: 60}
		l := New(c)
		for range random.IntN(1000) {
			key := ""
			if random.IntN(2) == 0 {
				key = fmt.Sprint(random.IntN(20))
			}
			l.Append(1, make([]byte, random.IntN(1000)), key, Audience{}, 0)
		}
		var entries []Entry
		for _, e := range l.Entries() {
			decoded, err := Decode(e.Offset, e.Encode())
			require.NoError(t, err)
			require.Equal(t, e, decoded)
			entries = append(entries, decoded)
		}
		restored := Restore(c, l.Oldest(), l.Last(), nil, entries, 0)
		for range 2 {
			require.Equal(t, l.Last(), restored.Last())
			require.Equal(t, l.Oldest(), restored.Oldest())
			require.Equal(t, l.Stats(), restored.Stats())
			for after := l.Oldest(); after <= l.Last(); after++ {
				require.True(t, slices.Equal(framesAfter(t, l, after), framesAfter(t, restored, after)),
					"seed %d, after %d", seed, after)
			}
			for range 50 {
				l.Append(1, []byte("more"), "", Audience{}, 0)
				restored.Append(1, []byte("more"), "", Audience{}, 0)
			}
		}
	}
}

// framesAfter returns all frames after an offset, taken one by one.
func framesAfter(t *testing.T, l *Log, after uint64) (all []string) {
	t.Helper()
	for {
		p, gap := l.Next(after, 1<<64-1, 1, Reader{})
		require.False(t, gap)
		if p.Count == 0 || p.End <= after {
			return all
		}
		all, after = append(all, string(p.Frames)), p.End
	}
}

// A key that is replaced for years beside one that stays does not wear out the
// numbers of a block.
func TestLog_KeyStaysBesideBillionsOfOtherMessages(t *testing.T) {
	l := New(Config{Count: 100, Bytes: 1 << 20, Age: 60})
	l.Append(1, []byte("stays"), "a", Audience{}, 0)
	for range 100 {
		l.Append(1, make([]byte, 1000), "b", Audience{}, 0)
	}
	for range 3 {
		l.last += 1<<32 - 10
		for range 100 {
			offset, want := l.Append(1, make([]byte, 1000), "b", Audience{}, 0)
			p, gap := l.Next(offset-1, offset, 1, Reader{})
			require.False(t, gap)
			require.Equal(t, want, p.Frames)
			require.Equal(t, offset, p.End)
		}
		require.Len(t, framesAfter(t, l, 0), 2)
	}
}

// The messages of a block expire together. They do so soon after the first of
// them is too old, however few messages there are, and never come back.
func TestLog_MessagesExpireInALogWithFew(t *testing.T) {
	const age = 80
	for _, pause := range []int64{1, 7, 50, 79, 81, 1000} {
		for _, key := range []string{"", "key"} {
			l := New(Config{Count: 1000, Bytes: 1 << 20, Age: age})
			l.Append(1, []byte("first"), "stays", Audience{}, 0)
			for now := pause; now < 20*age; now += pause {
				l.Append(1, []byte("x"), key, Audience{}, now)
				if now > age+age/agesPerBlock {
					require.Positive(t, l.Oldest(), "pause %d at %d", pause, now)
				}
				require.LessOrEqual(t, int64(l.Stats().Messages), (age+age/agesPerBlock)/pause+2)
			}
		}
	}
}
