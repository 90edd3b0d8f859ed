package socket_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// forEachSpread runs a test for each kind of owner, for replicas also with each
// socket on a replica of its own.
func forEachSpread(t *testing.T, f func(t *testing.T, kind string, limit int)) {
	for _, kind := range fixture.OwnerKinds {
		for _, limit := range []int{100, 1} {
			if limit == 1 && !fixture.IsReplica(kind) {
				continue
			}
			t.Run(fmt.Sprintf("%s, %d in each", kind, limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { f(t, kind, limit) })
			})
		}
	}
}

func requireReplaced(t *testing.T, c *dogtest.Client) {
	t.Helper()
	code, reason := c.Closed()
	require.Equal(t, 4001, code)
	require.Equal(t, "replaced", reason)
}

func TestSocket_SupersedeLeavesTheNewestOfAUID(t *testing.T) {
	forEachSpread(t, func(t *testing.T, kind string, limit int) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			MaxSockets: limit,
			Open:       func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { return s.Supersede() },
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
				return s.Send(m)
			},
		})
		first, bob, second := v.Enter("ada"), v.Enter("bob"), v.Enter("ada")
		requireReplaced(t, first)
		third := v.Enter("ada")
		requireReplaced(t, second)
		for _, c := range []*dogtest.Client{third, bob} {
			c.Send("here")
			require.Equal(t, "here", c.Receive().String())
		}
		require.Equal(t, 2, v.Runtime.Stats().Sockets)
	})
}

// Also when the older one asks last, one stays.
func TestSocket_SupersedeSparesNewerSockets(t *testing.T) {
	forEachSpread(t, func(t *testing.T, kind string, limit int) {
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			MaxSockets: limit,
			Message: func(_ context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
				if m.String() == "supersede" {
					return s.Supersede()
				}
				return s.Send(m)
			},
		})
		first, second := v.Enter("ada"), v.Enter("ada")
		third := v.Enter("ada")
		second.Send("supersede")
		requireReplaced(t, first)
		for _, c := range []*dogtest.Client{second, third} {
			c.Send("here")
			require.Equal(t, "here", c.Receive().String())
		}
	})
}

// Others close when the writes of the owner of the newer socket are durable,
// and not if they are undone.
func TestSocket_SupersedeWaitsForTheGate(t *testing.T) {
	for _, undone := range []bool{false, true} {
		forEachSpread(t, func(t *testing.T, kind string, limit int) {
			v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
				MaxSockets: limit, RollbackOnError: true,
				Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
					require.NoError(t, fixture.Put(o))
					require.NoError(t, s.Supersede())
					if undone {
						return fmt.Errorf("undo it")
					}
					return nil
				},
			})
			first := v.Enter("ada")
			v.Enter("ada").Send("supersede")
			synctest.Wait()
			require.Equal(t, 2, v.Runtime.Stats().Sockets)
			engine.Flush()
			synctest.Wait()
			if undone {
				require.Equal(t, 2, v.Runtime.Stats().Sockets)
				return
			}
			requireReplaced(t, first)
		})
	}
}

func TestSocket_SupersedeNeedsAUID(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		if fixture.IsReplica(kind) {
			return // which has no sockets without a uid
		}
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
				fixture.RequireUsage(t, s.Supersede(), "the socket has no uid")
				return s.Send("opened")
			},
		})
		require.Equal(t, "opened", v.Enter("").Receive().String())
	})
}
