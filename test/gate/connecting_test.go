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

// dialing is a client that connects, perhaps for a while.
type dialing struct {
	done   chan struct{}
	client *dogtest.Client // nil if it was refused; set before done is closed
}

// dial begins to connect a uid and waits until everything has come to rest.
func dial(v *fixture.Owners, uid string) *dialing {
	d := &dialing{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		if c, _, err := v.Server.TryDial("/?u="+uid, dogtest.DialOptions{}); err == nil {
			d.client = c
		}
	}()
	synctest.Wait()
	return d
}

// over reports whether the attempt is over.
func (d *dialing) over() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// outcome waits for the end of a client's attempt to connect. It describes what
// the client got, and how its connection was closed.
func outcome(v *fixture.Owners, d *dialing) string {
	<-d.done
	if d.client == nil {
		return "refused"
	}
	received := fixture.Texts(d.client)
	if v.Runtime.Stats().Sockets > 0 {
		return fmt.Sprint(received, " open")
	}
	code, reason := d.client.Closed()
	return fmt.Sprint(received, " ", code, " ", reason)
}

// deeds are the ways to do something to the socket of ada that has just
// connected.
var deeds = map[string]struct {
	do   func(ctx context.Context, o fixture.Owner, s *dog.Socket) error
	want string // what the client gets
}{
	"nothing": {func(context.Context, fixture.Owner, *dog.Socket) error {
		return nil
	}, "[] open"},
	"Send": {func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
		return s.Send("a")
	}, "[a] open"},
	"Broadcast": {
		func(_ context.Context, o fixture.Owner, _ *dog.Socket) error { return o.Broadcast("a") }, "[a] open",
	},
	"Broadcast to its own": {func(_ context.Context, o fixture.Owner, _ *dog.Socket) error {
		return fixture.Emit(o, "a")
	}, "[a] open"},
	"Emit to the others": {func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
		return s.Emit("a")
	}, "[] open"},
	"Whisper": {func(ctx context.Context, o fixture.Owner, _ *dog.Socket) error {
		return one(fixture.Whisper(ctx, o, "ada", "a"))
	}, "[a] open"},
	"Socket.Whisper": {func(ctx context.Context, _ fixture.Owner, s *dog.Socket) error {
		return one(s.Whisper(ctx, "ada", "a"))
	}, "[a] open"},
	"Disconnect": {func(ctx context.Context, o fixture.Owner, _ *dog.Socket) error {
		return one(fixture.Disconnect(ctx, o, "ada", 4000, "banned"))
	}, "[] 4000 banned"},
	"Disconnect twice": {func(ctx context.Context, o fixture.Owner, _ *dog.Socket) error {
		if err := one(fixture.Disconnect(ctx, o, "ada", 4000, "banned")); err != nil {
			return err
		}
		if n, err := fixture.Disconnect(ctx, o, "ada", 4001, "again"); n != 0 || !errors.Is(err, dog.ErrNoTarget) {
			return fmt.Errorf("the second one: %d, %w", n, err)
		}
		return nil
	}, "[] 4000 banned"},
	"Close": {func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
		return s.Close(4000, "banned")
	}, "[] 4000 banned"},
	"Supersede": {func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
		return s.Supersede()
	}, "[] open"},
	"Send to each": {func(_ context.Context, o fixture.Owner, _ *dog.Socket) error {
		return toEach(o, "a")
	}, "[a] open"},
	"Close of each of the uid": {func(_ context.Context, o fixture.Owner, _ *dog.Socket) error {
		n := 0
		for s := range o.SocketsOf("ada") {
			n++
			if err := s.Close(4000, "banned"); err != nil {
				return err
			}
		}
		return one(n, nil)
	}, "[] 4000 banned"},
	"all of them": {func(ctx context.Context, o fixture.Owner, s *dog.Socket) error {
		e1 := s.Send("a")
		e2 := o.Broadcast("b")
		e3 := one(fixture.Whisper(ctx, o, "ada", "c"))
		e4 := fixture.Emit(o, "d")
		e5 := toEach(o, "e")
		e6 := one(s.Whisper(ctx, "ada", "f"))
		e7 := one(fixture.Disconnect(ctx, o, "ada", 4000, "banned"))
		for range o.Sockets() {
			return errors.New("the socket is listed, although it is being closed")
		}
		return errors.Join(e1, e2, e3, e4, e5, e6, e7)
	}, "[a b c d e f] 4000 banned"},
}

// one returns err, or an error if n is not 1.
func one(n int, err error) error {
	if err == nil && n != 1 {
		return fmt.Errorf("reached %d sockets", n)
	}
	return err
}

// toEach sends to each of the sockets that the owner lists, which is one.
func toEach(o fixture.Owner, v any) error {
	n := 0
	for s := range o.Sockets() {
		n++
		if err := s.Send(v); err != nil {
			return err
		}
	}
	return one(n, nil)
}

func TestGate_OutputAfterConnectReachesTheSocketOnAnyDisk(t *testing.T) {
	for name, deed := range deeds {
		for _, stores := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stores: %v", name, stores), func(t *testing.T) {
				fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
					done := errors.New("not done")
					v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
						Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
							if stores {
								require.NoError(t, o.Storage().Put("k", nil))
							}
							require.NoError(t, o.Broadcast("before"))
							s, err := o.Connect(w, req, nil)
							if err != nil {
								return err
							}
							done = deed.do(req.Context(), o, s)
							return nil
						},
					})
					ada := dial(v, "ada")
					require.Equal(t, !stores, ada.over(), "nothing leaves before it is durable")
					engine.Flush()
					require.Equal(t, deed.want, outcome(v, ada))
					require.NoError(t, done)
				})
			})
		}
	}
}

// In another event, which finds a socket whose handshake waits for the disk.
func TestGate_OutputToANewSocketWaitsUntilDurable(t *testing.T) {
	for name, deed := range deeds {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, waits: %v", name, waits), func(t *testing.T) {
				fixture.ForEachOwner(t, func(t *testing.T, kind string) {
					done := errors.New("not done")
					start := func(_ context.Context, o fixture.Owner) error {
						if err := o.Storage().Put("k", nil); err != nil {
							return err
						}
						o.After(time.Second, func(ctx context.Context) error {
							for s := range o.SocketsOf("ada") {
								done = deed.do(ctx, o, s)
							}
							return nil
						})
						return nil
					}
					v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{Start: start})
					if !waits {
						engine.Prompt()
					}
					ada := dial(v, "ada")
					time.Sleep(time.Second)
					synctest.Wait()
					require.Equal(t, !waits, ada.over(), "nothing leaves before it is durable")
					time.Sleep(8 * time.Second) // longer than CloseTimeout
					engine.Flush()
					require.Equal(t, deed.want, outcome(v, ada))
					require.NoError(t, done)
				})
			})
		}
	}
}

func TestGate_NewSocketSurvivesAStartThatFailsOnce(t *testing.T) {
	for _, waits := range []bool{false, true} {
		t.Run(fmt.Sprint("waits: ", waits), func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				starts := 0
				engine := storetest.New()
				options, _ := fixture.LogToBuffer()
				options.Store, options.HibernateAfter = fixture.StoreOf(engine), time.Second
				start := func(_ context.Context, o fixture.Owner) error {
					if starts++; starts == 2 {
						return errors.New("not now")
					}
					return o.Storage().Put("k", nil)
				}
				v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{Hibernate: true, Start: start})
				t.Cleanup(engine.Prompt)
				engine.Flush()
				if !waits {
					engine.Prompt()
				}
				ada := dial(v, "ada")
				fixture.Elapse(5 * time.Second)
				require.Equal(t, 1, starts)
				bob := dial(v, "bob") // wakes the object
				fixture.Elapse(2 * time.Second)
				require.Equal(t, 3, starts)
				engine.Flush()
				require.Equal(t, "[] open", outcome(v, ada))
				require.Equal(t, "[] open", outcome(v, bob))
			})
		})
	}
}
