package presence_test

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

const (
	grace = 10 * time.Second
	every = 250 * time.Millisecond // the default
)

// crowd is an object, or a group with two places on each replica, that notes
// what OnPresence gets. Its server sends requests to the one of the parameter o
// of the query, "main" without it, for the uid of the parameter u.
type crowd struct {
	t     *testing.T
	rt    *dog.Runtime
	serve http.HandlerFunc
	srv   *dogtest.Server

	// OnPresence, after its change has been noted; nil: nothing
	on func(ctx context.Context, p dog.PresenceChange) error
	// OnOpen and OnMessage; nil: SetPresence of the message
	open    func(ctx context.Context, s *dog.Socket) error
	message func(ctx context.Context, s *dog.Socket, m dog.Message) error

	// of main
	inTurn func(f func(ctx context.Context, o listed) error) error
	abort  func(reason error) error
	stub   interface {
		Members(ctx context.Context, after string, n int) ([]dog.Member, error)
		MemberCount(ctx context.Context) (int, error)
	}

	own          listed        // what OnStart has started last
	crowdReplica *crowdReplica // the replica that has started last

	mu      sync.Mutex
	refuse  error                // what OnStart returns. guarded by mu
	changes []dog.PresenceChange // guarded by mu
	stops   int                  // of main. guarded by mu
}

// listed is what an object and a group with members have.
type listed interface {
	Members(after string, n int) []dog.Member
	MemberCount() int
	Storage() *dog.Storage
	Broadcast(v any, options ...dog.SendOption) error
	Abort(reason error)
}

type document struct {
	dog.Object
	of *crowd
}

func (d *document) OnStart(context.Context) error { return d.of.started(d) }

func (d *document) OnStop(context.Context, dog.StopReason) error { return d.of.stopped() }

func (d *document) OnPresence(ctx context.Context, p dog.PresenceChange) error {
	return d.of.note(ctx, p)
}

func (d *document) OnOpen(ctx context.Context, s *dog.Socket) error { return d.of.opened(ctx, s) }

func (d *document) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	return d.of.got(ctx, s, m)
}

func (d *document) Do(ctx context.Context, f func(context.Context, listed) error) error {
	return f(ctx, d)
}

type crowdGroup struct {
	dog.Group
	of *crowd
}

func (h *crowdGroup) OnStart(context.Context) error { return h.of.started(h) }

func (h *crowdGroup) OnStop(context.Context, dog.StopReason) error { return h.of.stopped() }

func (h *crowdGroup) OnPresence(ctx context.Context, p dog.PresenceChange) error {
	return h.of.note(ctx, p)
}

func (h *crowdGroup) Do(ctx context.Context, f func(context.Context, listed) error) error {
	return f(ctx, h)
}

type crowdReplica struct {
	dog.Replica
	of *crowd
}

func (s *crowdReplica) OnStart(context.Context) error {
	s.of.crowdReplica = s
	return nil
}

func (s *crowdReplica) OnOpen(ctx context.Context, k *dog.Socket) error { return s.of.opened(ctx, k) }

func (s *crowdReplica) OnMessage(ctx context.Context, k *dog.Socket, m dog.Message) error {
	return s.of.got(ctx, k, m)
}

func (c *crowd) started(o listed) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = o
	return c.refuse
}

func (c *crowd) stopped() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stops++
	return nil
}

func (c *crowd) note(ctx context.Context, p dog.PresenceChange) error {
	noted := p
	noted.Joined = slices.Clone(p.Joined) // the handler may change its own
	c.mu.Lock()
	c.changes = append(c.changes, noted)
	c.mu.Unlock()
	if c.on == nil {
		return nil
	}
	return c.on(ctx, p)
}

func (c *crowd) opened(ctx context.Context, s *dog.Socket) error {
	if c.open == nil {
		return nil
	}
	return c.open(ctx, s)
}

func (c *crowd) got(ctx context.Context, s *dog.Socket, m dog.Message) error {
	if c.message == nil {
		return s.SetPresence(json.RawMessage(m.Data))
	}
	return c.message(ctx, s, m)
}

// crowdOptions are those of both kinds.
type crowdOptions struct {
	dog.Options
	presence  dog.Presence // zero: the Grace of grace
	history   dog.HistoryOptions
	hibernate bool
	limit     int // of a group; 0: 2
	rollback  bool
}

var kinds = []string{"an object", "a group"}

// newCrowd returns a crowd of a kind.
func newCrowd(t *testing.T, kind string, o crowdOptions) *crowd {
	t.Helper()
	c := &crowd{t: t, rt: dogtest.New(t, o.Options)}
	p := cmp.Or(o.presence, dog.Presence{Grace: grace})
	if kind == "an object" {
		objects, err := dog.RegisterObject(c.rt, "document", &dog.ObjectOptions[document]{
			New: func() *document { return &document{of: c} }, Presence: p, Hibernate: o.hibernate,
			RollbackOnError: o.rollback, MaxSockets: -1, History: o.history,
		})
		require.NoError(t, err)
		main := objects.Named("main")
		c.stub, c.abort = main, main.Abort
		c.inTurn = func(f func(context.Context, listed) error) error {
			return dog.CallErr(t.Context(), main, (*document).Do, f)
		}
		c.serve = func(w http.ResponseWriter, r *http.Request) {
			objects.Named(cmp.Or(r.FormValue("o"), "main")).WithUID(r.FormValue("u")).ServeHTTP(w, r)
		}
	} else {
		crowdReplicas, err := dog.RegisterReplica(c.rt, "crowdReplica", &dog.ReplicaOptions[crowdReplica]{
			New: func() *crowdReplica { return &crowdReplica{of: c} }, Hibernate: o.hibernate,
		})
		require.NoError(t, err)
		crowdGroups, err := dog.RegisterGroup(c.rt, "crowdGroup", crowdReplicas, &dog.GroupOptions[crowdGroup]{
			New: func() *crowdGroup { return &crowdGroup{of: c} }, Presence: p, Hibernate: o.hibernate,
			RollbackOnError: o.rollback, Limit: cmp.Or(o.limit, 2), History: o.history,
		})
		require.NoError(t, err)
		main := crowdGroups.Named("main")
		c.stub, c.abort = main, main.Abort
		c.inTurn = func(f func(context.Context, listed) error) error {
			return dog.CallErr(t.Context(), main.Stub, (*crowdGroup).Do, f)
		}
		c.serve = func(w http.ResponseWriter, r *http.Request) {
			stub, err := crowdGroups.Named(cmp.Or(r.FormValue("o"), "main")).Identify(r.Context(), r.FormValue("u"))
			if err != nil {
				dog.WriteError(w, err)
				return
			}
			stub.ServeHTTP(w, r)
		}
	}
	c.srv = dogtest.Serve(t, c.serve)
	return c
}

// forEachKind runs a test in virtual time for an object and for a group.
func forEachKind(t *testing.T, f func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, kind) }) })
	}
}

// enter connects a uid and waits until all goroutines are idle.
func (c *crowd) enter(uid string) *dogtest.Client {
	k := c.srv.Dial("/?u=" + uid)
	synctest.Wait()
	return k
}

// leave cuts the connection of a client.
func leave(k *dogtest.Client) {
	k.Vanish()
	synctest.Wait()
}

// took returns the changes since the last call in a short form, after a time.
func (c *crowd) took(d time.Duration) []string {
	fixture.Elapse(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, p := range c.changes {
		all = append(all, short(p))
	}
	c.changes = nil
	return all
}

// short returns a change such as "+ada +bob=1 -cyd ~dan=2 (3)".
func short(p dog.PresenceChange) (text string) {
	for _, part := range []struct {
		sign    string
		members []dog.Member
	}{{"+", p.Joined}, {"-", p.Left}, {"~", p.Changed}} {
		for _, m := range part.members {
			text += part.sign + m.UID
			if m.Value != nil {
				text += "=" + string(m.Value)
			}
			text += " "
		}
	}
	count, _ := json.Marshal(p.Count)
	return text + "(" + string(count) + ")"
}

// members returns the uids of all members, as the object sees them.
func (c *crowd) members() (uids []string) {
	c.t.Helper()
	require.NoError(c.t, c.inTurn(func(_ context.Context, o listed) error {
		for _, m := range o.Members("", 0) {
			uids = append(uids, m.UID)
		}
		require.Len(c.t, uids, o.MemberCount())
		return nil
	}))
	require.True(c.t, slices.IsSorted(uids))
	return uids
}
