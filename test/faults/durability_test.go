package faults_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// Random work on a disk that crashes: what a notebook has stored afterwards is
// what it had after one of its turns, and none before the last acknowledged
// one.

// scene is work by several clients at a time and how it ends.
type scene struct {
	clients [][]page // what each asks for, one after the other
	whom    [][]int  // which notebook, or the board
	fault   int      // which change of the disk fails; 0: none does
	crash   int      // after how many answers the disk crashes; 0: at the end
	torn    uint64   // how the disk is torn by the crash; 0: not at all
}

func drawScene() *rapid.Generator[scene] {
	return rapid.Custom(func(t *rapid.T) scene {
		s := scene{
			clients: rapid.SliceOfN(rapid.SliceOfN(drawPage(1), 1, 6), 1, 4).Draw(t, "clients"),
			fault:   rapid.OneOf(rapid.Just(0), rapid.IntRange(1, 30)).Draw(t, "fault"),
			crash:   rapid.OneOf(rapid.Just(0), rapid.IntRange(1, 12)).Draw(t, "crash"),
			torn:    rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64Range(1, 1<<20)).Draw(t, "torn"),
		}
		for _, pages := range s.clients {
			s.whom = append(
				s.whom, rapid.SliceOfN(rapid.IntRange(0, notebooks), len(pages), len(pages)).Draw(t, "whom"),
			)
		}
		return s
	})
}

// notebook is a plain object, which is named after its number.
type notebook struct {
	dog.Object
	on *library
}

func (*notebook) OnAlarm(context.Context, dog.Alarm) error { return nil }

// Write carries out a page, and returns the number of the turns of this
// notebook so far.
func (d *notebook) Write(ctx context.Context, p page) (n int, err error) {
	number, err := strconv.Atoi(d.Name())
	if err != nil {
		return 0, err
	}
	return d.on.write(ctx, d.on.pasts[number], d.Storage(), p)
}

// board is a replica that does the same for its socket.
type board struct {
	dog.Replica
	on *library
}

func (*board) OnAlarm(context.Context, dog.Alarm) error { return nil }

func (b *board) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := b.Connect(w, req, nil)
	return err
}

func (b *board) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	index, err := strconv.Atoi(m.String())
	if err != nil {
		return err
	}
	todo := b.on.page(index)
	n, err := b.on.write(ctx, b.on.pasts[notebooks], b.Storage(), todo)
	if err != nil {
		return errors.Join(err, s.Send(err.Error()))
	}
	return s.Send(strconv.Itoa(n))
}

type boardGroup struct{ dog.Group }

func (*boardGroup) Clusterize(context.Context, string) (string, error) { return "board", nil }

// library is one runtime on the disk.
type library struct {
	rt         *dog.Runtime
	notebooks  []dog.Stub[notebook]
	boardGroup dog.GroupStub[boardGroup, board]
	srv        *dogtest.Server
	pasts      []*past // of the notebooks and the board
	answers    atomic.Int64
	crashAt    int64  // the answer after which crash is called; 0: none. set before there are any
	crash      func() // the same

	mu     sync.Mutex
	pages  []page  // that the board may see. guarded by mu
	faults []error // guarded by mu
}

func openLibrary(t *testing.T, disk *dogtest.Disk, pasts []*past) (*library, error) {
	l := &library{rt: dogtest.New(t, dog.Options{Store: disk, Logger: slog.New(slog.DiscardHandler)}), pasts: pasts}
	all, e1 := dog.RegisterObject(l.rt, "notebook", &dog.ObjectOptions[notebook]{
		New: func() *notebook { return &notebook{on: l} }, Schema: notebookSchema, RollbackOnError: true,
	})
	boards, e3 := dog.RegisterReplica(
		l.rt, "board",
		&dog.ReplicaOptions[board]{
			New:             func() *board { return &board{on: l} },
			Schema:          notebookSchema,
			RollbackOnError: true,
		},
	)
	shelves, e2 := dog.RegisterGroup(
		l.rt, "boardGroup", boards, &dog.GroupOptions[boardGroup]{Limit: 10, MaxReplicas: 1},
	)
	if err := errors.Join(e1, e2, e3); err != nil {
		return nil, err
	}
	for i := range notebooks {
		l.notebooks = append(l.notebooks, all.Named(strconv.Itoa(i)))
	}
	l.boardGroup = shelves.Named("boardGroup")
	l.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		stub, err := l.boardGroup.Identify(req.Context(), "reader")
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, req)
	}))
	return l, nil
}

func (l *library) fault(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, err)
}

// write carries out a page in one or two turns of an object, and returns the
// last of them. An error undoes a turn, and counts only when it is reported: an
// object that is about to be reset may see anything.
func (l *library) write(ctx context.Context, p *past, s *dog.Storage, todo page) (n int, err error) {
	n, err = p.perform(s, todo.acts)
	if err == nil && todo.then != nil {
		if _, asked := l.ask(ctx, todo.ask, *todo.then); asked == nil {
			n, err = p.perform(s, todo.acts)
		}
	}
	if todo.panics {
		panic("the page asks for it")
	}
	return n, err
}

// ask has a notebook carry out a page and records its answer.
func (l *library) ask(ctx context.Context, which int, p page) (n int, err error) {
	n, err = dog.Call(ctx, l.notebooks[which], (*notebook).Write, p)
	switch {
	case err == nil:
		l.acknowledge(which, n)
	case errors.Is(err, errHalf):
		l.fault(err)
	}
	return n, err
}

// acknowledge records that a turn has been acknowledged.
func (l *library) acknowledge(which, n int) {
	l.pasts[which].acknowledge(n)
	if l.answers.Add(1) == l.crashAt {
		l.crash()
	}
}

// play lets the clients do their work.
func (l *library) play(s scene) {
	var work sync.WaitGroup
	for i, pages := range s.clients {
		work.Go(func() {
			for j, p := range pages {
				if which := s.whom[i][j]; which < notebooks {
					_, _ = l.ask(
						context.Background(), which, p,
					) // it may fail in many ways; what counts is what is there afterwards
				} else {
					l.message(p)
				}
			}
		})
	}
	work.Wait()
	synctest.Wait()
}

// message is ask for the board.
func (l *library) message(p page) {
	l.mu.Lock()
	l.pages = append(l.pages, p)
	index := len(l.pages) - 1
	l.mu.Unlock()
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, dogtest.URL, &websocket.DialOptions{HTTPClient: l.srv.Client()})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, []byte(strconv.Itoa(index))); err != nil {
		return
	}
	_, data, err := ws.Read(ctx)
	if err != nil {
		return
	}
	if n, err := strconv.Atoi(string(data)); err == nil {
		l.acknowledge(notebooks, n)
	} else if strings.Contains(string(data), errHalf.Error()) {
		l.fault(errors.New(string(data)))
	}
}

// page returns what the board may see.
func (l *library) page(index int) page {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pages[index]
}

// check looks at everything that is stored.
func (l *library) check(t *testing.T) error {
	var all []error
	for i, stub := range l.notebooks {
		out := dogtest.Run(t, stub, func(_ context.Context, d *notebook) error {
			_, _, err := l.pasts[i].check(d.Storage())
			return err
		})
		all = append(all, out.Err)
	}
	stub, err := l.boardGroup.Identify(context.Background(), "checker")
	if err != nil {
		return err
	}
	out := dogtest.Run(t, stub, func(_ context.Context, b *board) error {
		_, _, err := l.pasts[notebooks].check(b.Storage())
		return err
	})
	return errors.Join(append(all, out.Err)...)
}

func TestDurability_CrashRestoresEveryObjectToAConsistentTurn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scenes := rapid.SliceOfN(drawScene(), 1, 3).Draw(rt, "scenes")
		var err error
		synctest.Test(t, func(t *testing.T) {
			disk := dogtest.NewDisk(t)
			pasts := make([]*past, notebooks+1)
			for i := range pasts {
				pasts[i] = newPast()
			}
			for i, s := range scenes {
				if err = playOn(t, disk, pasts, s); err != nil {
					err = fmt.Errorf("scene %d: %w", i, err)
					return
				}
			}
		})
		if err != nil {
			rt.Fatal(err) // here, so that rapid makes the case smaller
		}
	})
}

// playOn plays a scene on a disk that crashes, and checks what is left.
func playOn(t *testing.T, disk *dogtest.Disk, pasts []*past, s scene) error {
	l, err := openLibrary(t, disk, pasts)
	if err != nil {
		return err
	}
	var began atomic.Bool
	crashed := make(chan struct{}) // not a sync.Once, for whose mutex time would stand still
	crash := func() {
		if began.Swap(true) {
			<-crashed
			return
		}
		defer close(crashed)
		if s.torn == 0 {
			disk.Crash()
		} else {
			disk.CrashTorn(s.torn)
		}
	}
	l.crash, l.crashAt = crash, int64(s.crash)
	disk.Fail(s.fault, errScratch)
	l.play(s)
	crash()
	synctest.Wait()
	if err := errors.Join(l.faults...); err != nil {
		return fmt.Errorf("a client got: %w", err)
	}
	after, err := openLibrary(t, disk, pasts)
	if err != nil {
		return err
	}
	if err := after.check(t); err != nil {
		return fmt.Errorf("after the crash: %w", err)
	}
	return after.rt.Shutdown(context.Background())
}
