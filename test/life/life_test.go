package life_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// eventLog notes what happens to objects.
type eventLog struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (e *eventLog) note(line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, line)
}

// read returns what has been noted since the last time, sorted.
func (e *eventLog) read() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	lines := slices.Sorted(slices.Values(e.lines))
	e.lines = nil
	return lines
}

// box is a plain object that notes its life and answers GET with how often it
// was asked in this life and in all.
type box struct {
	dog.Object
	events *eventLog
	asked  int
	stop   func(ctx context.Context, b *box) error
}

func (b *box) OnStart(context.Context) error {
	b.events.note("start " + b.Name())
	return nil
}

func (b *box) Receive(w http.ResponseWriter, _ *http.Request) error {
	b.asked++
	all, err := dog.MapOf[int](b.Storage(), "").Update("asked", func(n int) (int, error) { return n + 1, nil })
	if err != nil {
		dog.WriteError(w, err)
		return nil
	}
	_, _ = io.WriteString(w, strconv.Itoa(b.asked)+" "+strconv.Itoa(all))
	return nil
}

// stoppingBox is a box with an OnStop.
type stoppingBox struct{ box }

func (b *stoppingBox) OnStop(ctx context.Context, reason dog.StopReason) error {
	b.events.note("stop " + b.Name() + " " + reason.String())
	if b.stop != nil {
		return b.stop(ctx, &b.box)
	}
	return nil
}

func TestObject_IdleOneLeavesMemoryAndKeepsItsStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := new(eventLog)
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Minute})
		boxes, err := dog.RegisterObject(
			rt, "box", &dog.ObjectOptions[box]{New: func() *box { return &box{events: events} }},
		)
		require.NoError(t, err)
		red := boxes.Named("red")
		require.Equal(t, "1 1", fixture.Get(red))
		require.Equal(t, "2 2", fixture.Get(red))
		require.Len(t, slices.Collect(boxes.Objects()), 1)
		time.Sleep(50 * time.Second)
		require.Equal(t, "3 3", fixture.Get(red), "it was used in time")
		time.Sleep(2 * time.Minute)
		require.Empty(t, slices.Collect(boxes.Objects()))
		require.Equal(t, "1 4", fixture.Get(red), "the stub is good for the next life")
		require.Equal(t, []string{"start red", "start red"}, events.read())
	})
}

func TestObject_TooManyEvictTheLongestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Hour, MaxObjects: 100})
		boxes, err := dog.RegisterObject(
			rt, "box", &dog.ObjectOptions[box]{New: func() *box { return &box{events: new(eventLog)} }},
		)
		require.NoError(t, err)
		for i := range 1000 {
			require.Equal(t, "1 1", fixture.Get(boxes.Named(strconv.Itoa(i))))
			time.Sleep(time.Second)
			require.LessOrEqual(t, len(slices.Collect(boxes.Objects())), 113)
		}
		synctest.Wait()
		live := slices.Collect(boxes.Objects())
		require.LessOrEqual(t, len(live), 100)
		for _, o := range live {
			i, err := strconv.Atoi(o.Name)
			require.NoError(t, err)
			require.Greater(t, i, 850, "the older ones went first")
		}
	})
}

func TestObject_StaysWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		events := new(eventLog)
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Second, Store: fixture.StoreOf(engine)})
		boxes, err := dog.RegisterObject(
			rt, "box", &dog.ObjectOptions[box]{New: func() *box { return &box{events: events} }},
		)
		require.NoError(t, err)
		answered := make(chan string, 1)
		go func() { answered <- fixture.Get(boxes.Named("red")) }()
		time.Sleep(time.Minute)
		require.Len(t, slices.Collect(boxes.Objects()), 1, "what it stored is not durable")
		require.Empty(t, answered)
		engine.Prompt()
		require.Equal(t, "1 1", <-answered)
		time.Sleep(time.Minute)
		require.Empty(t, slices.Collect(boxes.Objects()))
	})
}

func TestObject_OnStopRunsBeforeEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := new(eventLog)
		rt, err := dog.New(dog.Options{EvictAfter: time.Second})
		require.NoError(t, err)
		boxes, err := dog.RegisterObject(rt, "box", &dog.ObjectOptions[stoppingBox]{New: func() *stoppingBox {
			return &stoppingBox{box{events: events, stop: func(_ context.Context, b *box) error {
				return b.Storage().Put("last words", []byte("bye"))
			}}}
		}})
		require.NoError(t, err)
		require.Equal(t, "1 1", fixture.Get(boxes.Named("red")))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"start red", "stop red idle"}, events.read())
		require.Empty(t, slices.Collect(boxes.Objects()))
		require.Equal(t, "1 2", fixture.Get(boxes.Named("red")))
		require.Equal(t, "1 1", fixture.Get(boxes.Named("blue")))
		require.NoError(t, rt.Shutdown(context.Background()))
		require.Equal(t, []string{"start blue", "start red", "stop blue shutdown", "stop red shutdown"}, events.read())
	})
}

func TestObject_EventsDuringOnStopGoToTheNextLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := new(eventLog)
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Second})
		boxes, err := dog.RegisterObject(rt, "box", &dog.ObjectOptions[stoppingBox]{New: func() *stoppingBox {
			return &stoppingBox{box{events: events, stop: func(ctx context.Context, _ *box) error {
				return dog.Await(ctx, func() error { time.Sleep(5 * time.Second); return nil })
			}}}
		}})
		require.NoError(t, err)
		red := boxes.Named("red")
		require.Equal(t, "1 1", fixture.Get(red))
		time.Sleep(3 * time.Second) // it is stopping
		before := time.Now()
		require.Equal(t, "1 2", fixture.Get(red))
		require.Greater(t, time.Since(before), time.Second, "it waited for the end of OnStop, which keeps the turn")
		require.Equal(t, []string{"start red", "start red", "stop red idle"}, events.read())
	})
}

func TestObject_AbortResetsAnObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("enough")
		h := fixture.NewRooms(
			t, 2,
			&fixture.Hooks{Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
				if err := fixture.Put(r); err != nil {
					return err
				}
				r.Abort(reason)
				require.ErrorIs(t, r.Storage().Put("more", nil), dog.ErrReset)
				require.ErrorIs(t, r.Storage().Put("more", nil), reason)
				return nil
			}, Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/ws" {
					r.Connect(w, req, nil)
					return
				}
				_, found, err := r.Storage().Get("key")
				require.NoError(t, err)
				_, _ = io.WriteString(w, strconv.FormatBool(found))
			}},
		)
		ada := h.Enter("ada")
		ada.Send("go")
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		_, body := fixture.Request(t, h.Server, "GET", "/", nil)
		require.Equal(t, "false", body, "what it stored in the handler that aborted is undone")
	})
}
