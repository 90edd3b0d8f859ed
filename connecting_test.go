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

// dialing is a client that connects, perhaps for a while.
type dialing struct {
	done   chan struct{}
	client *dogtest.Client // nil if it was refused; set before done is closed
}

// dial begins to connect a uid and waits until everything has come to rest.
func (v *venue) dial(uid string) *dialing {
	d := &dialing{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		if c, _, err := v.srv.TryDial("/?u="+uid, dogtest.DialOptions{}); err == nil {
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
func (v *venue) outcome(d *dialing) string {
	<-d.done
	if d.client == nil {
		return "refused"
	}
	heard := texts(d.client)
	if v.rt.Stats().Sockets > 0 {
		return fmt.Sprint(heard, " open")
	}
	code, reason := d.client.Closed()
	return fmt.Sprint(heard, " ", code, " ", reason)
}

// deeds are the ways to do something to the socket of ada that has just
// connected.
var deeds = map[string]struct {
	do   func(ctx context.Context, o owner, s *dog.Socket) error
	want string // what the client gets
}{
	"nothing": {func(context.Context, owner, *dog.Socket) error { return nil }, "[] open"},
	"Send":    {func(_ context.Context, _ owner, s *dog.Socket) error { return s.Send("a") }, "[a] open"},
	"Broadcast": {
		func(_ context.Context, o owner, _ *dog.Socket) error { return o.Broadcast("a") }, "[a] open",
	},
	"Broadcast to its own": {func(_ context.Context, o owner, _ *dog.Socket) error { return emit(o, "a") }, "[a] open"},
	"Emit to the others":   {func(_ context.Context, _ owner, s *dog.Socket) error { return s.Emit("a") }, "[] open"},
	"Whisper": {func(ctx context.Context, o owner, _ *dog.Socket) error {
		return one(whisper(ctx, o, "ada", "a"))
	}, "[a] open"},
	"Socket.Whisper": {func(ctx context.Context, _ owner, s *dog.Socket) error {
		return one(s.Whisper(ctx, "ada", "a"))
	}, "[a] open"},
	"Disconnect": {func(ctx context.Context, o owner, _ *dog.Socket) error {
		return one(disconnect(ctx, o, "ada", 4000, "banned"))
	}, "[] 4000 banned"},
	"Disconnect twice": {func(ctx context.Context, o owner, _ *dog.Socket) error {
		if err := one(disconnect(ctx, o, "ada", 4000, "banned")); err != nil {
			return err
		}
		if n, err := disconnect(ctx, o, "ada", 4001, "again"); n != 0 || !errors.Is(err, dog.ErrNoTarget) {
			return fmt.Errorf("the second one: %d, %w", n, err)
		}
		return nil
	}, "[] 4000 banned"},
	"Close":        {func(_ context.Context, _ owner, s *dog.Socket) error { return s.Close(4000, "banned") }, "[] 4000 banned"},
	"Send to each": {func(_ context.Context, o owner, _ *dog.Socket) error { return toEach(o, "a") }, "[a] open"},
	"Close of each of the uid": {func(_ context.Context, o owner, _ *dog.Socket) error {
		n := 0
		for s := range o.SocketsOf("ada") {
			n++
			if err := s.Close(4000, "banned"); err != nil {
				return err
			}
		}
		return one(n, nil)
	}, "[] 4000 banned"},
	"all of them": {func(ctx context.Context, o owner, s *dog.Socket) error {
		e1 := s.Send("a")
		e2 := o.Broadcast("b")
		e3 := one(whisper(ctx, o, "ada", "c"))
		e4 := emit(o, "d")
		e5 := toEach(o, "e")
		e6 := one(s.Whisper(ctx, "ada", "f"))
		e7 := one(disconnect(ctx, o, "ada", 4000, "banned"))
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
func toEach(o owner, v any) error {
	n := 0
	for s := range o.Sockets() {
		n++
		if err := s.Send(v); err != nil {
			return err
		}
	}
	return one(n, nil)
}

func TestWhatIsDoneAfterConnectReachesTheSocketWhateverTheDiskDoes(t *testing.T) {
	for name, deed := range deeds {
		for _, stores := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stores: %v", name, stores), func(t *testing.T) {
				overReceivers(t, func(t *testing.T, kind string) {
					done := errors.New("not done")
					v, engine := newGatedVenue(t, kind, &owners{
						receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
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
					ada := v.dial("ada")
					require.Equal(t, !stores, ada.over(), "nothing leaves before it is durable")
					engine.Flush()
					require.Equal(t, deed.want, v.outcome(ada))
					require.NoError(t, done)
				})
			})
		}
	}
}

// In another event, which finds a socket whose handshake waits for the disk.
func TestWhatIsDoneToASocketThatConnectsReachesItWhenItIsDurable(t *testing.T) {
	for name, deed := range deeds {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, waits: %v", name, waits), func(t *testing.T) {
				overOwners(t, func(t *testing.T, kind string) {
					done := errors.New("not done")
					v, engine := newGatedVenue(t, kind, &owners{start: func(_ context.Context, o owner) error {
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
					}})
					if !waits {
						engine.Prompt()
					}
					ada := v.dial("ada")
					time.Sleep(time.Second)
					synctest.Wait()
					require.Equal(t, !waits, ada.over(), "nothing leaves before it is durable")
					time.Sleep(8 * time.Second) // longer than CloseTimeout
					engine.Flush()
					require.Equal(t, deed.want, v.outcome(ada))
					require.NoError(t, done)
				})
			})
		}
	}
}

func TestASocketThatConnectsSurvivesAStartThatFailsOnce(t *testing.T) {
	for _, waits := range []bool{false, true} {
		t.Run(fmt.Sprint("waits: ", waits), func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				starts := 0
				engine := storetest.New()
				options, _ := logged()
				options.Store, options.HibernateAfter = asStore(engine), time.Second
				v := newVenue(t, kind, options, &owners{hibernate: true, start: func(_ context.Context, o owner) error {
					if starts++; starts == 2 {
						return errors.New("not now")
					}
					return o.Storage().Put("k", nil)
				}})
				t.Cleanup(engine.Prompt)
				engine.Flush()
				if !waits {
					engine.Prompt()
				}
				ada := v.dial("ada")
				elapse(5 * time.Second)
				require.Equal(t, 1, starts)
				bob := v.dial("bob") // wakes the object
				elapse(2 * time.Second)
				require.Equal(t, 3, starts)
				engine.Flush()
				require.Equal(t, "[] open", v.outcome(ada))
				require.Equal(t, "[] open", v.outcome(bob))
			})
		})
	}
}

// A group, and another replica, have gates of their own.
func TestOthersReachASocketThatConnectsWhenItIsDurable(t *testing.T) {
	type rooms = dog.GroupStub[dog.Group, foyer]
	for name, c := range map[string]struct {
		do   func(ctx context.Context, group rooms) error
		want string
	}{
		"Whisper": {func(ctx context.Context, group rooms) error { return one(group.Whisper(ctx, "ada", "a")) }, "[a] open"},
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
				bubble(t, func(t *testing.T) {
					engine := storetest.New()
					options, _ := logged()
					options.Store = asStore(engine)
					rt := dogtest.New(t, options)
					var did lines
					on := &owners{
						receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
							if err := o.Storage().Put("k", nil); err != nil {
								return err
							}
							_, err := o.Connect(w, req, nil)
							return err
						},
						open:  func(context.Context, owner, *dog.Socket) error { return did.add("open") },
						close: func(context.Context, owner, *dog.Socket, int, string) error { return did.add("close") },
					}
					replicas, err := dog.RegisterReplica(rt, "rooms", &dog.ReplicaOptions[foyer]{
						New: func() *foyer { return &foyer{annex{on: on}} },
					})
					require.NoError(t, err)
					groups, err := dog.RegisterGroup(rt, "groups", replicas, &dog.GroupOptions[dog.Group]{Limit: 5})
					require.NoError(t, err)
					engine.Flush()
					t.Cleanup(engine.Prompt)
					main := groups.Named("main")
					v := &venue{rt: rt, srv: dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
						stub, err := main.Identify(req.Context(), "ada")
						if err != nil {
							dog.WriteError(w, err)
							return
						}
						stub.ServeHTTP(w, req)
					}))}
					ada := v.dial("ada")
					require.NoError(t, c.do(t.Context(), main))
					time.Sleep(8 * time.Second) // longer than CloseTimeout
					synctest.Wait()
					require.False(t, ada.over(), "nothing leaves before it is durable")
					if lost {
						engine.Fail(errors.New("the disk is gone"))
						require.Equal(t, "refused", v.outcome(ada))
						require.Empty(t, did.take())
						return
					}
					engine.Flush()
					require.Equal(t, c.want, v.outcome(ada))
					require.Contains(t, did.take(), "open")
				})
			})
		}
	}
}

// listing counts the sockets that an owner lists: all, those with a tag, those
// with another one too, and those of ada.
func listing(o owner) string {
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

func TestSocketsAreListedFromConnectOn(t *testing.T) {
	for _, stores := range []bool{false, true} {
		t.Run(fmt.Sprintf("stores: %v", stores), func(t *testing.T) {
			overReceivers(t, func(t *testing.T, kind string) {
				var did lines
				v, engine := newGatedVenue(t, kind, &owners{
					receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
						if stores {
							require.NoError(t, o.Storage().Put("k", nil))
						}
						before := listing(o)
						if _, err := o.Connect(w, req, &dog.SocketOptions{Tags: []string{"tag"}}); err != nil {
							return err
						}
						o.Every(time.Second, func(context.Context) error { return did.add("%s", listing(o)) })
						return did.add("%s, then %s", before, listing(o))
					},
				})
				ada := v.dial("ada")
				elapse(1100 * time.Millisecond)
				engine.Flush()
				<-ada.done
				elapse(time.Second)
				ada.client.Vanish()
				elapse(time.Second)
				require.Equal(t, []string{"0 0 0 0, then 1 1 0 1", "1 1 0 1", "1 1 0 1", "0 0 0 0"}, did.take())
			})
		})
	}
}

func TestASocketWhoseConnectIsUndoneIsGone(t *testing.T) {
	undone := errors.New("undone")
	for _, kind := range []string{"an object", "a replica"} {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var did lines
				on := &owners{
					receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
						require.NoError(t, o.Storage().Put("k", nil))
						_, err := o.Connect(w, req, &dog.SocketOptions{Tags: []string{"tag"}})
						require.NoError(t, err)
						o.After(0, func(ctx context.Context) error {
							_, e1 := whisper(ctx, o, "ada", "a")
							_, e2 := disconnect(ctx, o, "ada", 4000, "")
							none := errors.Is(e1, dog.ErrNoTarget) && errors.Is(e2, dog.ErrNoTarget)
							return did.add("%s, no target: %v", listing(o), none)
						})
						return errors.Join(did.add("%s", listing(o)), undone)
					},
					open:  func(context.Context, owner, *dog.Socket) error { return did.add("open") },
					close: func(context.Context, owner, *dog.Socket, int, string) error { return did.add("close") },
				}
				options, _ := logged()
				v := &venue{rt: dogtest.New(t, options)}
				if kind == "an object" {
					objects, err := dog.RegisterObject(v.rt, "owners", &dog.ObjectOptions[entrance]{
						New: func() *entrance { return &entrance{parlor{on: on}} }, RollbackOnError: true,
					})
					require.NoError(t, err)
					leadToObjects(v, objects, (*entrance).Do)
				} else {
					replicas, err := dog.RegisterReplica(v.rt, "owners", &dog.ReplicaOptions[foyer]{
						New: func() *foyer { return &foyer{annex{on: on}} }, RollbackOnError: true,
					})
					require.NoError(t, err)
					leadToReplicas(t, v, replicas, 1)
				}
				v.srv = dogtest.Serve(t, v.serve)
				require.Equal(t, "refused", v.outcome(v.dial("ada")))
				elapse(time.Second)
				require.Equal(t, []string{"1 1 0 1", "0 0 0 0, no target: true"}, did.take())
				require.Zero(t, v.rt.Stats().Sockets)
			})
		})
	}
}
