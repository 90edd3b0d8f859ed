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

// A group, and another replica, have gates of their own.
func TestGate_OthersReachANewSocketWhenDurable(t *testing.T) {
	type rooms = dog.GroupStub[dog.Group, fixture.ReceivingReplica]
	for name, c := range map[string]struct {
		do   func(ctx context.Context, group rooms) error
		want string
	}{
		"Whisper": {func(ctx context.Context, group rooms) error {
			return one(group.Whisper(ctx, "ada", "a"))
		}, "[a] open"},
		"Disconnect": {func(ctx context.Context, group rooms) error {
			return one(group.Disconnect(ctx, "ada", 4000, "banned"))
		}, "[] 4000 banned"},
		"both": {func(ctx context.Context, group rooms) error {
			e1 := one(group.Whisper(ctx, "ada", "a"))
			e2 := one(group.Disconnect(ctx, "ada", 4000, "banned"))
			n, e3 := group.Disconnect(ctx, "ada", 4000, "banned")
			if n != 0 || !errors.Is(e3, dog.ErrNoTarget) {
				return fmt.Errorf("the second one: %d, %w", n, e3)
			}
			return errors.Join(e1, e2)
		}, "[a] 4000 banned"},
	} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lost: %v", name, lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					engine := storetest.New()
					options, _ := fixture.LogToBuffer()
					options.Store = fixture.StoreOf(engine)
					rt := dogtest.New(t, options)
					var did fixture.Lines
					on := &fixture.OwnerHooks{
						Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
							if err := o.Storage().Put("k", nil); err != nil {
								return err
							}
							_, err := o.Connect(w, req, nil)
							return err
						},
						Open: func(context.Context, fixture.Owner, *dog.Socket) error { return did.Add("open") },
						Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error {
							return did.Add("close")
						},
					}
					replicas, err := dog.RegisterReplica(rt, "rooms", &dog.ReplicaOptions[fixture.ReceivingReplica]{
						New: func() *fixture.ReceivingReplica {
							return &fixture.ReceivingReplica{SocketReplica: fixture.SocketReplica{On: on}}
						},
					})
					require.NoError(t, err)
					groups, err := dog.RegisterGroup(rt, "groups", replicas, &dog.GroupOptions[dog.Group]{Limit: 5})
					require.NoError(t, err)
					engine.Flush()
					t.Cleanup(engine.Prompt)
					main := groups.Named("main")
					serve := func(w http.ResponseWriter, req *http.Request) {
						stub, err := main.Identify(req.Context(), "ada")
						if err != nil {
							dog.WriteError(w, err)
							return
						}
						stub.ServeHTTP(w, req)
					}
					v := &fixture.Owners{Runtime: rt, Server: dogtest.Serve(t, http.HandlerFunc(serve))}
					ada := dial(v, "ada")
					require.NoError(t, c.do(t.Context(), main))
					time.Sleep(8 * time.Second) // longer than CloseTimeout
					synctest.Wait()
					require.False(t, ada.over(), "nothing leaves before it is durable")
					if lost {
						engine.Fail(errors.New("the disk is gone"))
						require.Equal(t, "refused", outcome(v, ada))
						require.Empty(t, did.Take())
						return
					}
					engine.Flush()
					require.Equal(t, c.want, outcome(v, ada))
					require.Contains(t, did.Take(), "open")
				})
			})
		}
	}
}

// listing counts the sockets that an owner lists: all, those with a tag, those
// with another one too, and those of ada.
func listing(o fixture.Owner) string {
	all, tagged, other, own := 0, 0, 0, 0
	for range o.Sockets() {
		all++
	}
	for range o.Sockets("tag") {
		tagged++
	}
	for range o.Sockets("tag", "other") {
		other++
	}
	for range o.SocketsOf("ada") {
		own++
	}
	return fmt.Sprint(all, tagged, other, own)
}

func TestGate_SocketsAreListedFromConnectOn(t *testing.T) {
	for _, stores := range []bool{false, true} {
		t.Run(fmt.Sprintf("stores: %v", stores), func(t *testing.T) {
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				var did fixture.Lines
				v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						if stores {
							require.NoError(t, o.Storage().Put("k", nil))
						}
						before := listing(o)
						if _, err := o.Connect(w, req, &dog.SocketOptions{Tags: []string{"tag"}}); err != nil {
							return err
						}
						o.Every(time.Second, func(context.Context) error { return did.Add("%s", listing(o)) })
						return did.Add("%s, then %s", before, listing(o))
					},
				})
				ada := dial(v, "ada")
				fixture.Elapse(1100 * time.Millisecond)
				engine.Flush()
				<-ada.done
				fixture.Elapse(time.Second)
				ada.client.Vanish()
				fixture.Elapse(time.Second)
				require.Equal(t, []string{"0 0 0 0, then 1 1 0 1", "1 1 0 1", "1 1 0 1", "0 0 0 0"}, did.Take())
			})
		})
	}
}

func TestGate_UndoneConnectRemovesTheSocket(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		var did fixture.Lines
		on := &fixture.OwnerHooks{
			RollbackOnError: true,
			Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				require.NoError(t, o.Storage().Put("k", nil))
				_, err := o.Connect(w, req, &dog.SocketOptions{Tags: []string{"tag"}})
				require.NoError(t, err)
				o.After(0, func(ctx context.Context) error {
					_, e1 := fixture.Whisper(ctx, o, "ada", "a")
					_, e2 := fixture.Disconnect(ctx, o, "ada", 4000, "")
					none := errors.Is(e1, dog.ErrNoTarget) && errors.Is(e2, dog.ErrNoTarget)
					return did.Add("%s, no target: %v", listing(o), none)
				})
				return errors.Join(did.Add("%s", listing(o)), errors.New("undone"))
			},
			Open: func(context.Context, fixture.Owner, *dog.Socket) error { return did.Add("open") },
			Close: func(context.Context, fixture.Owner, *dog.Socket, int, string) error {
				return did.Add("close")
			},
		}
		options, _ := fixture.LogToBuffer()
		v := fixture.NewOwners(t, kind, options, on)
		require.Equal(t, "refused", outcome(v, dial(v, "ada")))
		fixture.Elapse(time.Second)
		require.Equal(t, []string{"1 1 0 1", "0 0 0 0, no target: true"}, did.Take())
		require.Zero(t, v.Runtime.Stats().Sockets)
	})
}

func TestGate_SocketWhoseStartFailedGetsOnCloseOnce(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, v *fixture.Owners) error{
		"OnStart fails":  func(context.Context, *fixture.Owners) error { return errors.New("not now") },
		"OnStart panics": func(context.Context, *fixture.Owners) error { panic("a bug") },
		"the object is reset": func(ctx context.Context, v *fixture.Owners) error {
			go func() { _ = v.Abort(errors.New("second")) }()
			<-ctx.Done()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				engine := storetest.New()
				options, _ := fixture.LogToBuffer()
				options.Store = fixture.StoreOf(engine)
				var did fixture.Lines
				var v *fixture.Owners
				starts := 0
				v = fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
					Start: func(ctx context.Context, o fixture.Owner) error {
						if starts++; starts == 2 {
							return end(ctx, v)
						}
						return o.Storage().Put("k", nil)
					},
					Open: func(context.Context, fixture.Owner, *dog.Socket) error { return did.Add("open") },
					Close: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, code int, _ string) error {
						return did.Add("close %d", code)
					},
				})
				engine.Flush()
				t.Cleanup(engine.Prompt)
				ada := dial(v, "ada")
				require.NoError(t, v.Abort(errors.New("first"))) // between Connect and OnOpen
				synctest.Wait()
				engine.Prompt()
				require.Equal(t, "[] 1011 ", outcome(v, ada))
				fixture.Elapse(time.Minute)
				require.Equal(t, []string{"close 1011"}, did.Take())
				require.Equal(t, 3, starts)
			})
		})
	}
}
