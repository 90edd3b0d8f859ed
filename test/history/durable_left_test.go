package history_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A goroutine that outlives its object cannot overwrite what the object that
// has taken its place keeps.
func TestDurable_ForgottenOwnerOverwritesNothing(t *testing.T) {
	var owners []fixture.Owner
	on := telling()
	on.Start = func(_ context.Context, o fixture.Owner) error {
		owners = append(owners, o)
		return nil
	}
	onDisk(t, on, func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		owners = nil
		v := start()
		ada := dial(t, v.Server, "ada", "")
		ada.Send("m\na")
		require.Equal(t, "1 a", ada.message())
		ada.Close(1000, "")
		time.Sleep(time.Hour)
		require.Empty(t, v.Loads())
		ada = dial(t, v.Server, "ada", after(ada.pos))
		require.Len(t, owners, 2)
		ada.Send("m\nb")
		require.Equal(t, "2 b", ada.message())
		require.Error(t, owners[0].Broadcast("of one that is forgotten"))
		d.Crash()
		v = start()
		eve := dial(t, v.Server, "eve", "&after=")
		synctest.Wait()
		require.Equal(t, []string{"1 a", "2 b"}, eve.messages())
		restart(t, v)
	})
}
