package history_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// broadcast sends texts to all sockets.
func broadcast(t *testing.T, v *fixture.Owners, texts ...string) {
	t.Helper()
	for _, text := range texts {
		require.NoError(t, v.Broadcast(t.Context(), text))
	}
}

// texts returns the messages of a page.
func texts(page dog.HistoryPage) (all []string) {
	for _, m := range page.Messages {
		all = append(all, m.String())
	}
	return all
}

func TestHistory_ReadsPageByPage(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		h := v.History("ada")
		start, err := h.Position()
		require.NoError(t, err)
		page, err := h.Read(start, 0)
		require.NoError(t, err)
		require.Equal(t, dog.HistoryPage{Next: start}, page)

		broadcast(t, v, numbered(1, 5)...)
		require.NoError(t, v.Broadcast(t.Context(), []byte("bytes")))
		last, err := h.Position()
		require.NoError(t, err)
		require.Greater(t, last, start)

		page, err = h.Read("", 4)
		require.NoError(t, err)
		require.Equal(t, dog.GapFirst, page.Gap)
		require.Equal(t, numbered(1, 4), texts(page))
		require.True(t, page.More)
		require.Equal(t, page.Messages[3].Position, page.Next)
		page, err = h.Read(page.Next, 2)
		require.NoError(t, err)
		require.Empty(t, page.Gap)
		require.False(t, page.More)
		require.Equal(t, last, page.Next)
		require.Equal(t, dog.Message{Type: dog.Text, Data: []byte("5")}, page.Messages[0].Message)
		require.Equal(t, dog.Message{Type: dog.Binary, Data: []byte("bytes")}, page.Messages[1].Message)

		page.Messages[1].Data[0] = 'x' // it is the reader's
		page, err = h.Read(page.Messages[0].Position, 0)
		require.NoError(t, err)
		require.Equal(t, []string{"bytes"}, texts(page))

		_, err = h.Read("", -1)
		require.ErrorAs(t, err, new(*dog.UsageError))
	})
}

func TestHistory_ReadsMoreThanAPiece(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Bytes: 8 << 20}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		var want []string
		for i := range 300 {
			want = append(want, strings.Repeat(string(rune('a'+i%26)), 1000))
		}
		want = append(want, strings.Repeat("x", 200<<10))
		broadcast(t, v, want...)
		page, err := v.History("").Read("", 0)
		require.NoError(t, err)
		require.Equal(t, want, texts(page))
		require.False(t, page.More)
		page, err = v.History("").Read("", 200)
		require.NoError(t, err)
		require.Equal(t, want[:200], texts(page))
		require.True(t, page.More)
	})
}

func TestHistory_ReportsAGap(t *testing.T) {
	on := &fixture.OwnerHooks{History: dog.HistoryOptions{Count: 10, Age: time.Minute}}
	over(t, on, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		h := v.History("")
		start, err := h.Position()
		require.NoError(t, err)
		broadcast(t, v, numbered(1, 30)...)
		for after, want := range map[dog.Position]dog.GapReason{
			"": dog.GapFirst, start: dog.GapExpired, "aaaaaaaaaaaa-a5": dog.GapEpoch, "nonsense": dog.GapEpoch,
			start[:13] + "c999": dog.GapAhead,
		} {
			page, err := h.Read(after, 0)
			require.NoError(t, err)
			require.Equal(t, want, page.Gap, after)
			require.Equal(t, numbered(21, 30), texts(page))
		}
		last, err := h.Position()
		require.NoError(t, err)
		v.Enter("ada") // keeps the history in memory
		time.Sleep(90 * time.Second)
		page, err := h.Read(last, 0)
		require.NoError(t, err)
		require.Equal(t, dog.HistoryPage{Next: last}, page, "nothing was missed")
	})
}

func TestHistory_IsForOneUID(t *testing.T) {
	over(t, &fixture.OwnerHooks{
		History: kept,
		Open: func(ctx context.Context, o fixture.Owner, s *dog.Socket) error {
			for _, f := range []func() error{
				func() error { return o.Broadcast("all") },
				func() error { _, err := fixture.Whisper(ctx, o, "ada", "to ada"); return err },
				func() error { return o.Broadcast("not eve", dog.ExceptUID("eve")) },
			} {
				if err := f(); err != nil {
					return err
				}
			}
			return nil
		},
	}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		v.Enter("ada")
		srv := serveHistory(t, v, nil)
		for uid, want := range map[string][]string{
			"ada": {"all", "to ada", "not eve"}, "eve": {"all"}, "bob": {"all", "not eve"}, "": {"all", "not eve"},
		} {
			page, err := v.History(uid).Read("", 0)
			require.NoError(t, err)
			require.Equal(t, want, texts(page), uid)
			require.False(t, page.More)
			last, err := v.History(uid).Position()
			require.NoError(t, err)
			require.Equal(t, last, page.Next)
			page, err = v.History("").WithUID(uid).Read("", 1)
			require.NoError(t, err)
			require.Equal(t, want[:1], texts(page), uid)
			require.Equal(t, len(want) > 1, page.More, uid)
			_, body := get(t, srv, "/?u="+uid)
			require.JSONEq(t, `["`+strings.Join(want, `","`)+`"]`, body)
		}
		_, err := v.History("a\nb").Read("", 0)
		require.ErrorIs(t, err, dog.ErrInvalidName)
	})
}

func TestHistory_OfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newReadGroup(t, dog.Options{})
		replica, err := v.groups.Named("main").Identify(t.Context(), "ada")
		require.NoError(t, err)
		defer replica.Release()
		require.NoError(t, dog.CallErr(t.Context(), replica, (*readReplica).Do, func(b *readReplica) error {
			if err := b.Broadcast("hello"); err != nil {
				return err
			}
			page, err := b.History().Read("", 0)
			require.NoError(t, err)
			require.Equal(t, []string{"hello"}, texts(page))
			return nil
		}))
		main := v.groups.Named("main").Stub
		require.NoError(t, dog.CallErr(t.Context(), main, (*readGroup).Do, func(h *readGroup) error {
			page, err := h.History().Read("", 0)
			require.NoError(t, err)
			require.Equal(t, []string{"hello"}, texts(page))
			return nil
		}))
		page, err := replica.History().Read("", 0)
		require.NoError(t, err)
		require.Equal(t, []string{"hello"}, texts(page))
	})
}

func TestHistory_WithoutOneIsAMisuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		objects, err := dog.RegisterObject[dog.Object](rt, "o", nil)
		require.NoError(t, err)
		for _, h := range []dog.History{
			{}, objects.Named("a").History(), dog.Stub[dog.Object]{}.History(), new(dog.Object).History(),
			new(dog.Replica).History(), new(dog.Group).History(),
		} {
			_, err := h.Position()
			require.ErrorAs(t, err, new(*dog.UsageError))
			_, err = h.WithUID("ada").Read("", 0)
			require.ErrorAs(t, err, new(*dog.UsageError))
			status, _ := dogtest.Serve(t, h).Get("/")
			require.Equal(t, 404, status)
		}
		for range rt.Objects() {
			require.Fail(t, "nothing has been brought into memory")
		}
	})
}

func TestHistory_SurvivesAPlannedRestart(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d, on := dogtest.NewDisk(t), &fixture.OwnerHooks{History: kept}
		v := fixture.NewOwners(t, kind, dog.Options{Store: d}, on)
		broadcast(t, v, "1", "2")
		before, err := v.History("").Read("", 1)
		require.NoError(t, err)
		restart(t, v)

		v = fixture.NewOwners(t, kind, dog.Options{Store: d}, on)
		page, err := v.History("").Read(before.Next, 0) // nothing has started the object
		require.NoError(t, err)
		require.Empty(t, page.Gap)
		require.Equal(t, []string{"2"}, texts(page))
		restart(t, v)
	})
}
