package gate_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/gate"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// An interrupted is a value that runs a function when it is encoded, which is
// after its sender has been found to be in its life, and before the gate.
type interrupted func()

func (f interrupted) MarshalJSON() ([]byte, error) { f(); return []byte(`"w"`), nil }

// interruptedContext does so when it is asked whether it has ended.
type interruptedContext struct {
	context.Context
	once func()
}

func (c interruptedContext) Err() error { c.once(); return nil }

// A handler that is reset while it sends has sent nothing, although the gate is
// open again.
func TestGate_ResetWhileAHandlerSendsDropsTheMessage(t *testing.T) {
	type sending struct {
		by   actorFunc
		send func(s *stage, ctx context.Context, reset func()) error
	}
	of := func(ctx context.Context, reset func()) context.Context {
		return interruptedContext{context.WithoutCancel(ctx), reset}
	}
	foreign := func(reset func()) context.Context { return of(context.Background(), reset) }
	tests := map[string]sending{
		"Socket.Emit": {by: inObject, send: func(s *stage, _ context.Context, reset func()) error {
			return s.newer.Emit(interrupted(reset))
		}},
		"Socket.Broadcast": {by: inReplica, send: func(s *stage, _ context.Context, reset func()) error {
			return s.socket.Broadcast(interrupted(reset))
		}},
		"Socket.Whisper": {by: inReplica, send: func(s *stage, _ context.Context, reset func()) error {
			_, err := s.socket.Whisper(foreign(reset), "eve", "w")
			return err
		}},
		"Replica.Broadcast": {by: inReplica, send: func(s *stage, _ context.Context, reset func()) error {
			return s.replica.Broadcast(interrupted(reset))
		}},
		"Replica.Whisper": {by: inReplica, send: func(s *stage, _ context.Context, reset func()) error {
			_, err := s.replica.Whisper(foreign(reset), "eve", "w")
			return err
		}},
		"Replica.Disconnect": {by: inReplica, send: func(s *stage, _ context.Context, reset func()) error {
			_, err := s.replica.Disconnect(foreign(reset), "eve", 4000, "w")
			return err
		}},
		"Replica.Gossip": {by: inReplica, send: func(s *stage, _ context.Context, reset func()) error {
			_, err := s.replica.Gossip(foreign(reset), "w")
			return err
		}},
		"Object.Broadcast": {by: inObject, send: func(s *stage, _ context.Context, reset func()) error {
			return s.object.Broadcast(interrupted(reset))
		}},
		"Object.Whisper": {by: inObject, send: func(s *stage, _ context.Context, reset func()) error {
			_, err := s.object.Whisper("fay", interrupted(reset))
			return err
		}},
		"Group.Emit": {by: inGroup, send: func(s *stage, _ context.Context, reset func()) error {
			return s.main.Emit(s.far, interrupted(reset))
		}},
		"Group.Broadcast": {by: inGroup, send: func(s *stage, _ context.Context, reset func()) error {
			return s.main.Broadcast(interrupted(reset))
		}},
		"GroupStub.Emit": {by: inObject, send: func(s *stage, ctx context.Context, reset func()) error {
			return s.group().Emit(of(ctx, reset), s.far, "w")
		}},
		"GroupStub.Broadcast": {by: inObject, send: func(s *stage, ctx context.Context, reset func()) error {
			return s.group().Broadcast(of(ctx, reset), "w")
		}},
	}
	for name, w := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, false)
				ended := errors.New("nothing was sent")
				err := w.by(s, func(ctx context.Context, o actor) error {
					if err := o.Storage().Put("key", nil); err != nil {
						return err
					}
					ended = w.send(s, ctx, sync.OnceFunc(func() {
						o.Abort(errors.New("meanwhile"))
						if _, plain := o.(*stageObject); plain {
							s.fay = s.srv.Dial("/join?as=fay") // in the next life
							synctest.Wait()
						}
					}))
					return nil
				})
				require.ErrorIs(t, err, dog.ErrReset)
				require.ErrorIs(t, ended, dog.ErrReset)
				s.engine.Flush()
				require.False(t, s.observed())
			})
		})
	}
}

// hijackedIn runs a function when the connection has been hijacked.
type hijackedIn struct {
	http.ResponseWriter
	then func()
}

func (w hijackedIn) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, b, err := w.ResponseWriter.(http.Hijacker).Hijack()
	w.then()
	return c, b, err
}

// A client does not see a connection that a handler has made that was undone.
func TestGate_ResetDuringConnectRefusesTheConnection(t *testing.T) {
	fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
		var err error
		v, _ := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
			Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
				if err := fixture.Put(o); err != nil {
					return err
				}
				_, err = o.Connect(hijackedIn{w, func() { o.Abort(errors.New("meanwhile")) }}, req, nil)
				return nil
			},
		})
		_, _, dialed := v.Server.TryDial("/?u=ada", dogtest.DialOptions{})
		require.Error(t, dialed)
		synctest.Wait() // until the handler has returned
		require.ErrorIs(t, err, dog.ErrReset)
	})
}

// What a durable history keeps belongs to the transaction in which it was sent,
// and not to that of the next life.
func TestGate_ResetWhileAHandlerSendsKeepsNothing(t *testing.T) {
	for name, taken := range map[string]bool{"nobody has the turn": false, "another handler has it": true} {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				var told error
				begin := func() {}
				goOn := make(chan struct{})
				v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
					History: dog.HistoryOptions{Count: 10, Durable: true},
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						if req.FormValue("do") == "next" {
							<-goOn
							return nil
						}
						if err := fixture.Put(o); err != nil {
							return err
						}
						told = o.Broadcast(interrupted(func() {
							o.Abort(errors.New("meanwhile"))
							begin()
						}))
						close(goOn)
						return nil
					},
				})
				engine.Prompt()
				if taken {
					begin = func() {
						fixture.GetInBackground(v.Server, "/?u=ada&do=next")
						synctest.Wait()
					}
				}
				v.Server.Get("/?u=ada")
				require.ErrorIs(t, told, dog.ErrReset)
				synctest.Wait()
				kept, err := v.History("ada").Read("", 10)
				require.NoError(t, err)
				require.Empty(t, kept.Messages)
			})
		})
	}
}

// The check is in the gate, for each way out.
func TestGate_OutputOfAnEraThatIsOverIsDropped(t *testing.T) {
	g := gate.New(storetest.New(), func(error) {})
	era := g.Era()
	require.True(t, g.OpenIn(era))
	g.Shut(errors.New("reset"))
	g.Recover()
	require.True(t, g.Open())
	require.False(t, g.OpenIn(era))
	var got error
	require.ErrorIs(t, g.SendIn(era, func(lost error) { got = lost }), gate.ErrPast)
	require.ErrorIs(t, got, gate.ErrPast)
	require.NoError(t, g.SendIn(g.Era(), func(lost error) { got = lost }))
	require.NoError(t, got)
}
