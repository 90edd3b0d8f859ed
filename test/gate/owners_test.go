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
	outputs := map[string]func(ctx context.Context, o fixture.Owner, s *dog.Socket) error{
		"Broadcast": func(_ context.Context, o fixture.Owner, _ *dog.Socket) error {
			return o.Broadcast("sent")
		},
		"Socket.Send": func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { return s.Send("sent") },
		"Socket.Broadcast": func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
			return s.Broadcast("sent")
		},
		"Socket.Emit": func(_ context.Context, _ fixture.Owner, s *dog.Socket) error { return s.Emit("sent") },
		"Whisper": func(ctx context.Context, o fixture.Owner, s *dog.Socket) error {
			_, err := fixture.Whisper(ctx, o, "bob", "sent")
			return err
		},
		"Socket.Whisper": func(ctx context.Context, o fixture.Owner, s *dog.Socket) error {
			_, err := s.Whisper(ctx, "bob", "sent")
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
	for name, send := range outputs {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lost: %v", name, lost), func(t *testing.T) {
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
							return send(ctx, o, s)
						},
					})
					t.Cleanup(engine.Prompt)
					engine.Flush()
					ada, bob := v.Enter("ada"), v.Enter("bob")
					engine.Flush()
					ada.Send("store")
					require.Empty(t, fixture.Texts(ada))
					require.Empty(t, fixture.Texts(bob))
					require.Equal(t, 2, v.Runtime.Stats().Sockets, "nothing is sent, and nothing is closed")
					if lost {
						engine.Fail(errors.New("the disk is gone"))
						for _, c := range []*dogtest.Client{ada, bob} {
							code, _ := c.Closed()
							require.Equal(t, 1011, code, "nothing is sent that depends on lost writes")
						}
						return
					}
					engine.Flush()
					receivedA, receivedB := fixture.Texts(ada), fixture.Texts(bob)
					switch name {
					case "Disconnect", "Socket.Close":
						code, _ := bob.Closed()
						require.Equal(t, 4000, code)
					case "Broadcast":
						require.Equal(t, [][]string{{"sent"}, {"sent"}}, [][]string{receivedA, receivedB})
					case "Socket.Send":
						require.Equal(t, [][]string{{"sent"}, nil}, [][]string{receivedA, receivedB})
					default:
						require.Equal(t, [][]string{nil, {"sent"}}, [][]string{receivedA, receivedB})
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
