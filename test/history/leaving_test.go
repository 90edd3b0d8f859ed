package history_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A plain client that closes while it is behind gets what was sent before, and
// then the close frame.
func TestLeaving_PlainClientGetsTheRest(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 64 << 20}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		plain := v.Server.DialWith("/?u=bob", dogtest.DialOptions{OnDemand: true})
		for _, text := range padded(1, 3000) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		synctest.Wait()
		plain.SendRaw([]byte{0x88, 0x82, 0, 0, 0, 0, 3, 232})
		time.Sleep(time.Second)
		for _, want := range padded(1, 3000) {
			requireText(t, want, plain.Receive().String())
		}
		code, _ := plain.Closed()
		require.Equal(t, 1000, code)
	})
}

// A client that closes while it is behind, and is outrun then, gets its close
// frame.
func TestLeaving_PlainClientIsOutrun(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 1 << 20}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		plain := v.Server.DialWith("/?u=bob", dogtest.DialOptions{OnDemand: true})
		for _, text := range padded(1, 900) { // less than is kept
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		synctest.Wait()
		plain.SendRaw([]byte{0x88, 0x82, 0, 0, 0, 0, 3, 232})
		synctest.Wait()
		for _, text := range padded(1, 3000) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		for {
			if code, _ := plain.Closed(); code != 0 {
				require.Equal(t, 1000, code)
				break
			}
		}
	})
}
