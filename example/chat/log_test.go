package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
)

// fill writes lines with the numbers from first to last into the log.
func fill(t *testing.T, c *dogtest.Client, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		post(t, c, fmt.Sprint(n))
	}
}

// texts returns the texts of a part of the log, and checks that it is in order.
func texts(t *testing.T, h history) (all []string) {
	t.Helper()
	require.True(t, slices.IsSortedFunc(h.Lines, func(a, b Line) int { return int(a.ID - b.ID) }))
	for _, line := range h.Lines {
		all = append(all, line.Text)
	}
	return all
}

func TestLog_SendsNewestLinesAndOlderOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		ada, h := c.enter("ada")
		require.Empty(t, h.Lines)
		require.False(t, h.More)
		fill(t, ada, 1, 450)

		bob, h := c.enter("bob")
		require.True(t, h.More)
		require.Len(t, h.Lines, pageLines)
		require.Equal(t, "251", h.Lines[0].Text)
		require.Equal(t, "450", h.Lines[pageLines-1].Text)
		require.Equal(t, "ada", h.Lines[0].From)
		all := texts(t, h)
		for h.More {
			bob.Send(fmt.Sprintf(`{"type":"older","id":%d}`, h.Lines[0].ID))
			h = next[history](t, bob, "history")
			all = append(texts(t, h), all...)
		}
		require.Len(t, h.Lines, 50)
		require.Len(t, all, 450)
		for i, text := range all {
			require.Equal(t, fmt.Sprint(i+1), text)
		}
		bob.Send(`{"type":"older","id":1}`)
		require.Empty(t, next[history](t, bob, "history").Lines)

		ada.Send(message{Type: "msg", Meta: "group", Line: Line{Text: "not for the log", Key: "g"}})
		ada.Send(message{Type: "msg", Meta: "whisper", To: "bob", Line: Line{Text: "not for the log", Key: "w"}})
		_, h = c.enter("cyd")
		require.Equal(t, "450", h.Lines[pageLines-1].Text, "messages to a few people are not kept")
	})
}

// A page of the longest lines fits into the queue of a socket.
func TestLog_PageFitsTheLongestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		ada, _ := c.enter(strings.Repeat("%F0%9F%90%95", 32))
		longest := strings.Repeat("\x01", 1990)
		for n := range pageLines {
			post(t, ada, fmt.Sprint(n, longest)[:1990])
		}
		_, h := c.enter("bob")
		require.Len(t, h.Lines, pageLines)
	})
}

// A browser that does not know whether its message arrived sends it again.
func TestLog_StoresADuplicateMessageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		ada, _ := c.enter("ada")
		first := post(t, ada, "hello")
		time.Sleep(time.Minute)
		require.Equal(t, first, post(t, ada, "hello"))
		bob, h := c.enter("bob")
		require.Equal(t, []Line{first}, h.Lines)
		require.NotEqual(t, first.ID, post(t, bob, "hello").ID, "another sender's key is another key")
	})
}

// Lines of one moment are in order too, also when the clock is set back.
func TestLog_IDsIncrease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := open(t, disk.Memory()).log()
		future := time.Now().Add(time.Hour).UnixMilli()
		dogtest.Run(t, log, func(_ context.Context, l *Log) error {
			_, err := l.Storage().SQL().Exec(`INSERT INTO lines VALUES (?, 'ada', 'from the future', 'k')`, future)
			return err
		})
		for n := range int64(3) {
			id, err := dog.Call(t.Context(), log, (*Log).Append, Line{From: "ada", Text: "x", Key: fmt.Sprint(n)})
			require.NoError(t, err)
			require.Equal(t, future+1+n, id)
		}
	})
}

// age makes the lines of the log older.
func age(t *testing.T, c *chatRoom, by time.Duration) {
	t.Helper()
	require.NoError(t, dogtest.Run(t, c.log(), func(_ context.Context, l *Log) error {
		_, err := l.Storage().SQL().Exec("UPDATE lines SET id = id - ?", by.Milliseconds())
		return err
	}).Err)
}

func TestLog_DeletesOldLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		ada, _ := c.enter("ada")
		post(t, ada, "old")
		age(t, c, maxAge/2)
		post(t, ada, "young")
		ada.Close(1000, "")

		age(t, c, maxAge/2-90*time.Minute)
		time.Sleep(80 * time.Minute)
		ada, h := c.enter("ada")
		require.Equal(t, []string{"old", "young"}, texts(t, h))
		ada.Close(1000, "")
		time.Sleep(80 * time.Minute)
		ada, h = c.enter("ada")
		require.Equal(t, []string{"young"}, texts(t, h))
		ada.Close(1000, "")
		age(t, c, maxAge)
		time.Sleep(80 * time.Minute)
		ada, h = c.enter("ada")
		require.Empty(t, h.Lines)

		post(t, ada, "after all lines were deleted")
		age(t, c, maxAge)
		time.Sleep(80 * time.Minute)
		_, h = c.enter("bob")
		require.Empty(t, h.Lines)
	})
}

func TestLog_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := open(t, disk.Memory()).log()
		first := time.Now().UnixMilli() - maxLines
		dogtest.Run(t, log, func(_ context.Context, l *Log) error {
			_, err := l.Storage().SQL().Exec(`INSERT INTO lines
				WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM n LIMIT ?)
				SELECT ? + n, 'ada', 'x', n FROM n`, maxLines, first)
			return err
		})
		last, err := dog.Call(t.Context(), log, (*Log).Append, Line{From: "ada", Text: "newest", Key: "k"})
		require.NoError(t, err)
		time.Sleep(2 * sweepEvery)
		h, err := dog.Call(t.Context(), log, (*Log).Before, first+3)
		require.NoError(t, err)
		require.Equal(t, []int64{first + 2}, []int64{h.Lines[0].ID}, "the oldest one is gone")
		h, err = dog.Call(t.Context(), log, (*Log).Before, last+1)
		require.NoError(t, err)
		require.Equal(t, "newest", h.Lines[pageLines-1].Text)
	})
}

func TestLog_SurvivesRestartAndCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		c := open(t, disk)
		ada, _ := c.enter("ada")
		post(t, ada, "before the restart")
		require.NoError(t, c.rt.Shutdown(t.Context()))
		code, _ := ada.Closed()
		require.Equal(t, 1001, code, "which browsers know as a restart")

		c = open(t, disk)
		ada, h := c.enter("ada")
		require.Equal(t, []string{"before the restart"}, texts(t, h))
		post(t, ada, "before the crash")
		disk.Crash()
		c = open(t, disk)
		_, h = c.enter("ada")
		require.Equal(t, []string{"before the restart", "before the crash"}, texts(t, h),
			"the lines that somebody has seen are there")
		age(t, c, maxAge)

		disk.Crash()
		c = open(t, disk)
		c.rt.Start() // as Serve does
		time.Sleep(80 * time.Minute)
		_, h = c.enter("ada")
		require.Empty(t, h.Lines, "the alarm has outlived the crash too")
	})
}
