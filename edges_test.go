package dog_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

func TestTheErrorOfAnAlarmIsCutBetweenCharacters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		long := errors.New(strings.Repeat("é", 1000))
		for _, shift := range []string{"", "x"} { // one of them has a character where it is cut
			err := errors.New(shift + long.Error())
			d := newDormitory(t, dog.Options{}, newClockwork(func(context.Context, *sleeper, dog.AlarmInfo) error { return err }))
			d.after("ada", time.Second)
			time.Sleep(2 * time.Second)
			alarm, set := d.alarm("ada", "")
			require.True(t, set)
			require.True(t, utf8.ValidString(alarm.Err))
			require.InDelta(t, 1024, len(alarm.Err), 1)
		}
	})
}

func TestAQuestionToAShardThatEndsItsGoroutineIsNoAnswer(t *testing.T) {
	_, shards := newDepots(t, 3)
	results, err := dog.QueryShards(t.Context(), shards, dog.ShardQuery{},
		func(_ context.Context, shard dog.Stub[depot]) (string, error) {
			if shard.Name() == "depot/1" {
				runtime.Goexit()
			}
			return shard.Name(), nil
		})
	require.NoError(t, err)
	require.Len(t, results, 3)
	require.ErrorAs(t, results[1].Err, new(*dog.PanicError))
	require.Error(t, dog.ShardErrors(results))
	for _, i := range []int{0, 2} {
		require.NoError(t, results[i].Err)
		require.NotEmpty(t, results[i].Value)
	}
}
