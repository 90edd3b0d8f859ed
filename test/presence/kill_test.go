package presence_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/program"
	"github.com/godurable/dog/internal/wire"
	"github.com/godurable/dog/test/internal/fixture"
)

var killStride = flag.Int("kill-stride", 4, "the tests of members kill servers at each n-th write; 1: at every one")

// killUntil is the last write at which a server is killed.
const killUntil = 60

// graceOf is set in the environment of the process that is killed, to the Grace
// of its members.
const graceOf = "DOG_PRESENCE_GRACE"

// The types of the process that is killed. They send the changes that they get.
type (
	toldObject  struct{ dog.Object }
	toldGroup   struct{ dog.Group }
	toldReplica struct{ dog.Replica }
)

func (o *toldObject) OnPresence(_ context.Context, p dog.PresenceChange) error { return o.Broadcast(p) }

func (g *toldGroup) OnPresence(_ context.Context, p dog.PresenceChange) error { return g.Broadcast(p) }

// serveUntilKilled is the process that is killed.
func serveUntilKilled(data string) {
	program.EndWithTests()
	fuse := &fixture.Fuse{Dir: data}
	grace, err := time.ParseDuration(os.Getenv(graceOf))
	if err != nil {
		log.Fatal(err)
	}
	rt, err := dog.New(dog.Options{Store: fixture.StoreOf(fuse)})
	if err != nil {
		log.Fatal(err)
	}
	presence := dog.Presence{Grace: grace, Every: time.Millisecond, Durable: true}
	history := dog.HistoryOptions{Count: 1 << 20, Bytes: 64 << 20, Durable: true}
	objects, e1 := dog.RegisterObject(rt, "object", &dog.ObjectOptions[toldObject]{
		Presence: presence, History: history,
	})
	replicas, e2 := dog.RegisterReplica[toldReplica](rt, "replica", nil)
	groups, e3 := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[toldGroup]{
		Limit: 2, Presence: presence, History: history,
	})
	if err := errors.Join(e1, e2, e3); err != nil {
		log.Fatal(err)
	}
	object, group := objects.Named("main"), groups.Named("main")
	list := func(w http.ResponseWriter, members []dog.Member, err error) {
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		_ = json.NewEncoder(w).Encode(members)
	}
	http.HandleFunc("/object", func(w http.ResponseWriter, r *http.Request) {
		object.WithUID(r.FormValue("u")).ServeHTTP(w, r)
	})
	http.HandleFunc("/group", func(w http.ResponseWriter, r *http.Request) {
		stub, err := group.Identify(r.Context(), r.FormValue("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, r)
	})
	http.HandleFunc("/object/members", func(w http.ResponseWriter, r *http.Request) {
		members, err := object.Members(r.Context(), "", 0)
		list(w, members, err)
	})
	http.HandleFunc("/group/members", func(w http.ResponseWriter, r *http.Request) {
		members, err := group.Members(r.Context(), "", 0)
		list(w, members, err)
	})
	http.Handle("/fuse", fuse)
	log.Fatal(program.Serve(nil))
}

// A server is killed at its first write, the next one at a later one, and so
// on, while visitors come and go. A follower gets each of them as joined once,
// and as left once if they do not come back within the grace.
func TestPresence_MembersJoinAndLeaveOnceDespiteKills(t *testing.T) {
	fixture.TakesLong(t)
	for i, kind := range []string{"object", "group"} {
		t.Run(kind+", whose members leave at once", func(t *testing.T) {
			lives(t, kind, time.Millisecond, 1+i)
		})
		t.Run(kind+", whose members may come back", func(t *testing.T) {
			lives(t, kind, time.Hour, 3+i)
		})
	}
}

// lives runs servers that are killed, from the first write on, and one that is
// not, whose members leave at once.
func lives(t *testing.T, kind string, grace time.Duration, first int) {
	data := t.TempDir()
	eve := &listener{knows: map[string]bool{}, left: map[string]bool{}, stays: grace == time.Hour}
	for at := first; at <= killUntil; at += *killStride {
		t.Setenv(graceOf, grace.String())
		cmd, addr := program.Start(t, data)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // it takes less than one
		require.NoError(t, eve.listen(ctx, addr, kind, func() bool { return eve.knows["eve"] }))
		var guests []string // ada comes back, the others do not
		if eve.stays {
			guests = append(guests, "ada")
		}
		if eve.stays && at == first {
			guests = append(guests, "bob", "cyd")
		}
		for _, uid := range guests {
			ws, _, err := dial(ctx, addr, kind, uid, "")
			require.NoError(t, err)
			defer ws.CloseNow()
			require.NoError(t, eve.listen(ctx, addr, kind, func() bool { return eve.knows[uid] }))
		}
		if eve.stays {
			require.Subset(t, members(t, addr, kind), []string{"ada", "bob", "cyd", "eve"}, "nobody has left")
		}
		light(t, addr, at)
		var visiting sync.WaitGroup
		for n := range 3 {
			visiting.Go(func() {
				for visit := 0; come(ctx, addr, kind, fmt.Sprintf("visitor %d %d %d", at, n, visit)) == nil; visit++ {
				}
			})
		}
		require.Error(t, eve.listen(ctx, addr, kind, func() bool { return false }))
		visiting.Wait()
		require.NoError(t, eve.failed)
		require.NoError(t, ctx.Err(), "it was not killed")
		require.ErrorContains(t, cmd.Wait(), "killed")
		cancel()
	}

	t.Setenv(graceOf, "1ms")
	_, addr := program.Start(t, data)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	eve.stays = false
	alone := func() bool { return len(eve.knows) == 1 && eve.knows["eve"] }
	require.NoError(t, eve.listen(ctx, addr, kind, alone), "those who are not there have left: %v", eve.knows)
	defer eve.ws.CloseNow()
	require.Equal(t, []string{"eve"}, members(t, addr, kind))
	http.DefaultClient.CloseIdleConnections()
	require.Greater(t, len(eve.left), killUntil / *killStride)
	t.Logf("%d have joined and left", len(eve.left))
}

// light has a server killed at its n-th change of the disk from now on.
func light(t *testing.T, addr string, n int) {
	t.Helper()
	resp, err := http.Get(fmt.Sprint("http://", addr, "/fuse?at=", n))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
}

func dial(ctx context.Context, addr, kind, uid, after string) (ws *websocket.Conn, hello []byte, err error) {
	query := url.Values{"u": {uid}, "after": {after}}
	ws, _, err = websocket.Dial(ctx, "ws://"+addr+"/"+kind+"?"+query.Encode(),
		&websocket.DialOptions{Subprotocols: []string{wire.Protocol}})
	if err != nil {
		return nil, nil, err
	}
	ws.SetReadLimit(-1)
	if _, hello, err = ws.Read(ctx); err != nil {
		_ = ws.CloseNow()
	}
	return ws, hello, err
}

// come has a visitor come, and go when it has received that it is there.
func come(ctx context.Context, addr, kind, uid string) error {
	ws, _, err := dial(ctx, addr, kind, uid, "")
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	for {
		_, data, err := ws.Read(ctx)
		if err != nil || strings.Contains(string(data), `"`+uid+`"`) {
			return err
		}
	}
}

// members returns the uids of the members.
func members(t *testing.T, addr, kind string) (uids []string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/" + kind + "/members")
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	var all []dog.Member
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&all))
	for _, m := range all {
		uids = append(uids, m.UID)
	}
	return uids
}

// A listener is the client of eve, who follows the history over the lives of
// the server. She may leave and come again, and everybody else joins once.
type listener struct {
	ws     *websocket.Conn
	pos    string
	knows  map[string]bool // who is there
	left   map[string]bool // who have left
	stays  bool            // nobody leaves
	failed error
}

// listen connects eve if she is not, and applies the changes she gets until
// done returns true. It returns an error if the connection ends or fails.
func (l *listener) listen(ctx context.Context, addr, kind string, done func() bool) error {
	if l.ws == nil {
		ws, data, err := dial(ctx, addr, kind, "eve", l.pos)
		if err != nil {
			return err
		}
		var hello struct{ Pos, Gap string }
		if err := json.Unmarshal(data[1:], &hello); err != nil || l.pos != "" && hello.Gap != "" {
			return fmt.Errorf("the hello %s: %w", data, err)
		}
		l.ws, l.pos = ws, hello.Pos
	}
	for !done() {
		_, data, err := l.ws.Read(ctx)
		if err == nil {
			l.failed = l.apply(data)
			err = l.failed
		}
		if err != nil {
			_ = l.ws.CloseNow()
			l.ws = nil
			return err
		}
	}
	return nil
}

// apply applies a change.
func (l *listener) apply(data []byte) error {
	header, payload, _ := strings.Cut(string(data), "\n")
	var p dog.PresenceChange
	if err := json.Unmarshal([]byte(payload), &p); err != nil || header[0] != 'm' {
		return fmt.Errorf("%q: %w", data, err)
	}
	epoch, _, _ := strings.Cut(l.pos, "-")
	l.pos = epoch + "-" + header[1:]
	for _, m := range p.Joined {
		if l.knows[m.UID] || l.left[m.UID] && m.UID != "eve" {
			return fmt.Errorf("%s joins twice", m.UID)
		}
		l.knows[m.UID] = true
	}
	for _, m := range p.Left {
		if !l.knows[m.UID] || l.stays {
			return fmt.Errorf("%s leaves", m.UID)
		}
		delete(l.knows, m.UID)
		l.left[m.UID] = true
	}
	if len(l.knows) != p.Count {
		return fmt.Errorf("%s: %d members are known", data, len(l.knows))
	}
	return nil
}
