package gate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestGate_OutputOfAnOwnerWaitsForItsWrites(t *testing.T) {
	words := map[string]func(ctx context.Context, o fixture.Owner, s *dog.Socket) error{
		"Broadcast": func(_ context.Context, o fixture.Owner, _ *dog.Socket) error {
			return o.Broadcast("said")
		},
		"Socket.Send": func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { return s.Send("said") },
		"Socket.Broadcast": func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
			return s.Broadcast("said")
		},
		"Socket.Emit": func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { return s.Emit("said") },
		"Whisper": func(ctx context.Context, o fixture.Owner, s *dog.Socket) error {
			_, err := fixture.Whisper(ctx, o, "bob", "said")
			return err
		},
		"Socket.Whisper": func(ctx context.Context, o fixture.Owner, s *dog.Socket) error {
			_, err := s.Whisper(ctx, "bob", "said")
			return err
		},
		"Disconnect": func(ctx context.Context, o fixture.Owner, s *dog.Socket) error {
			_, err := fixture.Disconnect(ctx, o, "bob", 4000, "")
			return err
		},
		"Socket.Close": func(_ context.Context, o fixture.Owner, _ *dog.Socket) (err error) {
			for s := range o.SocketsOf("bob") {
				err = errors.Join(err, s.Close(4000, ""))
			}
			return err
		},
	}
	for word, say := range words {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lost: %v", word, lost), func(t *testing.T) {
				fixture.ForEachOwner(t, func(t *testing.T, kind string) {
					engine := storetest.New()
					t.Cleanup(engine.Prompt)
					options, _ := fixture.LogToBuffer()
					options.Store = fixture.StoreOf(engine)
					v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
						Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
							if err := o.Storage().Put("k", m.Data); err != nil {
								return err
							}
							return say(ctx, o, s)
						},
					})
					t.Cleanup(engine.Prompt)
					engine.Flush()
					ada, bob := v.Enter("ada"), v.Enter("bob")
					engine.Flush()
					ada.Send("store")
					require.Empty(t, fixture.Texts(ada))
					require.Empty(t, fixture.Texts(bob))
					require.Equal(t, 2, v.Runtime.Stats().Sockets, "nobody is told, and nobody is closed")
					if lost {
						engine.Fail(errors.New("the disk is gone"))
						for _, c := range []*dogtest.Client{ada, bob} {
							code, _ := c.Closed()
							require.Equal(t, 1011, code, "nobody hears what depends on what is lost")
						}
						return
					}
					engine.Flush()
					heardA, heardB := fixture.Texts(ada), fixture.Texts(bob)
					switch word {
					case "Disconnect", "Socket.Close":
						code, _ := bob.Closed()
						require.Equal(t, 4000, code)
					case "Broadcast":
						require.Equal(t, [][]string{{"said"}, {"said"}}, [][]string{heardA, heardB})
					case "Socket.Send":
						require.Equal(t, [][]string{{"said"}, nil}, [][]string{heardA, heardB})
					default:
						require.Equal(t, [][]string{nil, {"said"}}, [][]string{heardA, heardB})
					}
				})
			})
		}
	}
}

func TestGate_ConnectWaitsForWritesOfReceive(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("lost: ", lost), func(t *testing.T) {
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				engine := storetest.New()
				var did fixture.Lines
				options, _ := fixture.LogToBuffer()
				options.Store = fixture.StoreOf(engine)
				v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						if err := o.Storage().Put("k", nil); err != nil {
							return err
						}
						_, err := o.Connect(w, req, nil)
						return err
					},
					Open:  func(context.Context, fixture.Owner, *dog.Socket) error { return did.Add("opened") },
					Error: func(context.Context, fixture.Owner, *dog.Socket, error) error { return did.Add("failed") },
					Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error {
						return did.Add("closed")
					},
				})
				t.Cleanup(engine.Prompt)
				engine.Flush()
				connected := make(chan error, 1)
				go func() {
					_, _, err := v.Server.TryDial("/?u=ada", dogtest.DialOptions{})
					connected <- err
				}()
				synctest.Wait()
				require.Empty(t, connected)
				require.Empty(t, did.Take())
				if lost {
					engine.Fail(errors.New("the disk is gone"))
					require.Error(t, <-connected)
					fixture.Elapse(time.Second)
					require.Empty(t, did.Take(), "what has not joined is not closed")
					require.Zero(t, v.Runtime.Stats().Sockets)
					return
				}
				engine.Flush()
				require.NoError(t, <-connected)
				synctest.Wait()
				require.Equal(t, []string{"opened"}, did.Take())
			})
		})
	}
}
