package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestGate_HeldOutputIsBoundedAndShownInStats(t *testing.T) {
	ways := map[string]func(ctx context.Context, r *fixture.Room, s *dog.Socket, text string) error{
		"Socket.Send": func(_ context.Context, _ *fixture.Room, s *dog.Socket, text string) error {
			return s.Send(text)
		},
		"Socket.Emit": func(_ context.Context, _ *fixture.Room, s *dog.Socket, text string) error {
			return s.Emit(text)
		},
		"Socket.Broadcast": func(_ context.Context, _ *fixture.Room, s *dog.Socket, text string) error {
			return s.Broadcast(text)
		},
		"Replica.Emit": func(_ context.Context, r *fixture.Room, _ *dog.Socket, text string) error {
			return r.Emit(text)
		},
		"Replica.Broadcast": func(ctx context.Context, r *fixture.Room, _ *dog.Socket, text string) error {
			return r.Broadcast(text)
		},
	}
	for name, send := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				accepted, refused := 0, 0
				on := &fixture.Hooks{
					Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
						if m.String() == "store" {
							return fixture.Put(r)
						}
						for range 10_000 {
							switch err := send(ctx, r, s, strings.Repeat("x", 2000)); {
							case err == nil:
								accepted++
							case errors.Is(err, dog.ErrHeldBack):
								refused++
							default:
								return err
							}
						}
						return nil
					},
				}
				h, engine := fixture.NewGatedRooms(t, on)
				ada := h.Enter("ada")
				h.Enter("bob") // what a socket emits is for others
				ada.Send("store")
				synctest.Wait()
				ada.Send("talk")
				synctest.Wait()
				require.Positive(t, accepted)
				require.Equal(t, 10_000, accepted+refused)
				held := h.Runtime.Stats().HeldBytes
				require.Greater(t, held, int64(accepted)*2000)
				require.Less(t, held, int64(2<<20), "QueueBytes and a mebibyte")
				engine.Prompt()
				synctest.Wait()
				require.Zero(t, h.Runtime.Stats().HeldBytes)
			})
		})
	}
}

func TestGate_HoldsAMessageLongerThanTheBoundAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs []error
		h, engine := fixture.NewGatedRooms(
			t,
			&fixture.Hooks{Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
				errs = append(errs, fixture.Put(r), s.Send(strings.Repeat("x", 2<<20)), s.Send("too much"))
				return nil
			}},
		)
		ada := h.Enter("ada")
		ada.Send("store")
		synctest.Wait()
		require.NoError(t, errors.Join(errs[:2]...))
		require.ErrorIs(t, errs[2], dog.ErrHeldBack)
		engine.Prompt()
		synctest.Wait()
		require.Zero(t, h.Runtime.Stats().HeldBytes)
	})
}

func TestGate_LostOutputIsNotCountedAsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, engine := fixture.NewGatedRooms(
			t,
			&fixture.Hooks{Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, _ dog.Message) error {
				return errors.Join(fixture.Put(r), s.Send("w"), r.Emit("w"))
			}},
		)
		h.Enter("ada").Send("store")
		synctest.Wait()
		require.Positive(t, h.Runtime.Stats().HeldBytes)
		engine.Fail(errNoDisk)
		synctest.Wait()
		require.Zero(t, h.Runtime.Stats().HeldBytes)
	})
}
