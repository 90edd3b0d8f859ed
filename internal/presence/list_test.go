package presence_test

import (
	"fmt"
	"runtime"
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

// One of many members loses its connection and comes back. The memory of a
// member is that of its record and of its uid.
func BenchmarkList_EnterAndExit(b *testing.B) {
	for _, members := range []int{1, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint("members=", members), func(b *testing.B) {
			before := heap()
			l, uids := newListOf(members)
			each := (heap() - before) / float64(members)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7_368_787) % members
				l.Exit(uids[i], 0)
				l.Enter(uids[i], 0)
			}
			b.ReportMetric(each, "heap-B/member")
		})
	}
}

// A page in the middle of 10,000 members.
func BenchmarkList_Page(b *testing.B) {
	l, _ := newListOf(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if len(l.Page("user-5000", 1000, 0)) != 1000 {
			b.Fatal("the page is not full")
		}
	}
}

func newListOf(members int) (l *presence.List, uids []string) {
	l, uids = presence.New(presence.Config{Grace: time.Second, Every: time.Second}), make([]string, members)
	for i := range uids {
		uids[i] = fmt.Sprint("user-", i)
		l.Enter(uids[i], 0)
	}
	return l, uids
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
