package history_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// What a replica sends to all comes before what it sends to one client after
// it, also if the message waits for one of another replica.
func TestDurable_OrderOfOneSpeakerAmongSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := &fixture.OwnerHooks{
			History: durable, MaxSockets: 1,
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if err := o.Broadcast(m); err != nil {
					return err
				}
				return s.Send("alone " + m.String())
			},
		}
		v, engine := fixture.NewGatedOwners(t, "a replica", on)
		ada, bob := dial(t, v.Server, "ada", ""), dial(t, v.Server, "bob", "")
		engine.Flush()
		synctest.Wait()
		ada.Send("m\na1")
		synctest.Wait()
		bob.Send("m\nb1")
		synctest.Wait()
		ada.Send("m\na2")
		synctest.Wait()
		engine.Flush()
		synctest.Wait()
		require.Equal(t, []string{"a1", "alone a1", "b1", "a2", "alone a2"}, ada.messages())
		got := bob.messages()
		require.ElementsMatch(t, []string{"a1", "b1", "alone b1", "a2"}, got)
		require.Less(t, slices.Index(got, "b1"), slices.Index(got, "alone b1"))
	})
}

// So it is for a handler that waits, whose messages are in no turn. A message
// of a client is acknowledged when those that its handler has sent are durable.
func TestDurable_OrderOfOneSpeakerOutsideATurn(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		on := &fixture.OwnerHooks{
			History: durable,
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				return dog.Await(ctx, func() error {
					if err := o.Broadcast(m); err != nil {
						return err
					}
					return s.Send("alone " + m.String())
				})
			},
		}
		v, engine := fixture.NewGatedOwners(t, kind, on)
		ada := dial(t, v.Server, "ada", session)
		engine.Flush()
		synctest.Wait()
		ada.Send("m1\na")
		synctest.Wait()
		require.Empty(t, ada.Received())
		engine.Flush()
		require.Equal(t, []string{"a", "alone a"}, []string{ada.message(), ada.message()})
		require.Equal(t, "1", ada.ack())
	})
}
