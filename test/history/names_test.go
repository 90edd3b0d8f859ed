package history_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// A message to a uid that cannot exist is refused: kept, it would be a message
// to everybody.
func TestHistory_MessageNeedsAValidUID(t *testing.T) {
	bad := []string{"", strings.Repeat("x", 2000), "\xff"}
	on := &fixture.OwnerHooks{
		History: dog.HistoryOptions{Count: 10},
		Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, _ dog.Message) error {
			for _, uid := range bad {
				_, err := fixture.Whisper(ctx, o, uid, "secret")
				require.ErrorIs(t, err, dog.ErrInvalidName)
				_, err = s.Whisper(ctx, uid, "secret")
				require.ErrorIs(t, err, dog.ErrInvalidName)
				_, err = fixture.Disconnect(ctx, o, uid, 1000, "")
				require.ErrorIs(t, err, dog.ErrInvalidName)
			}
			return s.Send("refused")
		},
	}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		ada := dial(t, v.Server, "ada", "")
		ada.Send("m\ngo")
		require.Equal(t, "refused", ada.message())
		synctest.Wait()
		page, err := v.History("eve").Read("", 0)
		require.NoError(t, err)
		require.Empty(t, page.Messages)
	})
}

func TestHistory_MessageFromOutsideNeedsAValidUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := dog.GroupOptions[fixture.Lobby]{Limit: 1, History: dog.HistoryOptions{Count: 10}}
		w := fixture.NewRoomsWith(t, dog.Options{}, group, &fixture.Hooks{}).Group
		for _, uid := range []string{"", strings.Repeat("x", 2000), "\xff"} {
			_, err := w.Whisper(t.Context(), uid, "secret")
			require.ErrorIs(t, err, dog.ErrInvalidName)
			_, err = w.Disconnect(t.Context(), uid, 1000, "")
			require.ErrorIs(t, err, dog.ErrInvalidName)
		}
	})
}
