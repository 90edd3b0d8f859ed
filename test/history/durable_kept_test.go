package history_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestDurable_DoesNotKeepItsOwnerInMemory(t *testing.T) {
	onDisk(t, telling(), func(t *testing.T, _ *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", "")
		ada.Send("m\na")
		require.Equal(t, "1 a", ada.message())
		pos := ada.pos
		ada.Close(1000, "")
		time.Sleep(30 * time.Minute)
		require.Empty(t, v.Loads())
		again := dial(t, v.Server, "ada", after(pos))
		require.Empty(t, again.hello.Gap)
		again.Send("m\nb")
		require.Equal(t, "2 b", again.message())
		restart(t, v)
	})
}

func TestDurable_DeletionEndsTheHistory(t *testing.T) {
	onDisk(t, telling(), func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		if v.Objects == nil {
			t.Skip("deleting a replica does not delete the history, which is its group's")
		}
		stub := v.Objects.Named("main")
		ada := dial(t, v.Server, "ada", "")
		ada.Send("m\nsecret")
		require.Equal(t, "1 secret", ada.message())
		// In a turn that sends before and after.
		deletes := func(_ context.Context, o *fixture.SocketObject) error {
			require.NoError(t, o.Broadcast("before"))
			require.NoError(t, o.Storage().DeleteAll())
			return o.Broadcast("after")
		}
		require.NoError(t, dog.CallErr(t.Context(), stub, (*fixture.SocketObject).Do, deletes))
		require.Equal(t, "before", ada.message())
		require.Equal(t, "after", ada.message())
		d.Crash()
		v = start()
		eve := dial(t, v.Server, "eve", "&after=")
		require.Equal(t, "before", eve.message(), "sent in the transaction that deleted what was there")
		require.Equal(t, "after", eve.message())
		ada = dial(t, v.Server, "ada", after(ada.pos))
		require.Equal(t, "epoch", ada.hello.Gap)

		require.NoError(t, v.Delete(t.Context()))
		eve = dial(t, v.Server, "eve", "&after=")
		synctest.Wait()
		require.Empty(t, eve.messages())
		restart(t, v)
		v = start()
		eve = dial(t, v.Server, "eve", "&after=")
		synctest.Wait()
		require.Empty(t, eve.messages())
		restart(t, v)
	})
}

// What is no longer kept is deleted, so that a history takes no more space for
// its age, also if its messages replace each other.
func TestDurable_TakesSpaceForWhatItKeeps(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		const count = 100
		engine := storetest.New()
		on := &fixture.OwnerHooks{
			History: dog.HistoryOptions{Count: count, Durable: true},
			Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
				return o.Broadcast(m, dog.Coalesce(m.String()))
			},
		}
		engine.Prompt()
		var v *fixture.Owners
		var ada *client
		start := func() {
			v = fixture.NewOwners(t, kind, dog.Options{Store: fixture.StoreOf(engine)}, on)
			ada = dial(t, v.Server, "ada", "")
		}
		start()
		pairs := func() (n int) {
			for _, err := range engine.Scan([]byte{0}, []byte{0xff}, false) {
				require.NoError(t, err)
				n++
			}
			return n
		}
		before := pairs()
		for i := range 3000 {
			ada.Send(fmt.Sprint("m\nkey ", i%10))
			require.NotEmpty(t, ada.message())
		}
		require.Less(t, pairs(), before+20, "10 keys, and those that the next transaction deletes")
		for range 30 {
			restart(t, v)
			start()
			ada.Send("m\nkey 1")
			require.NotEmpty(t, ada.message())
		}
		require.Less(t, pairs(), before+20, "also what was replaced before a restart")
		for i := range 3000 {
			ada.Send(fmt.Sprint("m\n", i))
			require.NotEmpty(t, ada.message())
		}
		require.Less(t, pairs(), before+count+300)
	})
}

// A type may begin and end to keep its messages durably.
func TestDurable_MayBeTurnedOnAndOff(t *testing.T) {
	on := telling()
	onDisk(t, on, func(t *testing.T, _ *dogtest.Disk, start func() *fixture.Owners) {
		var ada *client
		pos := ""
		for i := range 6 {
			on.History.Durable = i%3 == 1
			v := start()
			if ada == nil {
				ada = dial(t, v.Server, "ada", "&after=")
			} else {
				ada = dial(t, v.Server, "ada", after(pos))
				require.Empty(t, ada.hello.Gap)
			}
			ada.Send("m\na")
			require.Equal(t, fmt.Sprint(i+1, " a"), ada.message())
			eve := dial(t, v.Server, "eve", "&after=")
			synctest.Wait()
			require.Len(t, eve.messages(), i+1)
			pos = ada.pos
			restart(t, v)
		}
	})
}

func TestDurable_IsReadOverHTTPAfterACrash(t *testing.T) {
	onDisk(t, telling(), func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", "")
		ada.Send("m\na")
		require.Equal(t, "1 a", ada.message())
		d.Crash()
		v = start()
		srv := dogtest.Serve(t, v.History("ada"))
		resp, err := srv.Client().Get(dogtest.URL + "/")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, errors.Join(err, resp.Body.Close()))
		require.Equal(t, `["1 a"]`, string(body))
		restart(t, v)
	})
}
