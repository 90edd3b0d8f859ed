package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

func TestGate_HeldOutputOfObjectsAndGroupsIsBounded(t *testing.T) {
	ways := map[string]struct {
		by  actorFunc
		say func(s *stage, ctx context.Context, text string) error
	}{
		"Object.Broadcast": {inObject, func(s *stage, _ context.Context, text string) error {
			return s.object.Broadcast(text)
		}},
		"Object.Whisper": {inObject, func(s *stage, _ context.Context, text string) error {
			_, err := s.object.Whisper("fay", text)
			return err
		}},
		"Group.Emit": {inGroup, func(s *stage, _ context.Context, text string) error {
			return s.main.Emit(s.far, text)
		}},
		"Group.Broadcast": {inGroup, func(s *stage, _ context.Context, text string) error {
			return s.main.Broadcast(text)
		}},
		"GroupStub.Emit": {inObject, func(s *stage, ctx context.Context, text string) error {
			return s.group().Emit(ctx, s.far, text)
		}},
		"GroupStub.Broadcast": {inObject, func(s *stage, ctx context.Context, text string) error {
			return s.group().Broadcast(ctx, text)
		}},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, false)
				const tries, size = 10_000, 2000
				text := strings.Repeat("x", size)
				accepted := 0
				ended := make(chan error, 1)
				go func() {
					ended <- way.by(s, func(ctx context.Context, o actor) error {
						if err := o.Storage().Put("said", nil); err != nil {
							return err
						}
						for range tries {
							switch err := way.say(s, ctx, text); {
							case err == nil:
								accepted++
							case !errors.Is(err, dog.ErrHeldBack):
								return err
							}
						}
						return nil
					})
				}()
				require.False(t, s.observed())
				require.Positive(t, accepted)
				require.Less(t, accepted, tries)
				held := s.rt.Stats().HeldBytes
				require.Greater(t, held, int64(accepted)*size)
				require.Less(t, held, int64(2<<20), "QueueBytes and a mebibyte")
				s.engine.Prompt()
				require.NoError(t, <-ended)
				require.True(t, s.observed())
				require.Zero(t, s.rt.Stats().HeldBytes)
			})
		})
	}
}
