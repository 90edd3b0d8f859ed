package history_test

import (
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

// restart shuts the runtime of owners down.
func restart(t *testing.T, v *fixture.Owners) {
	t.Helper()
	synctest.Wait()
	require.NoError(t, v.Runtime.Shutdown(t.Context()))
}

func TestHistory_PlannedRestartLosesNothing(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d, on := dogtest.NewDisk(t), &fixture.OwnerHooks{History: dog.HistoryOptions{Count: 1000}}
		start := func() *fixture.Owners { return fixture.NewOwners(t, kind, dog.Options{Store: d}, on) }
		say := func(v *fixture.Owners, texts ...string) {
			for _, text := range texts {
				require.NoError(t, v.Broadcast(t.Context(), text))
			}
		}
		v := start()
		ada := dial(t, v.Server, "ada", "")
		eve := dial(t, v.Server, "eve", "")
		say(v, numbered(1, 10)...)
		synctest.Wait()
		require.Equal(t, numbered(1, 10), ada.messages())
		ada.Vanish()
		say(v, numbered(11, 20)...)
		restart(t, v)
		v = start()
		say(v, numbered(21, 30)...) // nobody has connected yet
		again := dial(t, v.Server, "ada", after(ada.pos))
		require.Empty(t, again.hello.Gap)
		say(v, numbered(31, 40)...)
		synctest.Wait()
		require.Equal(t, numbered(11, 40), again.messages())
		restart(t, v)

		v = start() // eve has been away for two restarts
		eve = dial(t, v.Server, "eve", after(eve.hello.Pos))
		require.Empty(t, eve.hello.Gap)
		synctest.Wait()
		require.Equal(t, numbered(1, 40), eve.messages())

		d.Crash()
		v = start()
		lost := dial(t, v.Server, "ada", after(eve.pos))
		require.Equal(t, "epoch", lost.hello.Gap, "a crash is a gap")
		lost = dial(t, v.Server, "ada", after(ada.pos))
		require.Equal(t, "epoch", lost.hello.Gap, "also for those who were away")
		restart(t, v)
	})
}

// A client that has received messages which a restored backup does not have
// gets a gap, although the history goes on from the same place.
func TestHistory_RestoredBackupIsAnother(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		on := &fixture.OwnerHooks{History: dog.HistoryOptions{Count: 1000}}
		original, backup := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
		start := func(dir string) *fixture.Owners {
			return fixture.NewOwners(t, kind, dog.Options{Store: disk.At(dir)}, on)
		}
		v := start(original)
		ada := dial(t, v.Server, "ada", "")
		require.NoError(t, v.Broadcast(t.Context(), "first"))
		require.Equal(t, "first", ada.message())
		restart(t, v)
		require.NoError(t, os.CopyFS(backup, os.DirFS(original)))

		v = start(original)
		before := ada.pos
		ada = dial(t, v.Server, "ada", after(before))
		require.Empty(t, ada.hello.Gap)
		require.NoError(t, v.Broadcast(t.Context(), "second"))
		require.Equal(t, "second", ada.message())
		restart(t, v)

		v = start(backup)
		require.NoError(t, v.Broadcast(t.Context(), "another second"))
		ada = dial(t, v.Server, "ada", after(ada.pos))
		require.Equal(t, "epoch", ada.hello.Gap, "it has what the backup has not")
		eve := dial(t, v.Server, "eve", after(before))
		require.Empty(t, eve.hello.Gap, "it has only what the backup has")
		require.Equal(t, "another second", eve.message())
		restart(t, v)
	})
}

// Shutdown tells the clients that speak dog.v1 when to come back, also those
// that are behind.
func TestHistory_RestartTellsClientsWhenToComeBack(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 64 << 20}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		slow := dialWith(t, v.Server, "/?u=eve", dogtest.DialOptions{OnDemand: true})
		for _, text := range padded(1, 1000) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		synctest.Wait()
		ada, plain := dial(t, v.Server, "ada", ""), v.Enter("bob")
		ended := make(chan error)
		go func() { ended <- v.Runtime.Shutdown(t.Context()) }()
		for _, c := range []*client{ada, slow} {
			kind, rest := c.frame()
			for kind == "m" {
				kind, rest = c.frame()
			}
			require.Equal(t, "b", kind)
			require.JSONEq(t, `{"in":[0,500]}`, rest)
			code, _ := c.Closed()
			require.Equal(t, 1001, code)
		}
		require.Empty(t, plain.Received())
		code, _ := plain.Closed()
		require.Equal(t, 1001, code)
		require.NoError(t, <-ended)
	})
}

func TestHistory_ObjectStaysInMemoryWhileItKeepsMessages(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Age: 10 * time.Minute}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		ada := dial(t, v.Server, "ada", "")
		require.NoError(t, v.Broadcast(t.Context(), "before"))
		require.Equal(t, "before", ada.message())
		ada.Vanish()
		require.NoError(t, v.Broadcast(t.Context(), "meanwhile"))
		time.Sleep(9 * time.Minute)
		again := dial(t, v.Server, "ada", after(ada.pos))
		require.Empty(t, again.hello.Gap)
		require.Equal(t, "meanwhile", again.message())
		again.Vanish()
		time.Sleep(30 * time.Minute)
		require.Empty(t, v.Loads(), "nothing is kept any more")
		late := dial(t, v.Server, "ada", after(again.pos))
		require.Equal(t, "epoch", late.hello.Gap)
	})
}

// Nothing was kept for as long as messages are kept. A planned restart is no
// gap for those who have everything.
func TestHistory_RestartIsNoGapAfterAQuietTime(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d, on := dogtest.NewDisk(t), &fixture.OwnerHooks{History: dog.HistoryOptions{Age: time.Minute}}
		start := func() *fixture.Owners { return fixture.NewOwners(t, kind, dog.Options{Store: d}, on) }
		v := start()
		ada := dial(t, v.Server, "ada", "")
		require.NoError(t, v.Broadcast(t.Context(), "1"))
		require.Equal(t, "1", ada.message())
		time.Sleep(time.Hour)
		restart(t, v)
		for range 3 {
			v = start()
			ada = dial(t, v.Server, "ada", after(ada.pos))
			require.Empty(t, ada.hello.Gap)
			restart(t, v)
		}
		v = start()
		require.NoError(t, v.Broadcast(t.Context(), "2"))
		ada = dial(t, v.Server, "ada", after(ada.pos))
		require.Empty(t, ada.hello.Gap)
		require.Equal(t, "2", ada.message())
		restart(t, v)
	})
}
