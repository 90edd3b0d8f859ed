package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// tell sends a text to all sockets, and returns what a client receives then.
func tell(t *testing.T, v *fixture.Owners, c *client, text string) string {
	t.Helper()
	require.NoError(t, v.Broadcast(t.Context(), text))
	return c.message()
}

// A directory was copied while it was in use, as by a snapshot of the volume,
// and processes go on with both. A client that got messages from one gets a gap
// from the other, even when that has as many messages, and none if it got only
// messages that both have.
func TestDurable_CopyThatWasInUseIsAnotherHistory(t *testing.T) {
	for _, stops := range []bool{false, true} {
		t.Run(fmt.Sprintf("the original stops: %v", stops), func(t *testing.T) {
			forEachKind(t, func(t *testing.T, kind string) { goOnWithBoth(t, kind, stops) })
		})
	}
}

func goOnWithBoth(t *testing.T, kind string, stops bool) {
	on := &fixture.OwnerHooks{History: durable}
	original, copied := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
	start := func(dir string) *fixture.Owners {
		return fixture.NewOwners(t, kind, dog.Options{Store: disk.At(dir)}, on)
	}
	v := start(original)
	ada := dial(t, v.Server, "ada", "")
	for _, text := range numbered(1, 5) {
		require.Equal(t, text, tell(t, v, ada, text))
	}
	both := ada.pos
	synctest.Wait()
	require.NoError(t, os.CopyFS(copied, os.DirFS(original)))
	if stops {
		restart(t, v)
		v = start(original)
		ada = dial(t, v.Server, "ada", after(both))
		require.Empty(t, ada.hello.Gap)
		require.Equal(t, "6 of the original", tell(t, v, ada, "6 of the original"))
	}
	require.Equal(t, "next of the original", tell(t, v, ada, "next of the original"))

	w := start(copied)
	eve := dial(t, w.Server, "eve", after(both))
	require.Empty(t, eve.hello.Gap, "nothing is missing yet")
	told := eve.hello.Pos
	for _, text := range numbered(6, 10) {
		require.Equal(t, text, tell(t, w, eve, text))
	}
	adaThere := dial(t, w.Server, "ada", after(ada.pos))
	require.Equal(t, "epoch", adaThere.hello.Gap, "it knows messages that the copy has not")
	for _, text := range numbered(1, 10) {
		require.Equal(t, text, adaThere.message())
	}
	bob := dial(t, w.Server, "bob", after(both))
	require.Empty(t, bob.hello.Gap, "it knows only what the copy has")
	require.Equal(t, "6", bob.message())

	for _, text := range numbered(100, 120) {
		require.Equal(t, text, tell(t, v, ada, text))
	}
	synctest.Wait()
	for range 2 {
		back := dial(t, v.Server, "eve", after(eve.pos))
		require.Equal(t, "epoch", back.hello.Gap, "it knows messages that the original has not")
		restart(t, v)
		v = start(original)
	}
	if stops {
		back := dial(t, v.Server, "eve", after(told))
		require.Empty(t, back.hello.Gap, "it got no message that the original does not have")
		require.Equal(t, "6 of the original", back.message())
	}
	restart(t, v)
	restart(t, w)
}

// Each process has its own epoch, which is stored only with its first message.
// No crash is a gap, whether or not a process has sent anything.
func TestDurable_CrashBeforeTheFirstMessageOfAProcessIsNoGap(t *testing.T) {
	onDisk(t, telling(), func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", "")
		require.Equal(t, "1", tell(t, v, ada, "1"))
		positions := []string{ada.pos} // after each message
		said := 1
		for round := range 12 {
			if round%3 == 2 {
				restart(t, v)
			} else {
				d.Crash()
			}
			v = start()
			synctest.Wait()
			changes := d.Changes()
			for n, pos := range positions {
				c := dial(t, v.Server, "ada", after(pos))
				require.Empty(t, c.hello.Gap, "round %d, the position after %d", round, n+1)
				synctest.Wait()
				require.Equal(t, numbered(n+2, said), c.messages())
				positions[n] = c.hello.Pos
				c.Vanish()
			}
			synctest.Wait()
			require.Equal(t, changes, d.Changes(), "nothing is written for those who send nothing")
			if round%4 == 3 {
				said++
				ada = dial(t, v.Server, "ada", "")
				require.Equal(t, fmt.Sprint(said), tell(t, v, ada, fmt.Sprint(said)))
				positions = append(positions, ada.pos)
			}
		}
		restart(t, v)
	})
}

// An object that leaves memory and comes back goes on with its epoch.
func TestDurable_EpochIsThatOfTheProcess(t *testing.T) {
	onDisk(t, telling(), func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", "")
		require.Equal(t, "1", tell(t, v, ada, "1"))
		first := ada.pos[:12]
		d.Crash()
		v = start()
		var epochs []string
		for n := 2; n < 5; n++ {
			ada = dial(t, v.Server, "ada", after(ada.pos))
			require.Empty(t, ada.hello.Gap)
			require.Equal(t, fmt.Sprint(n), tell(t, v, ada, fmt.Sprint(n)))
			epochs = append(epochs, ada.pos[:12])
			ada.Close(1000, "")
			time.Sleep(30 * time.Minute)
			require.Empty(t, v.Loads())
		}
		require.NotEqual(t, first, epochs[0])
		require.Equal(t, []string{epochs[0], epochs[0], epochs[0]}, epochs)
		restart(t, v)
	})
}
