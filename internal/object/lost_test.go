package object

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/internal/turn"
)

// The store fails in the very moment in which the object goes to sleep.
func TestObject_ContinuesAfterHibernatingDuringAStoreFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		h := newHost(t, Config{Engine: engine})
		o := add(h, nil).named("a")
		stored := make(chan error, 1)
		go func() {
			stored <- o.Call(t.Context(), &turn.Origin{}, "", func(ctx context.Context, _ any) error {
				tx := &LifeOf(turn.From(ctx)).Tx
				if err := tx.Write(); err != nil {
					return err
				}
				defer tx.Leave()
				tx.Data().Put(store.Keys, "key", nil)
				return nil
			})
		}()
		synctest.Wait()

		life := o.current.Load()
		o.mu.Lock()
		require.True(t, life.turn.CloseIdle(errAsleep, nil))
		engine.Fail(errors.New("no disk"))
		o.endLocked(life)
		o.mu.Unlock()
		life.Over()
		require.ErrorIs(t, <-stored, ErrReset)
		synctest.Wait()

		require.NoError(t, run(t.Context(), o, nothing))
		_, retired := o.Retire()
		require.True(t, retired)
	})
}
