package dog_test

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
)

func TestWhatAnOwnerSaysWaitsForWhatItHasStored(t *testing.T) {
	words := map[string]func(ctx context.Context, o owner, s *dog.Socket) error{
		"Broadcast":        func(_ context.Context, o owner, _ *dog.Socket) error { return o.Broadcast("said") },
		"Socket.Send":      func(_ context.Context, _ owner, s *dog.Socket) error { return s.Send("said") },
		"Socket.Broadcast": func(_ context.Context, _ owner, s *dog.Socket) error { return s.Broadcast("said") },
		"Socket.Emit":      func(_ context.Context, _ owner, s *dog.Socket) error { return s.Emit("said") },
		"Whisper": func(ctx context.Context, o owner, s *dog.Socket) error {
			_, err := whisper(ctx, o, "bob", "said")
			return err
		},
		"Socket.Whisper": func(ctx context.Context, o owner, s *dog.Socket) error {
			_, err := s.Whisper(ctx, "bob", "said")
			return err
		},
		"Disconnect": func(ctx context.Context, o owner, s *dog.Socket) error {
			_, err := disconnect(ctx, o, "bob", 4000, "")
			return err
		},
		"Socket.Close": func(_ context.Context, o owner, _ *dog.Socket) (err error) {
			for s := range o.SocketsOf("bob") {
				err = errors.Join(err, s.Close(4000, ""))
			}
			return err
		},
	}
	for word, say := range words {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lost: %v", word, lost), func(t *testing.T) {
				overOwners(t, func(t *testing.T, kind string) {
					engine := storetest.New()
					t.Cleanup(engine.Prompt)
					options, _ := logged()
					options.Store = asStore(engine)
					v := newVenue(t, kind, options, &owners{
						message: func(ctx context.Context, o owner, s *dog.Socket, m dog.Message) error {
							if err := o.Storage().Put("k", m.Data); err != nil {
								return err
							}
							return say(ctx, o, s)
						},
					})
					t.Cleanup(engine.Prompt)
					engine.Flush()
					ada, bob := v.enter("ada"), v.enter("bob")
					engine.Flush()
					ada.Send("store")
					require.Empty(t, texts(ada))
					require.Empty(t, texts(bob))
					require.Equal(t, 2, v.rt.Stats().Sockets, "nobody is told, and nobody is closed")
					if lost {
						engine.Fail(errors.New("the disk is gone"))
						for _, c := range []*dogtest.Client{ada, bob} {
							code, _ := c.Closed()
							require.Equal(t, 1011, code, "nobody hears what depends on what is lost")
						}
						return
					}
					engine.Flush()
					heardA, heardB := texts(ada), texts(bob)
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

func TestConnectWaitsForWhatReceiveHasStored(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("lost: ", lost), func(t *testing.T) {
			overReceivers(t, func(t *testing.T, kind string) {
				engine := storetest.New()
				var did lines
				options, _ := logged()
				options.Store = asStore(engine)
				v := newVenue(t, kind, options, &owners{
					receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
						if err := o.Storage().Put("k", nil); err != nil {
							return err
						}
						_, err := o.Connect(w, req, nil)
						return err
					},
					open:   func(context.Context, owner, *dog.Socket) error { return did.add("opened") },
					failed: func(context.Context, owner, *dog.Socket, error) error { return did.add("failed") },
					close:  func(context.Context, owner, *dog.Socket, int, string) error { return did.add("closed") },
				})
				t.Cleanup(engine.Prompt)
				engine.Flush()
				connected := make(chan error, 1)
				go func() {
					_, _, err := v.srv.TryDial("/?u=ada", dogtest.DialOptions{})
					connected <- err
				}()
				synctest.Wait()
				require.Empty(t, connected)
				require.Empty(t, did.take())
				if lost {
					engine.Fail(errors.New("the disk is gone"))
					require.Error(t, <-connected)
					elapse(time.Second)
					require.Empty(t, did.take(), "what has not joined is not closed")
					require.Zero(t, v.rt.Stats().Sockets)
					return
				}
				engine.Flush()
				require.NoError(t, <-connected)
				synctest.Wait()
				require.Equal(t, []string{"opened"}, did.take())
			})
		})
	}
}
