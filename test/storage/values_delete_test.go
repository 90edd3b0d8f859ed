package storage_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestValues_DeleteKeepsTheCallersKeys(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		scores := dog.MapOf[score](c.Storage(), "score/")
		require.NoError(t, scores.Put("ada", score{3}))
		require.NoError(t, c.Storage().Put("ada", []byte("another key")))
		keys := []string{"ada", "bob"}
		deleted, err := scores.Delete(keys...)
		require.NoError(t, err)
		require.Equal(t, 1, deleted)
		require.Equal(t, []string{"ada", "bob"}, keys)
		_, found, err := c.Storage().Get("ada")
		require.NoError(t, err)
		require.True(t, found)
		return nil
	}))
}
