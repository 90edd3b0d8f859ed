package history_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/history"
)

// Who is not concerned by what is gone has missed nothing, also after the log
// was stored and restored.
func TestLog_ForgottenMessagesAreMissedByThoseWhomTheyConcern(t *testing.T) {
	config := history.Config{Count: 1, Bytes: 1 << 20, Age: 1 << 40}
	own := history.Audience{ExceptSession: "ada-1"}
	ada, bob := history.Reader{UID: "ada", Session: "ada-1"}, history.Reader{UID: "bob", Session: "bob-1"}
	l := history.New(config)
	steps := []struct {
		to       history.Audience
		ada, bob uint64 // the newest message that each has missed
	}{
		{history.Audience{}, 1, 1},
		{own, 1, 2},
		{own, 1, 3},
		{history.Audience{Only: "bob"}, 1, 4},
		{history.Audience{Only: "eve"}, 1, 4},
		{own, 1, 6},
		{history.Audience{ExceptSession: "bob-1"}, 7, 6},
		{history.Audience{ExceptSession: "bob-1"}, 8, 6},
		{own, 8, 9},
		{history.Audience{}, 10, 10},
		{history.Audience{Only: "ada"}, 11, 10},
	}
	for i, step := range steps {
		l.Append(1, []byte("x"), "", step.to, 0)
		l.Append(1, []byte("y"), "key", history.Audience{Only: "nobody"}, 0)
		offset := uint64(2 * (i + 1)) // two for each step, the second of which is the one that is kept
		require.Equal(t, offset, l.Last())
		for _, missed := range []struct {
			reader history.Reader
			newest uint64
		}{{ada, 2*step.ada - 1}, {bob, 2*step.bob - 1}} {
			require.True(t, l.Missed(missed.newest-1, missed.reader), "step %d, %s", i+1, missed.reader.UID)
			require.False(t, l.Missed(missed.newest, missed.reader), "step %d, %s", i+1, missed.reader.UID)
			_, gap := l.Next(missed.newest, offset, 1, missed.reader)
			require.False(t, gap)
		}
		gone, removed := l.Gone()
		stored, err := json.Marshal(removed)
		require.NoError(t, err)
		var restored *history.Removed
		require.NoError(t, json.Unmarshal(stored, &restored))
		l = history.Restore(config, gone, l.Last(), restored, l.Entries(), 0)
	}
}

// A log remembers a bounded number of uids. Beyond it, a client may get a gap
// although it missed nothing, but no gap is left out.
func TestLog_ForgetsWhomWhispersWereFor(t *testing.T) {
	l := history.New(history.Config{Count: 1, Bytes: 1 << 20, Age: 1 << 40})
	for i := range 10_000 {
		l.Append(1, nil, "", history.Audience{Only: fmt.Sprint(i)}, 0)
	}
	_, removed := l.Gone()
	require.LessOrEqual(t, len(removed.Only), 256)
	for i := range 9_999 {
		require.True(t, l.Missed(uint64(i), history.Reader{UID: fmt.Sprint(i)}))
	}
	require.False(t, l.Missed(9_999, history.Reader{UID: "9999"}))
}
