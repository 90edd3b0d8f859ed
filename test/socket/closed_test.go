package socket_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A socket that is closed, by whom ever, takes no more messages and is not
// listed, also while what the replica has stored is not durable yet.
func TestSocket_ThatIsClosedIsClosedForEverybody(t *testing.T) {
	for _, stores := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var ended []int
			h, engine := fixture.NewGatedRooms(t, &fixture.Hooks{
				Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
					if stores {
						require.NoError(t, fixture.Put(r))
					}
					require.NoError(t, s.Send("last"))
					require.Len(t, slices.Collect(r.Sockets()), 2)
					require.NoError(t, s.Close(4000, "enough"))
					require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
					for other := range r.Sockets() {
						require.NotEqual(t, s.ID(), other.ID())
						require.NoError(t, other.Send("still here"))
					}
					require.NoError(t, s.Close(4001, "again"))
					return nil
				},
				Close: func(_ context.Context, r *fixture.Room, s *dog.Socket, code int, _ string) error {
					ended = append(ended, code)
					require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
					require.NotContains(t, slices.Collect(r.Sockets()), s)
					return nil
				},
			})
			ada, bob := h.Enter("ada"), h.Enter("bob")
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
func TestSocket_DisconnectCountsTheSocketsThatItCloses(t *testing.T) {
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

// The client has gone, without a word or with one: Send says so although it
// would have to wait for the store.
func TestSocket_SendOnASocketWhoseClientHasGone(t *testing.T) {
	for name, leave := range map[string]func(*testing.T, *fixture.Rooms){
		"vanished": func(t *testing.T, h *fixture.Rooms) {
			c := h.Enter("ada")
			synctest.Wait()
			c.Vanish()
		},
		"closed": func(t *testing.T, h *fixture.Rooms) {
			c := h.Enter("ada")
			synctest.Wait()
			c.Close(1000, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var gone *dog.Socket
				var checked bool
				h, _ := fixture.NewGatedRooms(t, &fixture.Hooks{
					Open: func(_ context.Context, _ *fixture.Room, s *dog.Socket) error { gone = s; return nil },
					Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
						if req.URL.Path == "/ws" {
							r.Connect(w, req, nil)
							return
						}
						require.NoError(t, fixture.Put(r))
						require.ErrorIs(t, gone.Send("late"), dog.ErrSocketClosed)
						checked = true
					},
				})
				leave(t, h)
				synctest.Wait()
				go h.Server.Client().Get("http://dog.test/?u=bob")
				synctest.Wait()
				require.True(t, checked)
			})
		})
	}
}
