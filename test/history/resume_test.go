package history_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

var kept = dog.HistoryOptions{Count: 100}

func TestResume_SendsWhatTheClientMissed(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		say := func(texts ...string) {
			for _, text := range texts {
				require.NoError(t, v.Broadcast(t.Context(), text))
			}
		}
		ada := dial(t, v.Server, "ada", "")
		require.Equal(t, "first", ada.hello.Gap)
		say(numbered(1, 5)...)
		synctest.Wait()
		require.Equal(t, numbered(1, 5), ada.messages())
		ada.Vanish()
		say(numbered(6, 50)...)
		synctest.Wait()

		again := dial(t, v.Server, "ada", after(ada.pos))
		require.Empty(t, again.hello.Gap)
		require.Equal(t, ada.pos, again.hello.Pos)
		say(numbered(51, 60)...)
		synctest.Wait()
		require.Equal(t, numbered(6, 60), again.messages())

		all := dial(t, v.Server, "eve", "&after=")
		require.Equal(t, "first", all.hello.Gap)
		synctest.Wait()
		require.Equal(t, numbered(1, 60), all.messages())

		latest := dial(t, v.Server, "bob", "")
		require.Equal(t, again.pos, latest.hello.Pos)
		say("61")
		synctest.Wait()
		require.Equal(t, []string{"61"}, latest.messages())
		require.Equal(t, []string{"61"}, again.messages())
	})
}

func TestResume_ReportsAGap(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Count: 10, Age: time.Minute}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		ada := dial(t, v.Server, "ada", "")
		for _, text := range numbered(1, 30) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		synctest.Wait()
		require.Equal(t, numbered(1, 30), ada.messages())

		expired := dial(t, v.Server, "eve", after(ada.hello.Pos))
		require.Equal(t, "expired", expired.hello.Gap)
		synctest.Wait()
		require.Equal(t, numbered(21, 30), expired.messages())

		foreign := dial(t, v.Server, "eve", after("aaaaaaaaaaaa-a5"))
		require.Equal(t, "epoch", foreign.hello.Gap)
		synctest.Wait()
		require.Equal(t, numbered(21, 30), foreign.messages())

		ahead := dial(t, v.Server, "eve", after(ada.pos[:13]+"c999"))
		require.Equal(t, "ahead", ahead.hello.Gap)

		time.Sleep(3 * time.Minute) // all messages are too old
		synctest.Wait()
		quiet := dial(t, v.Server, "ada", after(ada.pos))
		require.Empty(t, quiet.hello.Gap, "nothing was missed")
	})
}

func TestResume_IsForPlainClientsAsWithoutAHistory(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		require.NoError(t, v.Broadcast(t.Context(), "before"))
		plain := v.Server.Dial("/?u=ada&after=")
		speaks := dial(t, v.Server, "ada", "")
		require.NoError(t, v.Broadcast(t.Context(), []byte("bytes")))
		m := plain.Receive()
		require.Equal(t, dog.Message{Type: dog.Binary, Data: []byte("bytes")}, m)
		require.Equal(t, "bytes", speaks.message())
	})
}

// Messages that are too old are not sent, also if nothing has removed them.
func TestResume_OldMessagesAreNotSent(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Age: time.Minute}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		v.Server.Dial("/?u=bob")
		require.NoError(t, v.Broadcast(t.Context(), "old"))
		time.Sleep(61*time.Second + 500*time.Millisecond)
		eve := dial(t, v.Server, "eve", "&after=")
		synctest.Wait()
		require.Empty(t, eve.messages())
	})
}

// What OnOpen sends comes between what was kept and what follows, so a snapshot
// of an object is exact.
func TestResume_OnOpenSendsBehindWhatWasKept(t *testing.T) {
	on := &fixture.OwnerHooks{
		History: dog.HistoryOptions{Bytes: 64 << 20},
		Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
			return s.Send("snapshot")
		},
	}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		for _, text := range padded(1, 600) {
			require.NoError(t, v.Broadcast(t.Context(), text))
		}
		ada := dial(t, v.Server, "ada", after("aaaaaaaaaaaa-a5"))
		require.Equal(t, "epoch", ada.hello.Gap)
		synctest.Wait()
		require.NoError(t, v.Broadcast(t.Context(), "next"))
		for _, want := range append(padded(1, 600), "snapshot", "next") {
			requireText(t, want, ada.message())
		}
	})
}
