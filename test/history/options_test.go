package history_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestHistory_InvalidOptionsAreRefused(t *testing.T) {
	var usage *dog.UsageError
	for _, o := range []dog.HistoryOptions{{Count: -1}, {Bytes: -1}, {Age: -1}} {
		rt, err := dog.New(dog.Options{})
		require.NoError(t, err)
		_, err = dog.RegisterObject(rt, "room", &dog.ObjectOptions[fixture.SocketObject]{History: o})
		require.ErrorAs(t, err, &usage)
		require.NoError(t, rt.Shutdown(t.Context()))
	}
	_, err := dog.New(dog.Options{Sockets: dog.SocketOptions{Slow: dog.CatchUp}})
	require.ErrorAs(t, err, &usage)
}

func TestCatchUp_NeedsAHistory(t *testing.T) {
	on := &fixture.OwnerHooks{SocketOptions: dog.SocketOptions{Slow: dog.CatchUp}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		_, resp, err := v.Server.TryDial("/?u=ada", plainDial)
		require.Error(t, err)
		require.Equal(t, 500, resp.StatusCode)
	})
	on.History = kept
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		v.Server.Dial("/?u=ada")
	})
}

// Handlers see from where on their sockets get messages.
func TestResume_IsKnownInHandlers(t *testing.T) {
	var got []dog.Resume
	on := &fixture.OwnerHooks{
		History: dog.HistoryOptions{Count: 2},
		Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
			got = append(got, s.Resume())
			return nil
		},
	}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		got = nil
		dial := func(t *testing.T, srv *dogtest.Server, uid, query string) *client {
			c := dial(t, srv, uid, query)
			synctest.Wait() // for OnOpen
			return c
		}
		ada := dial(t, v.Server, "ada", "")
		start := dog.Position(ada.pos)
		for _, text := range numbered(1, 3) {
			require.NoError(t, v.Broadcast(t.Context(), text))
			require.Equal(t, text, ada.message())
		}
		oldest := dial(t, v.Server, "ada", "&after=").hello.Pos
		dial(t, v.Server, "ada", after(ada.pos))
		dial(t, v.Server, "ada", after(string(start)))
		dial(t, v.Server, "ada", after("aaaaaaaaaaaa-a5"))
		dial(t, v.Server, "ada", after(ada.pos[:13]+"a9"))
		v.Server.Dial("/?u=ada")
		synctest.Wait()
		require.Equal(t, []dog.Resume{
			{From: start, Gap: dog.GapFirst},
			{From: dog.Position(oldest), Gap: dog.GapFirst},
			{Asked: dog.Position(ada.pos), From: dog.Position(ada.pos)},
			{Asked: start, From: dog.Position(oldest), Gap: dog.GapExpired},
			{Asked: "aaaaaaaaaaaa-a5", From: dog.Position(oldest), Gap: dog.GapEpoch},
			{Asked: dog.Position(ada.pos[:13] + "a9"), From: dog.Position(oldest), Gap: dog.GapAhead},
			{Gap: dog.GapFirst},
		}, got)
	})
}

// Messages that leave out or are for somebody are kept for those whom they
// concern, and of a key only the newest.
func TestHistory_KeepsTheAudience(t *testing.T) {
	on := &fixture.OwnerHooks{
		History: kept,
		Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			if err := s.Broadcast("not for " + s.UID() + "'s client"); err != nil {
				return err
			}
			if err := o.Broadcast("not for bob", dog.ExceptUID("bob")); err != nil {
				return err
			}
			if _, err := s.Whisper(ctx, "bob", "for bob"); err != nil {
				return err
			}
			for _, text := range []string{"cursor 1", "cursor 2", "cursor 3"} {
				if err := o.Broadcast(text, dog.Coalesce("cursor")); err != nil {
					return err
				}
			}
			return o.Broadcast("transient", dog.Transient)
		},
	}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		ada := dial(t, v.Server, "ada", session)
		start := after(ada.pos)
		ada.Send("m\ngo")
		synctest.Wait()
		require.Equal(t, []string{"not for bob", "cursor 1", "cursor 2", "cursor 3", "transient"}, ada.messages())
		for _, c := range []struct {
			uid, query string
			want       []string
		}{
			{"ada", session + start, []string{"not for bob", "cursor 3"}},
			{"ada", "&session=another-device" + start, []string{"not for ada's client", "not for bob", "cursor 3"}},
			{"bob", start, []string{"not for ada's client", "for bob", "cursor 3"}},
			{"eve", start, []string{"not for ada's client", "not for bob", "cursor 3"}},
		} {
			client := dial(t, v.Server, c.uid, c.query)
			require.Empty(t, client.hello.Gap)
			synctest.Wait()
			require.Equal(t, c.want, client.messages(), "%s %s", c.uid, c.query)
		}
	})
}
