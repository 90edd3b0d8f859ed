package sparselog_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/sparselog"
)

func TestLog_WarnsOnceAMinuteForEachSubjectAndMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		to := slog.New(slog.NewTextHandler(&out, nil))
		var log sparselog.Log
		warn := func() (lines int) {
			before := out.Len()
			log.Warn(to, "room", "full", nil)
			log.Warn(to, "room", "locked", errors.New("by ada"))
			log.Warn(to, "hall", "full", nil)
			return strings.Count(out.String()[before:], "\n")
		}
		require.Equal(t, 3, warn())
		require.Equal(t, 1, strings.Count(out.String(), "error="))
		require.Contains(t, out.String(), `msg=locked error="by ada"`)
		time.Sleep(time.Minute - 1)
		require.Zero(t, warn())
		time.Sleep(time.Nanosecond)
		require.Equal(t, 3, warn())
		require.Zero(t, warn())
	})
}
