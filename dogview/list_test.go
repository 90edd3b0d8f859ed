package dogview

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// Clock is an object with alarms.
type Clock struct{ dog.Object }

func (c *Clock) OnAlarm(context.Context, dog.Alarm) error { return nil }

func (c *Clock) Wind(_ context.Context, alarms int) error {
	for i := range alarms {
		if err := c.Storage().Alarms().SetNamed(fmt.Sprint(i), time.Now().Add(time.Hour), nil); err != nil {
			return err
		}
	}
	return nil
}

// However many alarms of an object have not failed, a request looks at them for
// no longer than it may.
func TestFailedAlarms_EndsWithItsContextAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})
		clocks, err := dog.RegisterObject[Clock](rt, "clock", nil)
		require.NoError(t, err)
		clock := clocks.Named("a")
		require.NoError(t, dog.CallErr(t.Context(), clock, (*Clock).Wind, 5))
		view, err := New(rt, Options{})
		require.NoError(t, err)
		ns, err := view.namespace("clock")
		require.NoError(t, err)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		looks := 0
		for next := "0"; next != ""; looks++ {
			var failed []dog.Alarm
			failed, next, err = ns.FailedAlarms(over, clock.ID(), next, 1)
			require.NoError(t, err)
			require.Empty(t, failed)
		}
		require.Equal(t, 6, looks)
	})
}
