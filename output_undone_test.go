package dog_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/stretchr/testify/require"
)

func TestACommitThatFailsResetsTheObjectAndSaysNothing(t *testing.T) {
	tests := map[string]func(*storetest.Engine){
		"at once": func(e *storetest.Engine) { e.Refuse(dog.ErrStoreFull) },
		"later":   func(*storetest.Engine) {},
	}
	for name, before := range tests {
		t.Run(name, func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				var lives atomic.Int32
				v, engine := newGatedVenue(t, kind, &owners{
					start: func(context.Context, owner) error { lives.Add(1); return nil },
					message: func(ctx context.Context, o owner, s *dog.Socket, m dog.Message) error {
						if m.String() == "store" {
							if err := put(o); err != nil {
								return err
							}
						}
						return errors.Join(s.Send("said"), emit(o, "emitted"), o.Broadcast("broadcast"))
					},
					receive: func(o owner, w http.ResponseWriter, req *http.Request) error {
						switch {
						case dog.IsUpgrade(req):
							_, err := o.Connect(w, req, nil)
							return err
						case put(o) != nil:
							w.WriteHeader(http.StatusInsufficientStorage)
						default:
							_, _ = io.WriteString(w, "kept")
						}
						return nil
					},
				})
				ada := v.enter("ada")
				before(engine)
				ada.Send("store")
				status := make(chan int, 1)
				go func() {
					answer, _ := ask(t, v.srv, "GET", "/?u=ada", nil)
					status <- answer.StatusCode
				}()
				synctest.Wait()
				engine.Fail(errors.Join(dog.ErrStoreFailed, errors.New("no disk")))
				code, _ := ada.Closed()
				require.Equal(t, 1011, code)
				require.Empty(t, texts(ada))
				require.NotEqual(t, http.StatusOK, <-status)
				require.GreaterOrEqual(t, lives.Load(), int32(1))

				bob := v.enter("bob") // reading goes on, in a new life
				bob.Send("read")
				require.Equal(t, []string{"said", "emitted", "broadcast"}, texts(bob))
			})
		})
	}
}

func TestAPanicUndoesWhatWasStoredAndSaysNothingOfIt(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		v, engine := newGatedVenue(t, kind, &owners{
			message: func(_ context.Context, o owner, s *dog.Socket, m dog.Message) error {
				if m.String() == "read" {
					value, found, err := o.Storage().Get("said")
					require.False(t, found)
					return errors.Join(err, s.Send("read "+string(value)))
				}
				if err := put(o); err != nil {
					return err
				}
				require.NoError(t, s.Send("kept"))
				panic("no")
			},
		})
		engine.Prompt()
		ada := v.enter("ada")
		ada.Send("store")
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		bob := v.enter("bob")
		bob.Send("read")
		require.Equal(t, []string{"read "}, texts(bob))
	})
}

// scribe stores one thing for each call, and takes the second back.
type scribe struct {
	dog.Object
	calls int
}

func (s *scribe) Write(context.Context) (int, error) {
	s.calls++
	if err := s.Storage().Put("calls", []byte{byte(s.calls)}); err != nil {
		return 0, err
	}
	if s.calls == 2 {
		return 0, errors.New("there has been one before")
	}
	return s.calls, nil
}

func TestAnErrorThatUndoesWhatWasStoredWaitsForWhatWasStoredBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		rt := dogtest.New(t, dog.Options{Store: asStore(engine)})
		scribes, err := dog.RegisterObject(rt, "scribe", &dog.ObjectOptions[scribe]{RollbackOnError: true})
		require.NoError(t, err)
		outcomes := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := dog.Call0(context.Background(), scribes.Named("a"), (*scribe).Write)
				outcomes <- err
			}()
			synctest.Wait()
		}
		require.Empty(t, outcomes)
		engine.Prompt()
		synctest.Wait()
		require.ErrorContains(t, errors.Join(<-outcomes, <-outcomes), "there has been one before")
	})
}

func TestAnAbortFromElsewhereSilencesTheHandler(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		stored, aborted := make(chan owner), make(chan struct{})
		v, engine := newGatedVenue(t, kind, &owners{
			message: func(_ context.Context, o owner, s *dog.Socket, m dog.Message) error {
				if m.String() == "read" {
					return s.Send("read")
				}
				if err := put(o); err != nil {
					return err
				}
				stored <- o
				<-aborted
				_ = emit(o, "emitted")
				return s.Send("sent")
			},
		})
		engine.Prompt()
		ada := v.enter("ada")
		ada.Send("store")
		(<-stored).Abort(errors.New("enough"))
		close(aborted)
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		require.Empty(t, texts(ada))
		bob := v.enter("bob")
		bob.Send("read")
		require.Equal(t, []string{"read"}, texts(bob))
	})
}

func TestAHandlerThatWasResetIsNotHeardAnyMore(t *testing.T) {
	overOwners(t, func(t *testing.T, kind string) {
		var errs []error
		on := &owners{message: func(_ context.Context, o owner, _ *dog.Socket, m dog.Message) error {
			if m.String() == "abort" {
				o.Abort(errors.New("enough"))
				errs = append(errs, emit(o, "late"), o.Broadcast("late"))
			}
			return nil
		}}
		if isReplica(kind) {
			on.limit = 1 // bob is on another one
		}
		v := newVenue(t, kind, dog.Options{}, on)
		ada, bob := v.enter("ada"), v.enter("bob")
		ada.Send("abort")
		require.Empty(t, texts(bob))
		require.Len(t, errs, 2)
		for _, err := range errs {
			require.ErrorIs(t, err, dog.ErrReset)
		}
	})
}
