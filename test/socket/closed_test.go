package socket_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A closed socket takes no more messages and is not listed, also while the
// writes of its owner are not durable yet.
func TestSocket_CloseAppliesToAllSenders(t *testing.T) {
	for _, stores := range []bool{false, true} {
		fixture.ForEachOwner(t, func(t *testing.T, kind string) {
			var ended []int
			v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
				Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
					if stores {
						require.NoError(t, fixture.Put(o))
					}
					require.NoError(t, s.Send("last"))
					require.Len(t, slices.Collect(o.Sockets()), 2)
					require.NoError(t, s.Close(4000, "enough"))
					require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
					for other := range o.Sockets() {
						require.NotEqual(t, s.ID(), other.ID())
						require.NoError(t, other.Send("still here"))
					}
					require.NoError(t, s.Close(4001, "again"))
					return nil
				},
				Close: func(_ context.Context, o fixture.Owner, s *dog.Socket, code int, _ string) error {
					ended = append(ended, code)
					require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
					require.NotContains(t, slices.Collect(o.Sockets()), s)
					return nil
				},
			})
			ada, bob := v.Enter("ada"), v.Enter("bob")
			ada.Send("go")
			synctest.Wait()
			engine.Flush()
			require.Equal(t, []string{"last"}, fixture.Texts(ada))
			require.Equal(t, []string{"still here"}, fixture.Texts(bob))
			require.Equal(t, []int{4000}, ended)
		})
	}
}

// One that is closing already is closed by somebody else.
func TestSocket_DisconnectCountsClosedSockets(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		type count struct {
			closed int
			none   bool
		}
		var counts []count
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if m.String() == "close" {
					return s.Close(4000, "enough")
				}
				for range 2 {
					n, err := fixture.Disconnect(ctx, o, "ada", 4001, "all")
					counts = append(counts, count{n, errors.Is(err, dog.ErrNoTarget)})
				}
				return nil
			},
			Error: func(context.Context, fixture.Owner, *dog.Socket, error) error { return nil },
		})
		var devices []*dogtest.Client
		for range 3 { // which do not answer the close frame before they are asked
			devices = append(devices, v.Server.DialWith("/?u=ada", dogtest.DialOptions{OnDemand: true}))
		}
		bob := v.Enter("bob")
		devices[0].Send("close")
		synctest.Wait()
		bob.Send("go")
		synctest.Wait()
		require.Equal(t, []count{{2, false}, {0, true}}, counts)
		for i, device := range devices {
			code, _ := device.Closed()
			require.Equal(t, []int{4000, 4001, 4001}[i], code)
		}
	})
}

// Send fails at once when the client has gone, even if the message would have
// to wait until the owner's writes are durable.
func TestSocket_SendAfterTheClientHasGone(t *testing.T) {
	for name, leave := range map[string]func(*dogtest.Client){
		"vanished": func(c *dogtest.Client) { c.Vanish() },
		"closed":   func(c *dogtest.Client) { c.Close(1000, "") },
	} {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				var gone *dog.Socket
				var checked bool
				v, _ := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
					Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
						if s.UID() == "ada" {
							gone = s
						}
						return nil
					},
					Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, _ dog.Message) error {
						require.NoError(t, fixture.Put(o))
						require.ErrorIs(t, gone.Send("late"), dog.ErrSocketClosed)
						checked = true
						return nil
					},
				})
				ada, bob := v.Enter("ada"), v.Enter("bob")
				leave(ada)
				synctest.Wait()
				bob.Send("go")
				synctest.Wait()
				require.True(t, checked)
			})
		})
	}
}

// An account has the sockets of several users, each with several devices.
type account struct{ dog.Object }

func (a *account) OnMessage(context.Context, *dog.Socket, dog.Message) error { return nil }

// SignOut disconnects the devices of a user.
func (a *account) SignOut(_ context.Context, user string) (int, error) {
	return a.Disconnect(user, 4401, "signed out")
}

func TestSocket_DisconnectEndsTheDevicesOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		accounts, err := dog.RegisterObject[account](dogtest.New(t, dog.Options{}), "account", nil)
		require.NoError(t, err)
		home := accounts.Named("home")
		ada, bob := dogtest.Serve(t, home.WithUID("ada")), dogtest.Serve(t, home.WithUID("bob")).Dial("/")
		phone, laptop := ada.Dial("/"), ada.Dial("/")

		n, err := dog.Call(t.Context(), home, (*account).SignOut, "ada")
		require.NoError(t, err)
		require.Equal(t, 2, n)
		for _, device := range []*dogtest.Client{phone, laptop} {
			code, reason := device.Closed()
			require.Equal(t, 4401, code)
			require.Equal(t, "signed out", reason)
		}
		_, err = dog.Call(t.Context(), home, (*account).SignOut, "ada")
		require.ErrorIs(t, err, dog.ErrNoTarget)
		bob.Close(1000, "")
	})
}
