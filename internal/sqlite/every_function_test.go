package sqlite

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
)

// Each function that SQLite lists ends with its time, whatever large arguments
// it gets.
func TestHostile_EveryFunctionEndsInTime(t *testing.T) {
	needsWatchdog(t)
	const mega = 256 << 10
	s, _ := newSQL(t)
	run(t, s, "CREATE TABLE t (a)")
	require.NoError(t, s.Commit())
	functions := run(t, s, "SELECT DISTINCT name, narg, type FROM pragma_function_list ORDER BY name, narg")
	require.Greater(t, len(functions), 100)
	values := map[string]any{
		"text":   times(mega, "a"),
		"digits": times(mega, "3"),
		"array":  "[" + times(mega/2-1, "1,") + "1]",
		"nested": times(500, "[") + times(500, "]"),
	}
	over := map[string]string{"w": " OVER ()"} // of functions for windows
	called := 0
	for _, f := range functions {
		name, narg, kind := f[0].(string), int(f[1].(int64)), f[2].(string)
		counts := []int{narg}
		if narg < 0 {
			counts = []int{0, 1, 2, 3}
		}
		for _, count := range counts {
			for value, arg := range values {
				if count == 0 && value != "text" {
					continue
				}
				list := strings.TrimSuffix(strings.Repeat("?1,", count), ",")
				query := "SELECT length(\"" + name + "\"(" + list + ")" + over[kind] + ")"
				var args []any
				if count > 0 {
					args = []any{arg}
				}
				ends(t, query, func() {
					err := runBriefly(s, query, args...)
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
		}
	}
	require.Greater(t, called, 200)
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
