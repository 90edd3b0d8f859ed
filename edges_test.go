package dog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

func TestTheErrorOfAnAlarmIsCutBetweenCharacters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := errors.New(strings.Repeat("é", 1000))
		for _, shift := range []string{"", "x"} { // one of them has a character where it is cut
			err := errors.New(shift + long.Error())
			d := newDormitory(t, dog.Options{}, newClockwork(func(context.Context, *sleeper, dog.Alarm) error { return err }))
			d.after("ada", time.Second)
			time.Sleep(2 * time.Second)
			alarm, set := d.alarm("ada", "")
			require.True(t, set)
			require.True(t, utf8.ValidString(alarm.Err))
			require.InDelta(t, 1024, len(alarm.Err), 1)
		}
	})
}
