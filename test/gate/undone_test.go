package gate_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestGate_FailedCommitResetsTheObjectAndDropsOutput(t *testing.T) {
	tests := map[string]func(*storetest.Engine){
		"at once": func(e *storetest.Engine) { e.Refuse(dog.ErrStoreFull) },
		"later":   func(*storetest.Engine) {},
	}
	for name, before := range tests {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				var lives atomic.Int32
				v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
					Start: func(context.Context, fixture.Owner) error { lives.Add(1); return nil },
					Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
						if m.String() == "store" {
							if err := fixture.Put(o); err != nil {
								return err
							}
						}
						return errors.Join(s.Send("sent"), fixture.Emit(o, "emitted"), o.Broadcast("broadcast"))
					},
					Receive: func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
						switch {
						case dog.IsUpgrade(req):
							_, err := o.Connect(w, req, nil)
							return err
						case fixture.Put(o) != nil:
							w.WriteHeader(http.StatusInsufficientStorage)
						default:
							_, _ = io.WriteString(w, "kept")
						}
						return nil
					},
				})
				ada := v.Enter("ada")
				before(engine)
				ada.Send("store")
				status := make(chan int, 1)
				go func() {
					answer, _ := fixture.Request(t, v.Server, "GET", "/?u=ada", nil)
					status <- answer.StatusCode
				}()
				synctest.Wait()
				engine.Fail(errors.Join(dog.ErrStoreFailed, errors.New("no disk")))
				code, _ := ada.Closed()
				require.Equal(t, 1011, code)
				require.Empty(t, fixture.Texts(ada))
				require.NotEqual(t, http.StatusOK, <-status)
				require.GreaterOrEqual(t, lives.Load(), int32(1))

				bob := v.Enter("bob") // reading goes on, in a new life
				bob.Send("read")
				require.Equal(t, []string{"sent", "emitted", "broadcast"}, fixture.Texts(bob))
			})
		})
	}
}

func TestGate_PanicUndoesWritesAndDropsOutput(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if m.String() == "read" {
					value, found, err := o.Storage().Get("key")
					require.False(t, found)
					return errors.Join(err, s.Send("read "+string(value)))
				}
				if err := fixture.Put(o); err != nil {
					return err
				}
				require.NoError(t, s.Send("kept"))
				panic("no")
			},
		})
		engine.Prompt()
		ada := v.Enter("ada")
		ada.Send("store")
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		bob := v.Enter("bob")
		bob.Send("read")
		require.Equal(t, []string{"read "}, fixture.Texts(bob))
	})
}

// undoing stores one thing for each call, and takes the second back.
type undoing struct {
	dog.Object
	calls int
}

func (s *undoing) Write(context.Context) (int, error) {
	s.calls++
	if err := s.Storage().Put("calls", []byte{byte(s.calls)}); err != nil {
		return 0, err
	}
	if s.calls == 2 {
		return 0, errors.New("there has been one before")
	}
	return s.calls, nil
}

func TestGate_ErrorThatUndoesWritesWaitsForEarlierWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
		objects, err := dog.RegisterObject(rt, "undoing", &dog.ObjectOptions[undoing]{RollbackOnError: true})
		require.NoError(t, err)
		outcomes := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := dog.Call0(context.Background(), objects.Named("a"), (*undoing).Write)
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

func TestGate_AbortDropsOutputOfTheHandler(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		stored, aborted := make(chan fixture.Owner), make(chan struct{})
		v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if m.String() == "read" {
					return s.Send("read")
				}
				if err := fixture.Put(o); err != nil {
					return err
				}
				stored <- o
				<-aborted
				_ = fixture.Emit(o, "emitted")
				return s.Send("sent")
			},
		})
		engine.Prompt()
		ada := v.Enter("ada")
		ada.Send("store")
		(<-stored).Abort(errors.New("enough"))
		close(aborted)
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		require.Empty(t, fixture.Texts(ada))
		bob := v.Enter("bob")
		bob.Send("read")
		require.Equal(t, []string{"read"}, fixture.Texts(bob))
	})
}

func TestGate_DropsOutputOfAResetHandler(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var errs []error
		aborted, leave := make(chan struct{}), make(chan struct{})
		on := &fixture.OwnerHooks{
			Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, _ dog.Message) error {
				errs = append(errs, fixture.Put(o))
				o.Abort(errors.New("enough"))
				close(aborted)
				<-leave
				_, whispered := s.Whisper(ctx, "bob", "late")
				errs = append(
					errs, fixture.Emit(o, "late"), o.Broadcast("late"), s.Emit("late"), s.Broadcast("late"),
					s.Supersede(), whispered,
				)
				return nil
			},
			Close: func(_ context.Context, _ fixture.Owner, s *dog.Socket, _ int, _ string) error {
				return s.Broadcast(s.UID() + " left")
			},
		}
		if fixture.IsReplica(kind) {
			on.MaxSockets = 1 // bob is on another one
		}
		v := fixture.NewOwners(t, kind, dog.Options{}, on)
		ada := v.Enter("ada")
		ada.Send("abort")
		<-aborted
		bob := v.Enter("bob") // in the next life, or on another replica
		close(leave)
		require.Equal(t, []string{"ada left"}, fixture.Texts(bob))
		require.NoError(t, errs[0])
		for _, err := range errs[1:] {
			require.ErrorIs(t, err, dog.ErrReset)
		}
	})
}

func TestGate_DropsOutputOfAResetOnClose(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var late error
		on := &fixture.OwnerHooks{
			Close: func(_ context.Context, o fixture.Owner, s *dog.Socket, code int, _ string) error {
				if code == 4000 {
					o.Abort(errors.New("enough"))
					late = s.Broadcast("late")
				}
				return nil
			},
		}
		if fixture.IsReplica(kind) {
			on.MaxSockets = 1
		}
		v := fixture.NewOwners(t, kind, dog.Options{}, on)
		ada, bob := v.Enter("ada"), v.Enter("bob")
		ada.Close(4000, "")
		require.Empty(t, fixture.Texts(bob))
		require.ErrorIs(t, late, dog.ErrReset)
	})
}
