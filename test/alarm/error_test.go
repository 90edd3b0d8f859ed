package alarm_test

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
	"github.com/godurable/dog/test/internal/fixture"
)

func TestAlarm_ErrorIsCutBetweenCharacters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := errors.New(strings.Repeat("é", 1000))
		for _, shift := range []string{"", "x"} { // one of them has a character where it is cut
			err := errors.New(shift + long.Error())
			d := fixture.NewAlarmObjects(
				t, dog.Options{},
				fixture.NewAlarmHooks(func(context.Context, *fixture.AlarmObject, dog.Alarm) error { return err }),
			)
			d.SetAfter("ada", time.Second)
			time.Sleep(2 * time.Second)
			alarm, set := d.Alarm("ada", "")
			require.True(t, set)
			require.True(t, utf8.ValidString(alarm.Err))
			require.InDelta(t, 1024, len(alarm.Err), 1)
		}
	})
}
