package gate_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestGate_UndoneWritesHijackNothing(t *testing.T) {
	for how, c := range map[string]struct {
		ending func(s *stage, o actor, hijack func() error) error
		err    error // of Hijack
	}{
		"undone in a Transaction": {func(s *stage, o actor, hijack func() error) error {
			s.engine.Prompt()
			return o.Storage().Transaction(func() error {
				return errors.Join(o.Storage().Put("said", nil), hijack(), errUndoIt)
			})
		}, dog.ErrInTransaction},
		"reset while it waits": {func(_ *stage, o actor, hijack func() error) error {
			go func() {
				time.Sleep(time.Millisecond)
				o.Abort(errUndoIt)
			}()
			return errors.Join(o.Storage().Put("said", nil), hijack())
		}, dog.ErrReset},
		"reset before": {func(s *stage, o actor, hijack func() error) error {
			s.engine.Prompt()
			err := o.Storage().Put("said", nil)
			o.Abort(errUndoIt)
			return errors.Join(err, hijack())
		}, dog.ErrReset},
		"lost while it waits": {func(s *stage, o actor, hijack func() error) error {
			go func() {
				time.Sleep(time.Millisecond)
				s.engine.Fail(errNoDisk)
			}()
			return errors.Join(o.Storage().Put("said", nil), hijack())
		}, dog.ErrReset},
	} {
		for name, a := range answers {
			if !a.waits {
				continue
			}
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, false)
					var hijacked error
					s.receive = func(o actor, w http.ResponseWriter, _ *http.Request) error {
						return c.ending(s, o, func() error { hijacked = a.send(w); return hijacked })
					}
					var asking sync.WaitGroup
					asking.Go(s.ask)
					fixture.Elapse(time.Second)
					s.engine.Prompt()
					asking.Wait()
					require.ErrorIs(t, hijacked, c.err)
					require.False(t, s.observed())
				})
			})
		}
	}
}

func TestGate_AbortedResponseKeepsItsWritesUnlessRolledBack(t *testing.T) {
	for how, rollback := range map[string]bool{"kept": false, "RollbackOnError": true} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, rollback)
				s.engine.Prompt()
				var stored *stageObject
				s.receive = func(o actor, _ http.ResponseWriter, _ *http.Request) error {
					stored = o.(*stageObject)
					if err := o.Storage().Put("said", nil); err != nil {
						return err
					}
					panic(http.ErrAbortHandler)
				}
				s.ask()
				require.True(t, s.observed(), "it is broken off")
				require.NoError(t, inObject(s, func(_ context.Context, o actor) error {
					require.Same(t, stored, o, "it goes on")
					_, found, err := o.Storage().Get("said")
					require.Equal(t, !rollback, found)
					return err
				}))
			})
		})
	}
}
