package session_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/session"
	"github.com/godurable/dog/internal/store"
)

func TestBook_LoadsWhatWasSavedAndDeletesWhatHasExpired(t *testing.T) {
	engine, owner := store.NewMemory(), store.Base{1}
	before := new(session.Book)
	before.Restore("handled", 7, 100, 0)
	before.Restore("expires", 8, 50, 0)
	save := func(b *session.Book) {
		batch := engine.Begin()
		require.NoError(t, b.Save(batch, owner, 0, 0))
		_, err := batch.Commit()
		require.NoError(t, err)
	}
	save(before)
	names := func() (names []string) {
		for note, err := range store.ReadNotes(engine, owner, store.Sessions) {
			require.NoError(t, err)
			names = append(names, note.Key)
		}
		return names
	}
	require.Equal(t, []string{"expires", "handled"}, names())

	book := new(session.Book)
	require.NoError(t, book.Load(engine, owner, 60))
	require.Equal(t, []session.Record{{Name: "handled", Handled: 7, Until: 100}}, book.All(60, 60))
	require.Equal(t, []string{"handled"}, names())

	save(before)
	require.NoError(t, book.Load(engine, owner, 0))
	require.Equal(t, []string{"expires", "handled"}, names(), "the book has been read, and is not read again")
	require.Equal(t, 1, book.Len(0))
}
