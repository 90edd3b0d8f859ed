package history_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// A message that waits for its first handler, on another replica, is not
// forgotten if that handler panics.
func TestOnce_PendingMessageOfAHandlerThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		handle := func(ctx context.Context, _ fixture.Owner, _ *dog.Socket, _ dog.Message) error {
			if n++; n > 1 {
				return nil
			}
			_ = dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
			panic("as asked")
		}
		on := &fixture.OwnerHooks{MaxSockets: 1, Message: handle}
		v := fixture.NewOwners(t, "a replica", dog.Options{Store: disk.Memory()}, on)
		first := dial(t, v.Server, "ada", session)
		second := dial(t, v.Server, "eve", session)
		require.Len(t, v.Loads(), 2)
		first.Send("m1\na")
		synctest.Wait()
		second.Send("m1\na")
		time.Sleep(time.Minute)
		code, _ := second.Closed()
		require.Equal(t, 1013, code)
		third := dial(t, v.Server, "eve", session)
		require.Zero(t, third.hello.In)
		third.Send("m1\na")
		require.Equal(t, "1", third.ack())
		require.Equal(t, 2, n)
	})
}

// A message that could not be stored holds back those that the client has sent
// after it, although the end of the connection is held back by the gate.
func TestOnce_NothingIsHandledAfterAMessageThatWasRefused(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		var handled []string
		full := true
		v, engine := fixture.NewGatedOwners(t, kind, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
				if m.String() == "b" && full {
					full = false
					return fmt.Errorf("as asked: %w", dog.ErrStoreFull)
				}
				handled = append(handled, m.String())
				return o.Storage().Put(m.String(), nil)
			},
		})
		ada := dial(t, v.Server, "ada", session)
		ada.Send("m1\na")
		ada.Send("m2\nb")
		ada.Send("m3\nc")
		synctest.Wait()
		engine.Flush()
		require.Equal(t, "1", ada.ack())
		code, _ := ada.Closed()
		require.Equal(t, 1013, code)

		again := dial(t, v.Server, "ada", session)
		require.EqualValues(t, 1, again.hello.In)
		again.Send("m2\nb")
		again.Send("m3\nc")
		synctest.Wait()
		engine.Flush()
		require.Equal(t, []string{"a", "b", "c"}, handled)
	})
}

// A message that comes while an earlier one is handled on another connection
// holds back those that the client has sent after it, although the end of the
// connection is held back by the gate.
func TestOnce_NothingIsHandledAfterAMessageThatCameTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // two replicas handle messages
		var handled []string
		handle := func(ctx context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
			mu.Lock()
			handled = append(handled, m.String())
			mu.Unlock()
			if m.String() == "a" {
				return dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
			}
			return o.Storage().Put(m.String(), nil)
		}
		v, engine := fixture.NewGatedOwners(t, "a replica", &fixture.OwnerHooks{MaxSockets: 1, Message: handle})
		first := dial(t, v.Server, "ada", session)
		second := dial(t, v.Server, "eve", session)
		require.Len(t, v.Loads(), 2)
		second.Send("m\nshut the gate")
		synctest.Wait()
		first.Send("m1\na")
		synctest.Wait()
		second.Send("m2\nb") // another connection is not done with 1
		time.Sleep(time.Minute)
		second.Send("m3\nc")
		synctest.Wait()
		require.Equal(t, []string{"shut the gate", "a"}, handled)
		engine.Flush()
		code, _ := second.Closed()
		require.Equal(t, 1013, code)

		third := dial(t, v.Server, "eve", session)
		require.EqualValues(t, 1, third.hello.In)
		third.Send("m2\nb")
		third.Send("m3\nc")
		synctest.Wait()
		require.Equal(t, []string{"shut the gate", "a", "b", "c"}, handled)
	})
}

// A message whose handler exits its goroutine is handled again.
func TestOnce_MessageOfAHandlerThatExits(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		n := 0
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Message: func(context.Context, fixture.Owner, *dog.Socket, dog.Message) error {
				if n++; n == 1 {
					runtime.Goexit()
				}
				return nil
			},
		})
		ada := dial(t, v.Server, "ada", session)
		ada.Send("m1\na")
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		again := dial(t, v.Server, "ada", session)
		again.Send("m1\na")
		require.Equal(t, "1", again.ack())
		require.Equal(t, 2, n)
	})
}

// A message is handled for good when its own writes are durable, although
// another event has written, and is undone, before the end of its own event is
// known.
func TestOnce_AnotherEventThatIsUndoneChangesNothing(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		handled := 0
		done, goOn := make(chan struct{}), make(chan struct{})
		engine := storetest.New()
		first := true
		v := fixture.NewOwners(t, kind, dog.Options{Store: fixture.StoreOf(engine), Trace: &dog.Trace{
			EventDone: func(_ context.Context, e dog.EventInfo) {
				if e.Kind == dog.EventMessage && first {
					first = false
					close(done)
					<-goOn
				}
			},
		}}, &fixture.OwnerHooks{
			MaxSockets: 2,
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, _ dog.Message) error {
				if s.UID() == "ada" {
					handled++
					return o.Storage().Put("a", nil)
				}
				_ = o.Storage().Put("b", nil)
				close(goOn)
				time.Sleep(time.Second) // the end of ada's event is known then
				panic("as asked")
			},
		})
		engine.Flush()
		t.Cleanup(engine.Prompt)
		ada := dial(t, v.Server, "ada", session)
		bob := dial(t, v.Server, "bob", "")
		ada.Send("m1\na")
		<-done
		bob.Send("m\nb")
		synctest.Wait()
		engine.Prompt()
		code, _ := bob.Closed()
		require.Equal(t, 1011, code)

		again := dial(t, v.Server, "ada", session)
		again.Send("m1\na")
		require.Equal(t, "1", again.ack())
		require.Equal(t, 1, handled)
	})
}
