package gate_test

import (
	"context"
	"errors"
	"go/ast"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
	"github.com/godurable/dog/test/internal/surface"
)

// stage returns a stage for a way out.
func (w wayOut) stage(t *testing.T, rollback bool) *stage {
	t.Helper()
	s := newStage(t, rollback)
	if w.before != nil {
		w.before(s)
	}
	return s
}

func TestGate_HoldsOutputUntilDurable(t *testing.T) {
	for name, w := range outputs {
		for fateName, f := range fatesOf(w.waits || w.yields) {
			t.Run(name+"/"+fateName, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := w.stage(t, f.rollback)
					f.begin(s)
					go func() {
						_ = w.by(s, func(ctx context.Context, o actor) error {
							if err := f.write(o); err != nil {
								return err
							}
							if err := w.send(s, ctx); err != nil {
								return err
							}
							return f.ending(o)
						})
					}()
					f.check(s, func() bool { return w.noticed != nil && w.noticed(s) }, f.sent)
				})
			})
		}
	}
}

func fatesOf(ends bool) map[string]fate {
	if ends {
		return waitingFates
	}
	return fates
}

// check checks that output leaves only in the end, and then only if sent is
// set.
func (f fate) check(s *stage, noticed func() bool, sent bool) {
	s.t.Helper()
	asks := !f.doubt // otherwise what noticed calls does not answer, either
	require.False(s.t, s.observed() || asks && noticed(), "too early")
	if f.then != nil {
		f.then(s)
	}
	asks = asks || sent
	require.Equal(s.t, sent, s.observed() || asks && noticed(), "in the end")
}

func TestGate_HeldOutputOfAnUndoneTransactionIsDropped(t *testing.T) {
	for name, w := range outputs {
		if !w.waits && !w.yields {
			continue
		}
		endings := map[string]func(s *stage, ctx context.Context, o actor) error{
			"undone in a Transaction": func(s *stage, ctx context.Context, o actor) error {
				s.engine.Prompt()
				return o.Storage().Transaction(func() error {
					if err := o.Storage().Put("key", nil); err != nil {
						return err
					}
					return errors.Join(w.send(s, ctx), errUndoIt)
				})
			},
			"reset while it waits": func(s *stage, ctx context.Context, o actor) error {
				go func() {
					time.Sleep(time.Millisecond)
					o.Abort(errUndoIt)
				}()
				return errors.Join(o.Storage().Put("key", nil), w.send(s, ctx))
			},
		}
		if w.yields { // and what it has sent by then belongs to the transaction that it has ended
			delete(endings, "reset while it waits")
		}
		for how, ending := range endings {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := w.stage(t, false)
					done := make(chan struct{})
					go func() {
						defer close(done)
						_ = w.by(s, func(ctx context.Context, o actor) error { return ending(s, ctx, o) })
					}()
					fixture.Elapse(time.Second)
					s.engine.Prompt()
					<-done
					require.False(t, s.observed() || w.noticed != nil && w.noticed(s))
				})
			})
		}
	}
}

// What follows an Abort is lost, also if the handler goes on. The next life,
// whose first handlers are those of the ends of sockets, begins after that.
func TestGate_OutputAfterAbortIsDropped(t *testing.T) {
	aborts := map[string]func(o actor){
		"by the handler": func(o actor) { o.Abort(errUndoIt) },
		"by another goroutine": func(o actor) {
			var other sync.WaitGroup
			other.Go(func() { o.Abort(errUndoIt) })
			other.Wait()
		},
	}
	for name, w := range outputs {
		for by, abort := range aborts {
			t.Run(name+"/"+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := w.stage(t, false)
					s.engine.Prompt()
					ended := make(chan error, 1)
					go func() {
						ended <- w.by(s, func(ctx context.Context, o actor) error {
							if err := o.Storage().Put("key", nil); err != nil {
								return err
							}
							s.start = make(chan struct{})
							abort(o)
							return w.send(s, ctx)
						})
					}()
					require.ErrorIs(t, <-ended, dog.ErrReset)
					close(s.start)
					require.False(t, s.observed() || w.noticed != nil && w.noticed(s))
				})
			})
		}
	}
}

func TestGate_AnswerAfterAbortIsDropped(t *testing.T) {
	for name, a := range answers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, false)
				s.engine.Prompt()
				s.receive = func(o actor, w http.ResponseWriter, _ *http.Request) error {
					if err := o.Storage().Put("key", nil); err != nil {
						return err
					}
					o.Abort(errUndoIt)
					return a.send(w)
				}
				s.ask()
				require.False(t, s.observed())
			})
		})
	}
}

func TestGate_CheckTurnsFindsOutputThatBypassesTheGate(t *testing.T) {
	for name, w := range outputs {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := w.stage(t, false)
				by := inObject // with what belongs to another object
				switch {
				case w.context:
					by = w.by
				case strings.HasPrefix(name, "Object."), strings.HasPrefix(name, "outbox."), name == "Socket.Supersede":
					by = inReplica
				}
				result := make(chan error, 1)
				go func() {
					_ = by(s, func(ctx context.Context, o actor) error {
						result <- errors.Join(o.Storage().Put("key", nil), w.send(s, context.Background()))
						return nil
					})
				}()
				err := <-result
				switch {
				case needsOwnTurn(name):
					require.ErrorIs(t, err, dog.ErrOutsideTurn)
				case strings.HasSuffix(name, ".ServeHTTP"):
					require.Error(t, err)
				default:
					require.ErrorIs(t, err, dog.ErrPastGate)
				}
				require.False(t, s.observed() || w.noticed != nil && w.noticed(s))
				s.engine.Prompt()
				require.False(t, s.observed() || w.noticed != nil && w.noticed(s))
			})
		})
	}
}

func TestGate_HoldsEveryPartOfAResponse(t *testing.T) {
	for name, a := range answers {
		for fateName, f := range fatesOf(a.waits || a.breaks) {
			t.Run(name+"/"+fateName, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, f.rollback)
					f.begin(s)
					s.receive = func(o actor, w http.ResponseWriter, _ *http.Request) error {
						if err := errors.Join(f.write(o), a.send(w)); err != nil {
							return err
						}
						return f.ending(o)
					}
					var asking sync.WaitGroup
					asking.Go(s.ask)
					f.check(s, func() bool { return false }, f.sent || f.doubt && a.long)
					s.engine.Prompt()
					asking.Wait()
				})
			})
		}
	}
}

func TestGate_UndoneTransactionSendsNoHandshakeResponse(t *testing.T) {
	connects := map[string]func(*stageReplica, http.ResponseWriter, *http.Request){
		"plain": func(b *stageReplica, w http.ResponseWriter, req *http.Request) { b.Connect(w, req, nil) },
		"with options": func(b *stageReplica, w http.ResponseWriter, req *http.Request) {
			b.Connect(w, req, &dog.SocketOptions{Tags: []string{"w"}})
		},
	}
	for name, connect := range connects {
		for fateName, f := range fates {
			if f.rollback {
				continue
			}
			t.Run(name+"/"+fateName, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, false)
					f.begin(s)
					s.connect = func(b *stageReplica, w http.ResponseWriter, req *http.Request) {
						if f.write(b) != nil {
							return
						}
						connect(b, w, req)
						_ = f.ending(b)
					}
					var dialling sync.WaitGroup
					dialling.Go(func() {
						if _, _, err := s.srv.TryDial("/?u=dan", dogtest.DialOptions{}); err == nil {
							_ = s.reach()
						}
					})
					f.check(s, func() bool { return false }, f.sent)
					s.engine.Prompt()
					dialling.Wait()
				})
			})
		}
	}
}

// A new way out belongs into a table above; what is none needs a reason.
func TestGate_TableOfOutputsIsComplete(t *testing.T) {
	known := map[string]bool{"Object.Connect": true}
	for name := range outputs {
		known[name] = true
	}
	for name := range answers {
		known[strings.Fields(name)[0]] = true
	}
	for why, names := range silent {
		for _, name := range names {
			require.False(t, known[name], "%s: %s, and yet in a table", name, why)
			known[name] = true
		}
	}
	exported := exportedFunctions(t)
	for name := range exported {
		require.True(t, known[name], "is %s a way out of an object?", name)
	}
	for name := range known {
		if strings.Contains(name, ".") && name != "http.ErrAbortHandler" {
			require.True(t, exported[name], "%s does not exist", name)
		}
	}
}

// exportedIn are exported types by the unexported types that they embed, from
// which they have methods.
var exportedIn = map[string]string{"core": "Object", "crowd": "Object"}

// exportedFunctions returns the exported functions and methods of the package
// and of packages outbox and shard, and the methods of the writer that Receive
// gets. A method that several types promote is listed once.
func exportedFunctions(t *testing.T) map[string]bool {
	t.Helper()
	library := surface.Read(t, "../..", "../../internal/answer/writer.go", "../../internal/answer/hijack.go")
	all, embedded := make(map[string]bool), make(map[string]bool)
	for _, f := range library.Declared() {
		if of := exportedIn[f.Type]; of != "" {
			embedded[f.Type], f.Type = true, of
		}
		if slices.Contains(fixture.ValueTypes, f.Type) {
			continue
		}
		if f.Type == "" || ast.IsExported(f.Type) || f.Type == "response" || f.Type == "hijackable" {
			all[f.String()] = true
		}
	}
	for _, name := range []string{"outbox", "shard"} {
		for _, f := range surface.Read(t, "../../"+name).Declared() {
			if !slices.Contains(fixture.ValueTypes, name+"."+f.Type) && (f.Type == "" || ast.IsExported(f.Type)) {
				all[name+"."+f.String()] = true
			}
		}
	}
	for typ := range exportedIn {
		require.True(t, embedded[typ], "%s has no exported methods", typ)
	}
	return all
}
