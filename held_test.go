package dog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

func TestWhatIsHeldBackWhileTheDiskHangsIsBoundedAndShown(t *testing.T) {
	ways := map[string]func(ctx context.Context, r *room, s *dog.Socket, text string) error{
		"Socket.Send": func(_ context.Context, _ *room, s *dog.Socket, text string) error { return s.Send(text) },
		"Socket.Emit": func(_ context.Context, _ *room, s *dog.Socket, text string) error {
			return s.Emit(text)
		},
		"Socket.Broadcast": func(_ context.Context, _ *room, s *dog.Socket, text string) error {
			return s.Broadcast(text)
		},
		"Replica.Emit": func(_ context.Context, r *room, _ *dog.Socket, text string) error { return r.Emit(text) },
		"Replica.Broadcast": func(ctx context.Context, r *room, _ *dog.Socket, text string) error {
			return r.Broadcast(text)
		},
	}
	for name, say := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				accepted, refused := 0, 0
				on := &hooks{message: func(ctx context.Context, r *room, s *dog.Socket, m dog.Message) error {
					if m.String() == "store" {
						return put(r)
					}
					for range 10_000 {
						switch err := say(ctx, r, s, strings.Repeat("x", 2000)); {
						case err == nil:
							accepted++
						case errors.Is(err, dog.ErrHeldBack):
							refused++
						default:
							return err
						}
					}
					return nil
				}}
				h, engine := newGatedHouse(t, on)
				ada := h.enter("ada")
				h.enter("bob") // what a socket emits is for others
				ada.Send("store")
				synctest.Wait()
				ada.Send("talk")
				synctest.Wait()
				require.Positive(t, accepted)
				require.Equal(t, 10_000, accepted+refused)
				held := h.rt.Stats().HeldBytes
				require.Greater(t, held, int64(accepted)*2000)
				require.Less(t, held, int64(2<<20), "QueueBytes and a mebibyte")
				engine.Prompt()
				synctest.Wait()
				require.Zero(t, h.rt.Stats().HeldBytes)
			})
		})
	}
}

func TestAMessageThatIsLongerThanTheBoundWaitsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs []error
		h, engine := newGatedHouse(t, &hooks{message: func(_ context.Context, r *room, s *dog.Socket, _ dog.Message) error {
			errs = append(errs, put(r), s.Send(strings.Repeat("x", 2<<20)), s.Send("too much"))
			return nil
		}})
		ada := h.enter("ada")
		ada.Send("store")
		synctest.Wait()
		require.NoError(t, errors.Join(errs[:2]...))
		require.ErrorIs(t, errs[2], dog.ErrHeldBack)
		engine.Prompt()
		synctest.Wait()
		require.Zero(t, h.rt.Stats().HeldBytes)
	})
}

func TestWhatIsLostIsHeldNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := newGatedHouse(t, &hooks{message: func(_ context.Context, r *room, s *dog.Socket, _ dog.Message) error {
			return errors.Join(put(r), s.Send("w"), r.Emit("w"))
		}})
		h.enter("ada").Send("store")
		synctest.Wait()
		require.Positive(t, h.rt.Stats().HeldBytes)
		engine.Fail(errNoDisk)
		synctest.Wait()
		require.Zero(t, h.rt.Stats().HeldBytes)
	})
}
