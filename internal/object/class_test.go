package object

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// The function of a tour may look up other objects, and an object that leaves
// memory during the tour is counted once.
func TestTour_CountsWithoutTheMutexOfTheClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := add(newHost(t, Config{}), nil)
		const objects = 3
		for i := range objects {
			require.NoError(t, run(t.Context(), c.named(fmt.Sprint(i)), nothing))
		}
		for tour := range uint64(objects + 1) {
			seen := 0
			turns := c.Tour(tour+1, func(o *Object) {
				if seen++; seen > 1 {
					return
				}
				for _, other := range c.Live() {
					if other != o || len(c.Live()) == 1 { // rather one that is visited later
						ended, retired := other.Retire()
						require.True(t, retired)
						c.host.sweeper.drop(other)
						ended.Over()
						break
					}
				}
			})
			require.EqualValues(t, objects, turns.Events)
		}
		require.Empty(t, c.Live())
	})
}

func TestID_IsTheHashOfOriginAndName(t *testing.T) {
	for _, origin := range []string{"", "room", strings.Repeat("o", 300)} {
		for _, name := range []string{"", "a", "1:2", strings.Repeat("n", 1000)} {
			within := RandomID(origin)
			base := sha256.Sum256(fmt.Appendf(nil, "dog object %d:%s%s%s", len(origin), origin, within[:], name))
			rest := sha256.Sum256(fmt.Appendf(nil, "dog id %d:%s%s", len(origin), origin, base[:24]))
			require.Equal(t, ID(append(base[:24:24], rest[:8]...)), NamedID(origin, within, name))
		}
	}
}
