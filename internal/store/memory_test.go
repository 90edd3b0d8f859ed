package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/enginetest"
)

func TestMemory_DoesWhatEnginesDo(t *testing.T) {
	enginetest.Run(t, func(require.TestingT) store.Engine { return store.NewMemory() })
}

func TestMemory_HasNoSQLAndNoBackup(t *testing.T) {
	engine := store.NewMemory()
	_, err := engine.OpenSQL(nil, store.SQLLimits{})
	require.ErrorIs(t, err, store.ErrNoStore)
	require.Error(t, engine.Backup(t.Context(), t.TempDir()))
	require.NoError(t, engine.Writable())
	require.NoError(t, engine.Close())
}
