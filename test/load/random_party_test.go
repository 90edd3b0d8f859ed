package load_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// record is what happened to one socket.
type record struct{ opened, onOpen, closed, onClose int }

// party is a runtime under random load.
type party struct {
	rt    *dog.Runtime
	group dog.GroupStub[crowd, fixture.Room]
	srv   *dogtest.Server

	clusterizeDelay atomic.Int64
	clusterizeFails atomic.Bool
	names           atomic.Int64
	requests        atomic.Int64 // under way in stubs

	work sync.WaitGroup // steps under way, and the reading of clients

	mu      sync.Mutex
	stubs   []dog.Stub[fixture.Room] // guarded by mu, like all below
	clients []*websocket.Conn
	sockets map[string]*record // by socket id
	faults  []error
	over    bool // clients that come leave at once
}

func (p *party) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

// on changes the record of a socket.
func (p *party) on(s *dog.Socket, change func(*record)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.sockets[s.ID()]
	if r == nil {
		r = &record{}
		p.sockets[s.ID()] = r
	}
	change(r)
}

// exclusive runs a handler, noting whether another has the turn.
func (p *party) exclusive(r *fixture.Room, handle func()) {
	if r.Holders.Add(1) != 1 {
		p.fault("two handlers have the turn of %v", r.ID())
	}
	defer r.Holders.Add(-1)
	handle()
}

func (p *party) hooks() *fixture.Hooks {
	return &fixture.Hooks{
		Receive: func(r *fixture.Room, w http.ResponseWriter, req *http.Request) {
			p.exclusive(r, func() {
				pause, _ := time.ParseDuration(req.URL.Query().Get("pause"))
				time.Sleep(pause)
			})
			if req.URL.Path == "/ws" {
				r.Connect(w, req, nil) // gives up the turn
			}
		},
		Open: func(_ context.Context, r *fixture.Room, s *dog.Socket) (err error) {
			p.exclusive(r, func() {
				p.on(s, func(r *record) { r.onOpen++ })
				if s.UID() == "u5" {
					err = errors.New("not you")
				}
			})
			return err
		},
		Message: func(ctx context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) (err error) {
			p.on(s, func(r *record) {
				if r.onOpen != 1 || r.onClose != 0 {
					p.faults = append(p.faults, fmt.Errorf("OnMessage out of order: %+v", *r))
				}
			})
			p.exclusive(r, func() {
				switch m.String() {
				case "close":
					err = s.Close(4000, "requested")
				case "fail":
					err = errors.New("requested")
				case "panic":
					panic("requested")
				}
			})
			if err == nil && m.String() == "speak" {
				err = s.Broadcast(make([]byte, 700)) // gives up the turn; some fill the queue of a slow client
			}
			return err
		},
		Close: func(ctx context.Context, r *fixture.Room, s *dog.Socket, _ int, _ string) error {
			p.exclusive(r, func() { p.on(s, func(r *record) { r.onClose++ }) })
			return s.Broadcast("bye")
		},
	}
}

func newParty(t *testing.T, limit, maxReplicas int) (*party, error) {
	p := &party{sockets: make(map[string]*record)}
	p.rt = dogtest.New(t, dog.Options{
		Logger:  slog.New(slog.DiscardHandler),
		Sockets: dog.SocketOptions{QueueBytes: 2000},
		Trace: &dog.Trace{
			SocketOpened: func(s *dog.Socket) { p.on(s, func(r *record) { r.opened++ }) },
			SocketClosed: func(s *dog.Socket, _ *dog.CloseError) { p.on(s, func(r *record) { r.closed++ }) },
		},
	})
	on := p.hooks()
	rooms, err := dog.RegisterReplica(
		p.rt, "room", &dog.ReplicaOptions[fixture.Room]{New: func() *fixture.Room { return &fixture.Room{On: on} }},
	)
	if err != nil {
		return nil, err
	}
	crowds, err := dog.RegisterGroup(
		p.rt, "crowd", rooms,
		&dog.GroupOptions[crowd]{New: func() *crowd { return &crowd{on: p} }, Limit: limit, MaxReplicas: maxReplicas},
	)
	if err != nil {
		return nil, err
	}
	p.group = crowds.Named("main")
	p.srv = dogtest.Serve(t, p)
	return p, nil
}

// ServeHTTP hands a request to the stub that it names, or identifies.
func (p *party) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var stub dog.Stub[fixture.Room]
	if n, err := strconv.Atoi(req.URL.Query().Get("stub")); err == nil {
		p.mu.Lock()
		stub = p.stubs[n]
		p.mu.Unlock()
	} else if stub, err = p.group.Identify(req.Context(), req.URL.Query().Get("u")); err != nil {
		dog.WriteError(w, err)
		return
	}
	p.requests.Add(1)
	defer p.requests.Add(-1)
	stub.ServeHTTP(w, req)
}

func (p *party) request(query string) {
	if answer, err := p.srv.Client().Get(dogtest.URL + "/?" + query); err == nil {
		answer.Body.Close()
	}
}

func (p *party) connect(query string, slow bool) {
	ws, _, err := websocket.Dial(
		context.Background(), dogtest.URL+"/ws?"+query, &websocket.DialOptions{HTTPClient: p.srv.Client()},
	)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.clients = append(p.clients, ws)
	over := p.over
	p.mu.Unlock()
	if over {
		_ = ws.CloseNow()
		return
	}
	for !slow {
		if _, _, err := ws.Read(context.Background()); err != nil {
			return
		}
	}
}

// pick returns one of a list that others may lengthen.
func pick[T any](p *party, list *[]T, who int) (i int, v T, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(*list) == 0 {
		return 0, v, false
	}
	i = who % len(*list)
	return i, (*list)[i], true
}

// do does a step, whether it succeeds or not.
func (p *party) do(s step) {
	uid := fmt.Sprint("u", s.who)
	query := fmt.Sprintf("u=%s&pause=%v", uid, s.pause)
	write := func(text string) {
		if _, ws, ok := pick(p, &p.clients, s.who); ok {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = ws.Write(ctx, websocket.MessageText, []byte(text))
		}
	}
	switch s.kind {
	case "connect":
		p.connect("u="+uid, false)
	case "connect slow client":
		p.connect("u="+uid, true)
	case "request":
		p.request(query)
	case "identify":
		if stub, err := p.group.Identify(context.Background(), uid); err == nil {
			p.mu.Lock()
			p.stubs = append(p.stubs, stub)
			p.mu.Unlock()
		}
	case "use stub":
		if i, _, ok := pick(p, &p.stubs, s.who); ok {
			p.request(fmt.Sprint(query, "&stub=", i))
		}
	case "connect through stub":
		if i, _, ok := pick(p, &p.stubs, s.who); ok {
			p.connect(fmt.Sprint("stub=", i), false)
		}
	case "release stub":
		if _, stub, ok := pick(p, &p.stubs, s.who); ok {
			stub.Release()
		}
	case "close by client":
		if _, ws, ok := pick(p, &p.clients, s.who); ok {
			_ = ws.Close(websocket.StatusNormalClosure, "")
		}
	case "vanish":
		if _, ws, ok := pick(p, &p.clients, s.who); ok {
			_ = ws.CloseNow()
		}
	case "close by server":
		write("close")
	case "speak", "fail", "panic":
		write(s.kind)
	case "drain":
		if all := slices.Collect(p.group.Replicas()); len(all) > 0 {
			_ = p.group.Drain(context.Background(), all[s.who%len(all)].ID)
		}
	case "clusterize well", "clusterize slowly", "clusterize badly":
		p.clusterizeFails.Store(s.kind == "clusterize badly")
		p.clusterizeDelay.Store(0)
		if s.kind == "clusterize slowly" {
			p.clusterizeDelay.Store(int64(s.pause))
		}
	}
}

// check looks at a party at rest.
func (p *party) check() error {
	p.mu.Lock()
	faults, open := errors.Join(p.faults...), 0
	for id, r := range p.sockets {
		open += r.opened - r.closed
		if max(r.opened, r.onOpen, r.closed, r.onClose) > 1 {
			faults = errors.Join(faults, fmt.Errorf("socket %s: %+v", id, *r))
		}
	}
	p.mu.Unlock()
	stats := p.rt.Stats()
	var visits int64
	for _, g := range stats.Groups {
		for _, r := range g.Replicas {
			if r.Load > r.Limit || r.Reserved < 0 || r.Load < r.Sockets+r.Reserved {
				faults = errors.Join(faults, fmt.Errorf("the books are wrong: %+v", r))
			}
			visits += int64(r.Load - r.Sockets - r.Reserved)
		}
	}
	if requests := p.requests.Load(); visits > requests {
		faults = errors.Join(faults, fmt.Errorf("%d places for %d requests", visits, requests))
	}
	if open != stats.Sockets {
		faults = errors.Join(faults, fmt.Errorf("%d sockets open, %d in the books", open, stats.Sockets))
	}
	return faults
}

// checkEnd looks at a party that is over: every socket is gone, having been
// announced and taken leave of once.
func (p *party) checkEnd() error {
	err := p.check()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, r := range p.sockets {
		if *r != (record{1, 1, 1, 1}) {
			err = errors.Join(err, fmt.Errorf("socket %s at the end: %+v", id, *r))
		}
	}
	stats := p.rt.Stats()
	if stats.Sockets != 0 || stats.QueuedBytes != 0 || p.requests.Load() != 0 {
		err = errors.Join(err, fmt.Errorf("left behind: %+v", stats))
	}
	for _, g := range stats.Groups {
		for _, r := range g.Replicas {
			if r.Load != r.Reserved {
				err = errors.Join(err, fmt.Errorf("a place was not given back: %+v", r))
			}
		}
	}
	return err
}

// play runs the steps and ends by shutdown or by everybody leaving.
func (p *party) play(steps []step, byShutdown bool) error {
	for i, s := range steps {
		if s.kind == "time passes" {
			time.Sleep(s.pause)
		} else {
			p.work.Go(func() { p.do(s) })
		}
		if s.settle {
			synctest.Wait()
			if err := p.check(); err != nil {
				return fmt.Errorf("after step %d: %w", i, err)
			}
		}
	}
	if byShutdown {
		if err := p.rt.Shutdown(context.Background()); err != nil {
			return err
		}
		synctest.Wait() // the server still sends the answers
		return p.checkEnd()
	}
	time.Sleep(5 * time.Minute) // what is slow ends, what was only reserved expires
	synctest.Wait()
	p.leave()
	time.Sleep(5 * time.Minute) // what is empty retires
	synctest.Wait()
	if err := p.checkEnd(); err != nil {
		return err
	}
	if left := slices.Collect(p.rt.Objects()); len(left) > 0 {
		return fmt.Errorf("still in memory: %+v", left)
	}
	return nil
}

// leave makes all clients go, those too that come late because they had to wait
// for a turn.
func (p *party) leave() {
	p.mu.Lock()
	p.over = true
	clients := slices.Clone(p.clients)
	p.mu.Unlock()
	for _, ws := range clients {
		_ = ws.CloseNow()
	}
	p.work.Wait()
}
