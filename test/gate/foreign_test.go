package gate_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// foreign are the ways out with a context, and those of the socket of a plain
// object.
func foreign() map[string]wayOut {
	all := maps.Clone(outputs)
	maps.DeleteFunc(all, func(name string, w wayOut) bool {
		return !w.context || needsOwnTurn(name)
	})
	all["Socket.Whisper of an object"] = wayOut{
		by: inObject, send: second(func(s *stage, ctx context.Context) (int, error) {
			return s.newer.Whisper(ctx, "fay", "w")
		}), waits: true, context: true,
	}
	return all
}

// needsOwnTurn reports whether a way out is refused outside the turn of its
// object, and with another context than that of the handler.
func needsOwnTurn(name string) bool {
	return name == "Go" || name == "Storage.Sync" || strings.HasPrefix(name, "outbox.")
}

// waitsAtGate reports whether a way out waits at the gate of the object that it
// is a method of if its context belongs to no handler.
func waitsAtGate(name string) bool {
	of, method, _ := strings.Cut(strings.TrimSuffix(name, " of an object"), ".")
	switch of {
	case "Replica", "Group", "Socket":
		return method == "Whisper" || method == "Disconnect" || method == "Gossip"
	}
	return false
}

// A handler that passes on a context other than its own cannot be distinguished
// from other callers, and so may wait for itself.
func TestForeignContext_HangsNoHandler(t *testing.T) {
	tried := 0
	for name, w := range foreign() {
		if waitsAtGate(name) {
			tried++
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStageOf(t, false, newUnchecked)
				s.engine.Prompt()
				done := func() bool { return s.observed() || w.noticed != nil && w.noticed(s) }
				began := time.Now()
				result, ended := make(chan error, 1), make(chan error, 1)
				go func() {
					ended <- w.by(s, func(_ context.Context, o actor) error {
						result <- errors.Join(o.Storage().Put("key", nil), w.send(s, context.Background()))
						return nil
					})
				}()
				select {
				case err := <-result:
					if !waitsAtGate(name) {
						require.NoError(t, err)
						break
					}
					require.ErrorIs(t, err, dog.ErrPastGate)
					require.ErrorContains(t, err, "pass the handler's own context")
					require.Equal(t, 30*time.Second, time.Since(began))
					require.False(t, done(), "nothing was done")
					require.NoError(t, <-ended)
					require.NoError(t, w.by(s, func(ctx context.Context, _ actor) error { return w.send(s, ctx) }))
				case <-time.After(time.Minute):
					require.Fail(t, "it waits for itself")
				}
				require.True(t, done())
			})
		})
	}
	require.Equal(t, 8, tried)
}

// Also callers outside of all objects, and handlers of other objects, wait for
// an event that has written, but not without end.
func TestForeignContext_WaitsForAnEventOfTheObject(t *testing.T) {
	callers := map[string]func(s *stage, w wayOut) error{
		"an outside caller": func(s *stage, w wayOut) error { return w.send(s, context.Background()) },
		"a handler of another object": func(s *stage, w wayOut) error {
			return dog.CallErr(
				context.Background(), s.objects.Named("other"), (*stageObject).Run,
				func(context.Context, actor) error { return w.send(s, context.Background()) },
			)
		},
	}
	runtimes := map[string]func(testing.TB, dog.Options) *dog.Runtime{
		"unchecked": newUnchecked, "with CheckTurns": dogtest.New,
	}
	for name, w := range foreign() {
		if !waitsAtGate(name) {
			continue
		}
		for who, call := range callers {
			for how, newRuntime := range runtimes {
				for takes, want := range map[time.Duration]error{29 * time.Second: nil, time.Minute: dog.ErrPastGate} {
					t.Run(strings.Join([]string{name, who, how, takes.String()}, "/"), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							s := newStageOf(t, false, newRuntime)
							s.engine.Prompt()
							ended := make(chan error, 1)
							go func() {
								ended <- w.by(s, func(_ context.Context, o actor) error {
									err := o.Storage().Put("key", nil)
									time.Sleep(takes)
									return err
								})
							}()
							synctest.Wait()
							began := time.Now()
							require.ErrorIs(t, call(s, w), want)
							require.Equal(t, min(takes, 30*time.Second), time.Since(began))
							require.NoError(t, <-ended)
							require.Equal(t, want == nil, s.observed())
						})
					})
				}
			}
		}
	}
}

func TestForeignContext_WaitsForTheDiskAsLongAsItTakes(t *testing.T) {
	for name, w := range foreign() {
		if !waitsAtGate(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStageOf(t, false, newUnchecked)
				go func() {
					_ = w.by(s, func(_ context.Context, o actor) error {
						err := o.Storage().Put("key", nil)
						time.Sleep(10 * time.Second)
						return err
					})
				}()
				synctest.Wait()
				sent := make(chan error, 1)
				go func() { sent <- w.send(s, context.Background()) }()
				time.Sleep(10 * time.Minute)
				require.False(t, s.observed())
				require.Empty(t, sent)
				s.engine.Prompt()
				require.NoError(t, <-sent)
				require.True(t, s.observed())
			})
		})
	}
}
