package gate_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// Hooks are not held back: EventDone tells of a handler that has returned,
// whatever becomes of what it has stored.
func TestTrace_HooksRunWhenTheHandlerReturns(t *testing.T) {
	reset := func(t *testing.T, err error) { require.ErrorIs(t, err, dog.ErrReset) }
	none := func(t *testing.T, err error) { require.NoError(t, err) }
	for name, c := range map[string]struct {
		ending   func(c *fixture.Object) error
		rollback bool
		err      func(t *testing.T, err error) // of EventDone
		stopped  bool                          // at once
		then     func(e *storetest.Engine)     // after the handler; nil: durable
		later    bool                          // ObjectStopped follows
	}{
		"durable later": {err: none},
		"lost":          {err: none, then: func(e *storetest.Engine) { e.Fail(errNoDisk) }, later: true},
		"undone in a Transaction": {
			ending: func(c *fixture.Object) error {
				_ = c.Storage().Transaction(func() error { return errors.Join(fixture.Put(c), errUndoIt) })
				return nil
			}, err: none,
		},
		"undone by an error": {
			ending: func(*fixture.Object) error { return errUndoIt }, rollback: true,
			err: func(t *testing.T, err error) { require.ErrorIs(t, err, errUndoIt) },
		},
		"undone by a panic": {
			ending: func(*fixture.Object) error { panic("undo it") }, err: reset, stopped: true,
		},
		"reset by itself": {
			ending: func(c *fixture.Object) error { c.Abort(errUndoIt); return nil }, err: reset, stopped: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log fixture.TraceLog
				engine := storetest.New()
				t.Cleanup(engine.Prompt)
				rt := dogtest.New(t, dog.Options{Store: fixture.OpenedStore(engine), Trace: log.Trace()})
				cells, err := dog.RegisterObject(
					rt, "cell", &dog.ObjectOptions[fixture.Object]{RollbackOnError: c.rollback},
				)
				require.NoError(t, err)
				require.NoError(t, dog.CallErr0(t.Context(), cells.Named("a"), (*fixture.Object).Nothing))
				_, _ = log.Events(), log.Take()
				answered := make(chan error, 1)
				go func() {
					answered <- dog.CallErr(
						context.Background(), cells.Named("a"), (*fixture.Object).With,
						func(o *fixture.Object) error {
							if err := fixture.Put(o); err != nil || c.ending == nil {
								return err
							}
							return c.ending(o)
						},
					)
				}()
				events := log.Events()
				require.Len(t, events, 1, "not held back")
				require.Equal(t, dog.EventCall, events[0].Kind)
				c.err(t, events[0].Err)
				want := []string{"cell Call"}
				if c.stopped {
					want = append(want, "cell reset")
				}
				require.ElementsMatch(t, want, log.Take())
				if c.then == nil {
					c.then = (*storetest.Engine).Prompt
				}
				c.then(engine)
				<-answered
				require.Empty(t, log.Events(), "the outcome is not reported by another EventDone")
				if want = nil; c.later {
					want = []string{"cell reset"}
				}
				require.Equal(t, want, log.Take())
			})
		})
	}
}

// Sockets join and leave through the gate, and hooks tell of what they did.
func TestTrace_SocketHooksRunBehindTheGate(t *testing.T) {
	for name, lost := range map[string]bool{"durable later": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log fixture.TraceLog
				engine := storetest.New()
				t.Cleanup(engine.Prompt)
				on := &fixture.OwnerHooks{
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						if err := fixture.Put(o); err != nil {
							return err
						}
						_, err := o.Connect(w, req, nil)
						return err
					},
				}
				v := fixture.NewOwners(
					t, "an object with Receive and OnError",
					dog.Options{Store: fixture.OpenedStore(engine), Trace: log.Trace()}, on,
				)
				go func() { _, _, _ = v.Server.TryDial("/?u=ada", dogtest.DialOptions{}) }()
				require.Equal(t, []string{"owners started", "owners OnStart", "owners Receive"}, log.Take())
				if lost {
					engine.Fail(errNoDisk)
					require.Equal(t, []string{"owners reset"}, log.Take(), "it was never opened")
					return
				}
				engine.Prompt()
				require.Equal(t, []string{"ada opened", "owners OnOpen"}, log.Take())
			})
		})
	}
}
