package life_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// runner is a plain object that runs the functions of a test, and undoes those
// that fail.
type runner struct{ dog.Object }

func (d *runner) Do(ctx context.Context, work func(context.Context, *runner) error) error {
	return work(ctx, d)
}

func newDrudges(t *testing.T, options dog.Options) *dog.Namespace[runner] {
	t.Helper()
	drudges, err := dog.RegisterObject(
		dogtest.New(t, options), "object", &dog.ObjectOptions[runner]{RollbackOnError: true},
	)
	require.NoError(t, err)
	return drudges
}

func (d *runner) put() error { return d.Storage().Put("done", []byte("so")) }

// Of several transactions.

func TestObject_ErrorIsReturnedWhateverTheNextTransactionDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		written := make(chan struct{})
		trace := &dog.Trace{EventDone: func(_ context.Context, e dog.EventInfo) {
			if e.Kind == dog.EventCall && calls.Add(1) == 1 {
				<-written // the first call is about to return its error when the second has stored something
			}
		}}
		drudges := newDrudges(t, dog.Options{Store: fixture.StoreOf(storetest.New()), Trace: trace})
		red := drudges.Named("red")
		first, second, finish := make(chan error, 1), make(chan error, 1), make(chan struct{})
		go func() {
			first <- dog.CallErr(context.Background(), red, (*runner).Do, func(_ context.Context, d *runner) error {
				return errors.Join(d.put(), io.ErrNoProgress)
			})
		}()
		synctest.Wait()
		go func() {
			second <- dog.CallErr(context.Background(), red, (*runner).Do, func(_ context.Context, d *runner) error {
				err := d.put()
				close(written)
				<-finish
				return errors.Join(err, io.ErrShortBuffer)
			})
		}()
		synctest.Wait()
		require.Len(t, first, 1, "the second transaction is none of the first call's business")
		close(finish)
		err := <-first
		require.ErrorIs(t, err, io.ErrNoProgress)
		require.NotErrorIs(t, err, dog.ErrReset)
		err = <-second
		require.ErrorIs(t, err, io.ErrShortBuffer)
		require.NotErrorIs(t, err, dog.ErrReset)
	})
}

func TestObject_CallWithinAWaitOutlivesTheRollbackOfAnotherEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drudges := newDrudges(t, dog.Options{Store: fixture.StoreOf(storetest.New())})
		red, blue := drudges.Named("red"), drudges.Named("blue")
		go1, finish, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			result <- dog.CallErr(context.Background(), red, (*runner).Do, func(ctx context.Context, _ *runner) error {
				return dog.Await(ctx, func() error {
					<-go1
					return dog.CallErr(ctx, blue, (*runner).Do, func(context.Context, *runner) error { return nil })
				})
			})
		}()
		synctest.Wait()
		go func() {
			_ = dog.CallErr(context.Background(), red, (*runner).Do, func(_ context.Context, d *runner) error {
				err := d.put()
				<-finish
				return errors.Join(err, io.ErrShortBuffer)
			})
		}()
		synctest.Wait()
		close(go1)
		synctest.Wait()
		close(finish)
		require.NoError(t, <-result)
	})
}

// slowEngine keeps a read of one key waiting.
type slowEngine struct {
	*storetest.Engine
	reading, goOn chan struct{}
	slow          atomic.Bool
}

func (e *slowEngine) Get(key []byte) ([]byte, bool, error) {
	if e.slow.Load() && slices.Contains(key, '!') {
		close(e.reading)
		<-e.goOn
	}
	return e.Engine.Get(key)
}

type slowStore struct {
	*storetest.Engine
	engine *slowEngine
}

func (s slowStore) OpenEngine(*slog.Logger) (store.Engine, error) { return s.engine, nil }

func TestObject_IsResetIfAFailedHandlersStorageIsStillInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &slowEngine{Engine: storetest.New(), reading: make(chan struct{}), goOn: make(chan struct{})}
		e.Prompt()
		red := newDrudges(t, dog.Options{Store: fixture.StoreOf(slowStore{e.Engine, e})}).Named("red")
		left := make(chan struct{})
		err := dog.CallErr(context.Background(), red, (*runner).Do, func(_ context.Context, d *runner) error {
			if err := d.put(); err != nil {
				return err
			}
			e.slow.Store(true)
			go func() { defer close(left); _, _ = d.Storage().Delete("!") }()
			<-e.reading
			return io.ErrNoProgress
		})
		close(e.goOn)
		<-left
		require.ErrorIs(t, err, dog.ErrReset)
	})
}

// Of commits that are lost while the object has no life.

func TestObject_SendsAgainAfterLosingCommitsBetweenTwoLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		red := newDrudges(t, dog.Options{Store: fixture.StoreOf(engine)}).Named("red")
		lost := make(chan error, 1)
		go func() {
			lost <- dog.CallErr(context.Background(), red, (*runner).Do, func(_ context.Context, d *runner) error {
				return d.put()
			})
		}()
		synctest.Wait()
		broken := make(chan error, 1) // which receives when the outcome of the earlier commit is known
		go func() {
			broken <- dog.CallErr(context.Background(), red, (*runner).Do, func(context.Context, *runner) error {
				panic("no")
			})
		}()
		synctest.Wait()
		engine.Fail(dog.ErrStoreFailed)
		require.ErrorIs(t, <-lost, dog.ErrStoreFailed)
		require.ErrorIs(t, <-broken, dog.ErrReset)
		synctest.Wait()
		err := dog.CallErr(context.Background(), red, (*runner).Do, func(context.Context, *runner) error { return nil })
		require.NoError(t, err)
	})
}

func TestObject_CommitsLostInHibernationCloseTheSocketsAndTheNextLifeSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New()
		h := newLairs(t, dog.Options{Store: fixture.StoreOf(engine), HibernateAfter: 10 * time.Second})
		engine.Flush()
		t.Cleanup(engine.Prompt)
		ada := h.Dial("/")
		ada.Send("store")
		time.Sleep(time.Minute)
		engine.Fail(dog.ErrStoreFailed)
		code, _ := ada.Closed()
		require.Equal(t, 1011, code)
		bob := h.Dial("/")
		bob.Send("well?")
		require.Equal(t, []string{"well?"}, fixture.Texts(bob))
	})
}

// lostReplica is a replica that hibernates.
type lostReplica struct{ dog.Replica }

func (d *lostReplica) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := d.Connect(w, req, nil)
	return err
}

func (d *lostReplica) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	if m.String() == "store" {
		if err := d.Storage().Put("key", []byte("so")); err != nil {
			return err
		}
	}
	return s.Send(m)
}

type lostGroup struct{ dog.Group }

func newLairs(t *testing.T, options dog.Options) *dogtest.Server {
	t.Helper()
	rt := dogtest.New(t, options)
	replicas, err := dog.RegisterReplica(rt, "replica", &dog.ReplicaOptions[lostReplica]{Hibernate: true})
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[lostGroup]{Limit: 10})
	require.NoError(t, err)
	return dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		stub, err := groups.Named("main").Identify(req.Context(), "anybody")
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, req)
	}))
}

// Of gateways.

// countGate is a gateway that counts whom it has seen.
type countGate struct{ dog.Group }

func (p *countGate) Identify(req *http.Request) (string, error) {
	if err := p.Storage().Put("seen", []byte(req.URL.Path)); err != nil {
		return "", err
	}
	if req.URL.Path == "/refuse" {
		return "", errors.New("not you")
	}
	return "guest", nil
}

// greeter is a replica that greets.
type greeter struct{ dog.Replica }

func (*greeter) Receive(w http.ResponseWriter, _ *http.Request) error {
	_, _ = io.WriteString(w, "welcome")
	return nil
}

func TestObject_DecisionOfAGatewayWaitsForItsWrites(t *testing.T) {
	for path, status := range map[string]int{"/refuse": http.StatusForbidden, "/": http.StatusOK} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := storetest.New()
				rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
				greeters, err := dog.RegisterReplica[greeter](rt, "greeter", nil)
				require.NoError(t, err)
				doormen, err := dog.RegisterGroup(rt, "countGate", greeters, &dog.GroupOptions[countGate]{Limit: 10})
				require.NoError(t, err)
				engine.Flush()
				t.Cleanup(engine.Prompt)
				answered := make(chan int, 1)
				go func() {
					w := httptest.NewRecorder()
					doormen.Named("gate").ServeHTTP(w, httptest.NewRequest("GET", path, nil))
					answered <- w.Code
				}()
				synctest.Wait()
				require.Empty(t, answered)
				engine.Flush()
				require.Equal(t, status, <-answered)
			})
		})
	}
}

// Of objects that leave memory.

func TestObject_NewOneIsNotEvictedBeforeItsFirstEvent(t *testing.T) {
	drudges := newDrudges(t, dog.Options{MaxObjects: 1})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := dog.CallErr(ctx, drudges.Named("red"), (*runner).Do, func(ctx context.Context, _ *runner) error {
		return dog.CallErr(
			ctx, drudges.Named("blue"), (*runner).Do, func(context.Context, *runner) error { return nil },
		)
	})
	require.NoError(t, err)
}

func TestObject_TooManyStopOnlyTheLongestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := new(eventLog)
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Hour, MaxObjects: 100})
		boxes, err := dog.RegisterObject(
			rt, "box",
			&dog.ObjectOptions[stoppingBox]{New: func() *stoppingBox { return &stoppingBox{box{events: events}} }},
		)
		require.NoError(t, err)
		for i := range 101 {
			fixture.Get(boxes.Named(strconv.Itoa(i)))
			time.Sleep(time.Second)
		}
		require.GreaterOrEqual(t, len(slices.Collect(boxes.Objects())), 90)
		require.LessOrEqual(t, len(slices.Collect(boxes.Objects())), 100)
		for _, line := range events.read() {
			if name, ok := cutStop(line); ok {
				i, err := strconv.Atoi(name)
				require.NoError(t, err)
				require.Less(t, i, 10, "the older ones go first")
			}
		}
	})
}

func cutStop(line string) (name string, ok bool) {
	const before, after = "stop ", " idle"
	if len(line) < len(before)+len(after) || line[:len(before)] != before {
		return "", false
	}
	return line[len(before) : len(line)-len(after)], true
}

func TestObject_StopsThoughOnStopReturnsTheResetOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := new(eventLog)
		rt := dogtest.New(t, dog.Options{EvictAfter: time.Second})
		boxes, err := dog.RegisterObject(rt, "box", &dog.ObjectOptions[stoppingBox]{New: func() *stoppingBox {
			return &stoppingBox{
				box{
					events: events,
					stop:   func(context.Context, *box) error { return &dog.ResetError{Cause: io.ErrNoProgress} },
				},
			}
		}})
		require.NoError(t, err)
		fixture.Get(boxes.Named("red"))
		time.Sleep(time.Minute)
		require.Empty(t, slices.Collect(boxes.Objects()))
		require.Equal(t, []string{"start red", "stop red idle"}, events.read())
	})
}
