package presence_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/presence"
)

func TestList_ManyNamesMakeSeveralChanges(t *testing.T) {
	l := presence.New(presence.Config{Grace: time.Second, Every: time.Second})
	const members = 2*presence.MaxNames + 500
	for i := range members {
		l.Enter(fmt.Sprintf("%04d", i), 0)
	}
	var sizes, counts []int
	for c := l.Take(presence.Time(time.Second)); c != nil; c = l.Take(presence.Time(time.Second)) {
		require.EqualValues(t, len(sizes)+1, c.Seq)
		require.Equal(t, fmt.Sprintf("%04d", len(sizes)*presence.MaxNames), c.Joined[0].UID)
		sizes, counts = append(sizes, len(c.Joined)), append(counts, c.Count)
		l.Done()
	}
	require.Equal(t, []int{presence.MaxNames, presence.MaxNames, 500}, sizes)
	require.Equal(t, []int{presence.MaxNames, 2 * presence.MaxNames, members}, counts)
}

func TestList_LongNamesAndValuesMakeSeveralChanges(t *testing.T) {
	l := presence.New(presence.Config{Grace: time.Second, Every: time.Second})
	for i := range 100 {
		uid := fmt.Sprint(strings.Repeat("x", 1020), i)
		l.Enter(uid, 0)
		l.Set(uid, strings.Repeat("y", 1024), 0)
	}
	var sizes []int
	for c := l.Take(presence.Time(time.Second)); c != nil; c = l.Take(presence.Time(time.Second)) {
		sizes = append(sizes, len(c.Joined))
		l.Done()
	}
	require.Equal(t, []int{32, 32, 32, 4}, sizes)
}

// The memory of a member is that of its record and of its uid.
func BenchmarkList_EnterAndExit(b *testing.B) {
	for _, members := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint("members=", members), func(b *testing.B) {
			l := presence.New(presence.Config{Grace: time.Second, Every: time.Second})
			uids := make([]string, members)
			for i := range uids {
				uids[i] = fmt.Sprint("user-", i)
				l.Enter(uids[i], 0)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7_368_787) % members
				l.Exit(uids[i], 0)
				l.Enter(uids[i], 0)
			}
		})
	}
}
