package gate_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

// stage has one object of each kind that may send, and all recipients. A
// recipient that gets something calls reach.
type stage struct {
	t       *testing.T
	engine  *storetest.Engine
	rt      *dog.Runtime
	srv     *dogtest.Server
	groups  *dog.Groups[stageGroup, stageReplica]
	objects *dog.Namespace[stageObject]
	room    dog.Stub[stageReplica] // of ada and bob; eve has another one

	ada, bob, eve *dogtest.Client
	fay           *dogtest.Client // of the object that sends
	socket        *dog.Socket     // ada's
	replica       *stageReplica   // ada's
	main          *stageGroup
	newer         *dog.Socket     // ivy's second one, of the same object
	object        *stageObject    // fay's
	far           dog.ID          // eve's room
	device        *dogtest.Client // of the object that sends; nil: there is none
	spare         *dog.Socket     // of a device that is not attached

	receive  func(o actor, w http.ResponseWriter, req *http.Request) error   // of objects
	connect  func(b *stageReplica, w http.ResponseWriter, req *http.Request) // of replicas; nil: connects
	reached  atomic.Int32
	rollback bool
	start    chan struct{} // objects start when it is closed; nil: at once
}

// stageReplica is a replica, stageGroup a group and stageObject an object of a
// stage.
type stageReplica struct {
	dog.Replica
	on *stage
}

type stageGroup struct {
	dog.Group
	on *stage
}

type stageObject struct {
	dog.Object
	Commands outbox.Queue
	on       *stage
}

// An actor is one of them.
type actor interface {
	Storage() *dog.Storage
	Abort(reason error)
}

// work is what a handler of a stage does.
type work = func(ctx context.Context, o actor) error

func (b *stageReplica) Run(ctx context.Context, f work) error { return f(ctx, b) }
func (c *stageGroup) Run(ctx context.Context, f work) error   { return f(ctx, c) }
func (d *stageObject) Run(ctx context.Context, f work) error  { return f(ctx, d) }
func (d *stageObject) Visit(context.Context) error            { return d.on.reach() }
func (d *stageObject) Listen(context.Context, int) error      { return d.on.reach() }
func (d *stageObject) Note(context.Context) error             { return d.Storage().Put("note", nil) }

func (d *stageObject) Answer(context.Context) (int, error)          { return 0, d.on.reach() }
func (d *stageObject) Repeat(_ context.Context, n int) (int, error) { return n, d.on.reach() }

func (b *stageReplica) OnStart(context.Context) error { return b.on.started() }

func (d *stageObject) OnStart(context.Context) error {
	return errors.Join(d.Commands.Bind(&d.Object, outbox.Policy{}), d.on.started())
}

func (b *stageReplica) OnOpen(_ context.Context, s *dog.Socket) error {
	if s.UID() == "ada" {
		b.on.socket, b.on.replica = s, b
	}
	return nil
}

func (b *stageReplica) OnClose(_ context.Context, _ *dog.Socket, code int, _ string) error {
	if code == 4000 {
		return b.on.reach()
	}
	return nil
}

func (b *stageReplica) OnGossip(context.Context, dog.Message) (any, error) { return nil, b.on.reach() }

func (b *stageReplica) Receive(w http.ResponseWriter, req *http.Request) error {
	if b.on.connect != nil {
		b.on.connect(b, w, req)
		return nil
	}
	_, err := b.Connect(w, req, nil)
	return err
}

func (c *stageGroup) OnStart(context.Context) error { c.on.main = c; return c.on.started() }

func (d *stageObject) Receive(w http.ResponseWriter, req *http.Request) error {
	switch req.URL.Path {
	case "/visit":
		return d.on.reach()
	case "/join":
		_, err := d.Connect(w, req, &dog.SocketOptions{UID: req.FormValue("as")})
		return err
	}
	return d.on.receive(d, w, req)
}

func (d *stageObject) OnOpen(_ context.Context, s *dog.Socket) error {
	d.on.object = d
	switch s.UID() {
	case "ivy":
		d.on.newer = s
	case "device":
		return d.Commands.Attach(s)
	case "spare":
		d.on.spare = s
	}
	return nil
}

// OnAlarm leaves it to the test to call that of the queue.
func (d *stageObject) OnAlarm(context.Context, dog.Alarm) error { return nil }

func (d *stageObject) OnClose(_ context.Context, _ *dog.Socket, code int, _ string) error {
	if code == 4000 || code == 4001 {
		return d.on.reach()
	}
	return nil
}

func (d *stageObject) Noted(context.Context) (bool, error) {
	_, found, err := d.Storage().Get("note")
	return found, err
}

// archive is a store that reports files and backups to the stage.
type archive struct {
	*storetest.Engine
	on *stage
}

func (a *archive) OpenEngine(*slog.Logger) (store.Engine, error) { return a, nil }
func (a *archive) Backup(context.Context, string) error          { return a.on.reach() }
func (a *archive) Export(context.Context, string, store.Pages, []store.Table) error {
	return a.on.reach()
}

func (a *archive) Import(
	context.Context, string, store.Pages, store.SQLLimits, []store.Table, func(string, []any) error,
) error {
	return a.on.reach()
}

func newStage(t *testing.T, rollback bool) *stage {
	t.Helper()
	return newStageOf(t, rollback, dogtest.New)
}

// newStageOf is newStage on a runtime of newRuntime.
func newStageOf(t *testing.T, rollback bool, newRuntime func(testing.TB, dog.Options) *dog.Runtime) *stage {
	t.Helper()
	s := &stage{t: t, engine: storetest.New(), rollback: rollback}
	s.rt = newRuntime(
		t, dog.Options{Store: fixture.StoreOf(&archive{s.engine, s}), Logger: slog.New(slog.DiscardHandler)},
	)
	var err error
	replicas, err := dog.RegisterReplica(
		s.rt, "replica",
		&dog.ReplicaOptions[stageReplica]{
			New: func() *stageReplica { return &stageReplica{on: s} }, RollbackOnError: rollback,
		},
	)
	require.NoError(t, err)
	s.groups, err = dog.RegisterGroup(
		s.rt, "group", replicas,
		&dog.GroupOptions[stageGroup]{
			New: func() *stageGroup { return &stageGroup{on: s} }, Limit: 2, RollbackOnError: rollback,
			Presence: dog.Presence{Grace: time.Hour},
		},
	)
	require.NoError(t, err)
	s.objects, err = dog.RegisterObject(
		s.rt, "object",
		&dog.ObjectOptions[stageObject]{
			New: func() *stageObject { return &stageObject{on: s} }, RollbackOnError: rollback,
		},
	)
	require.NoError(t, err)
	s.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		who := req.URL.Query().Get("u")
		if who == "" {
			s.objects.Named("speaker").ServeHTTP(w, req)
			return
		}
		stub, err := s.group().Identify(req.Context(), who)
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, req)
	}))
	t.Cleanup(s.engine.Prompt) // before the server stops
	s.ada = s.srv.Dial("/?u=ada")
	synctest.Wait()
	s.bob = s.srv.Dial("/?u=bob")
	synctest.Wait()
	s.eve = s.srv.Dial("/?u=eve")
	s.fay = s.srv.Dial("/join?as=fay")
	for range 2 {
		synctest.Wait()
		s.srv.Dial("/join?as=ivy")
	}
	synctest.Wait()
	s.room, err = replicas.ByID(s.replica.ID())
	require.NoError(t, err)
	for r := range s.group().Replicas() {
		if r.ID != s.room.ID() {
			s.far = r.ID
		}
	}
	go func() { _ = dog.CallErr0(context.Background(), s.objects.Named("noted"), (*stageObject).Note) }()
	synctest.Wait()
	s.engine.Flush()
	synctest.Wait()
	return s
}

func (s *stage) group() dog.GroupStub[stageGroup, stageReplica] { return s.groups.Named("main") }

func (s *stage) started() error {
	if s.start != nil {
		<-s.start
	}
	return nil
}

func (s *stage) reach() error { s.reached.Add(1); return nil }

// observed reports whether any output has left the object.
func (s *stage) observed() bool {
	synctest.Wait()
	for _, c := range []*dogtest.Client{s.ada, s.bob, s.eve, s.fay, s.device} {
		if c != nil && len(c.Received()) > 0 {
			s.reached.Add(1)
		}
	}
	return s.reached.Load() > 0
}

// An actorFunc runs work in a handler of one of a stage's objects, and
// returns the result of the handler.
type actorFunc func(s *stage, f work) error

func inReplica(s *stage, f work) error {
	return dog.CallErr(context.Background(), s.room, (*stageReplica).Run, f)
}

func inGroup(s *stage, f work) error {
	return dog.CallErr(context.Background(), s.group().Stub, (*stageGroup).Run, f)
}

func inObject(s *stage, f work) error {
	return dog.CallErr(context.Background(), s.objects.Named("speaker"), (*stageObject).Run, f)
}

// ask sends a request to the speaker and looks for the marks in its answer.
func (s *stage) ask() {
	req, err := http.NewRequest(http.MethodGet, dogtest.URL+"/ask", nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	listen := func(h http.Header) {
		if h.Get("Output") != "" {
			_ = s.reach()
		}
	}
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error { listen(http.Header(h)); return nil },
	}))
	answer, err := s.srv.Client().Do(req)
	if err != nil {
		_ = s.reach() // the answer has been broken off
		return
	}
	defer func() { _ = answer.Body.Close() }()
	listen(answer.Header)
	var body bytes.Buffer
	buf := make([]byte, 4096)
	for err == nil {
		var n int
		n, err = answer.Body.Read(buf)
		body.Write(buf[:n])
		if strings.Contains(body.String(), "output") {
			_ = s.reach()
		}
	}
	if !errors.Is(err, io.EOF) {
		_ = s.reach()
	}
	listen(answer.Trailer)
}
