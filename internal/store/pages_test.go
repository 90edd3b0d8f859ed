package store_test

import (
	"bytes"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

func TestPages_AreAFileInTheTransaction(t *testing.T) {
	type file struct {
		pages map[uint32]byte // what each is filled with
		count uint32
	}
	number := rapid.SampledFrom([]uint32{0, 1, 2, 3, 255, 256, 1 << 16, 1<<32 - 2})
	rapid.Check(t, func(t *rapid.T) {
		o := store.NewObject(store.NewMemory(), store.Identity{Namespace: 1})
		pages := o.Pages()
		now, committed := file{pages: map[uint32]byte{}}, file{pages: map[uint32]byte{}}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				n, with := number.Draw(t, "n"), rapid.Byte().Draw(t, "with")
				page := bytes.Repeat([]byte{with}, 8)
				require.NoError(t, pages.WritePage(n, page))
				clear(page) // the caller's memory
				now.pages[n] = with
				if n >= now.count {
					now.count = n + 1
					require.NoError(t, pages.SetCount(now.count))
				}
			},
			"set count": func(t *rapid.T) {
				n := number.Draw(t, "n")
				require.NoError(t, pages.SetCount(n))
				now.count = n
				maps.DeleteFunc(now.pages, func(k uint32, _ byte) bool { return k >= n })
			},
			"commit": func(t *rapid.T) {
				_, err := o.Commit()
				require.NoError(t, err)
				committed = file{maps.Clone(now.pages), now.count}
			},
			"rollback": func(*rapid.T) {
				o.Rollback()
				now = file{maps.Clone(committed.pages), committed.count}
			},
			"": func(t *rapid.T) {
				count, err := pages.Count()
				require.NoError(t, err)
				require.Equal(t, now.count, count)
				n, buf := number.Draw(t, "n"), make([]byte, 8)
				found, err := pages.ReadPage(n, buf)
				require.NoError(t, err)
				with, ok := now.pages[n]
				require.Equal(t, ok, found)
				require.Equal(t, bytes.Repeat([]byte{with}, 8), buf)
			},
		})
	})
}

func TestPages_WrongSizeIsCorruption(t *testing.T) {
	o := store.NewObject(store.NewMemory(), store.Identity{Namespace: 1})
	pages := o.Pages()
	require.NoError(t, pages.WritePage(0, make([]byte, 8)))
	_, err := pages.ReadPage(0, make([]byte, 16))
	require.ErrorIs(t, err, store.ErrCorrupt)
	o.Put(store.Sheets, "", []byte("abc"))
	_, err = pages.Count()
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func TestPages_EmptyDatabaseLeavesNothing(t *testing.T) {
	engine := store.NewMemory()
	o := store.NewObject(engine, store.Identity{Namespace: 1})
	require.NoError(t, o.Pages().SetCount(0))
	_, err := o.Commit()
	require.NoError(t, err)
	require.Empty(t, dump(t, engine))
}
