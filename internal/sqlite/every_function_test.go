package sqlite

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// hostilePairs returns pairs of arguments that may make a function slow: large,
// deeply nested, or such that much of one is tried for much of the other.
func hostilePairs() [][2]any {
	const mega = 256 << 10
	members := func(first int) string {
		var all strings.Builder
		for i := range mega / 10 {
			fmt.Fprintf(&all, `,"k%d":1`, first+i)
		}
		return "{" + all.String()[1:] + "}"
	}
	text, digits := times(mega, "a"), times(mega, "3")
	array, nested := "["+times(mega/2-1, "1,")+"1]", times(500, "[")+times(500, "]")
	return [][2]any{
		{text, text},
		{text, times(mega/2, "b") + "a"},
		{text, times(mega/2, "a") + "b"},
		{times(mega/2, "b") + "a", text},
		{text, times(8, "(") + "a*" + times(8, ")*") + "b"},
		{times(8, "(") + "a*" + times(8, ")*") + "b", text},
		{times(1000, "%1000d"), int64(math.MaxInt64)},
		{text, int64(math.MaxInt64)},
		{digits, times(mega, "7")},
		{digits, "0." + digits},
		{array, array},
		{array, times(mega/10, "$[#-1]")},
		{nested, "$" + times(500, "[0]")},
		{members(0), members(mega / 20)},
		{members(0), `$."k` + digits + `"`},
		{make([]byte, mega), make([]byte, mega/2)},
	}
}

// Each function that SQLite lists ends with its time, whichever large arguments
// it gets together.
func TestHostile_EveryFunctionEndsInTime(t *testing.T) {
	const most = 5 * time.Second // for a limit of 50 ms and the watchdog's grace: the machine may be busy
	needsWatchdog(t)
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	functions := run(t, s, "SELECT DISTINCT name, narg, type FROM pragma_function_list ORDER BY name, narg")
	require.Greater(t, len(functions), 100)
	over := map[string]string{"w": " OVER ()"} // of functions for windows
	called := 0
	call := func(query string, args ...any) {
		ends(t, query, func() {
			began := time.Now()
			err := runBriefly(s, query, args...)
			require.Less(t, time.Since(began), most, query)
			if err == nil || errors.Is(err, store.ErrLimit) {
				called++
			}
			if err != nil {
				require.Less(t, len(err.Error()), 500, "it quotes no whole argument: %s", query)
			}
		})
		require.NoError(t, s.Rollback())
		require.Equal(t, [][]any{{int64(0)}}, run(t, s, "SELECT count(*) FROM t"), query)
	}
	pairs := hostilePairs()
	for _, f := range functions {
		name, narg, kind := f[0].(string), int(f[1].(int64)), f[2].(string)
		counts := []int{narg}
		if narg < 0 {
			counts = []int{0, 1, 2, 3}
		}
		for _, count := range counts {
			list := strings.TrimSuffix(strings.Repeat("?1,?2,", count)[:3*count], ",")
			query := "SELECT length(\"" + name + "\"(" + list + ")" + over[kind] + ")"
			if count == 0 {
				call(query)
				continue
			}
			for _, pair := range pairs {
				call(query, pair[:min(count, 2)]...)
			}
		}
	}
	require.Greater(t, called, 1000)
}

func TestHostile_ErrorsQuoteNoWholeArgument(t *testing.T) {
	s, _ := newSQL(t)
	for _, path := range []string{"$" + times(1<<20, "a"), "$" + times(1<<19, "\u00e9")} {
		_, err := try(s, "SELECT json_extract('{}', ?)", path)
		require.ErrorContains(t, err, "bad JSON path")
		require.Less(t, len(err.Error()), 500)
		require.True(t, utf8.ValidString(err.Error()))
	}
	_, err := try(s, "SELECT "+times(50_000, "a"))
	require.ErrorContains(t, err, "no such column")
	require.Less(t, len(err.Error()), 500)
}
