package history_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/program"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/test/internal/fixture"
)

var (
	kills    = flag.Int("kills", 5, "how often TestHistory_KilledServersTellClientsTheTruth kills each server")
	killSeed = flag.Uint64("kill-seed", 0, "when it does that; 0: random")
)

// killCase is set in the environment of the process that is killed, to a key of
// killCases.
const killCase = "DOG_HISTORY_CASE"

// fuseAt is set in that environment if the process has a [fixture.Fuse], to the
// change of the disk at which it is killed, or "0".
const fuseAt = "DOG_HISTORY_FUSE"

// killCases are the histories of a process that is killed, and the gap that a
// connected client gets afterwards.
var killCases = map[string]struct {
	history dog.HistoryOptions
	gap     dog.GapReason
	store   func(dir string) dog.Store
}{
	"in memory":                        {longest, dog.GapEpoch, disk.At},
	"durable":                          {longestOnDisk, "", disk.At},
	"on a disk full at times":          {longest, dog.GapEpoch, fullAtTimes},
	"durable, on a disk full at times": {longestOnDisk, "", fullAtTimes},
}

var (
	longest       = dog.HistoryOptions{Count: 1 << 20, Bytes: 64 << 20}
	longestOnDisk = dog.HistoryOptions{Count: 1 << 20, Bytes: 64 << 20, Durable: true}
)

// fullAtTimes returns a store in a directory that refuses one write in a
// hundred.
func fullAtTimes(dir string) dog.Store {
	return hook.MakeStore(func(log *slog.Logger) (store.Engine, error) {
		e, err := hook.OpenStore(disk.At(dir), log)
		return refusing{e}, err
	}).(dog.Store)
}

type refusing struct{ store.Engine }

func (e refusing) Writable() error {
	if rand.IntN(100) == 0 { //nolint:gosec // a test
		return store.ErrFull
	}
	return e.Engine.Writable()
}

// A counter stores each message of a client under its text, with a number that
// counts all of them, and sends the number to all.
type counter interface {
	Broadcast(v any, options ...dog.SendOption) error
	Connect(w http.ResponseWriter, r *http.Request, options *dog.SocketOptions) (*dog.Socket, error)
	Storage() *dog.Storage
}

// handled is the value of a message in the storage.
type handled struct {
	Times int // how often it was handled
	N     int // the number that it got the first time
}

// handle handles a message.
func handle(t counter, m dog.Message) error {
	n, err := dog.Update(t.Storage(), "n", func(n int) (int, error) { return n + 1, nil })
	if err != nil {
		return err
	}
	_, err = dog.MapOf[handled](t.Storage(), "messages/").Update(m.String(), func(h handled) (handled, error) {
		if h.N == 0 {
			h.N = n
		}
		h.Times++
		return h, nil
	})
	if err != nil {
		return err
	}
	return t.Broadcast(n)
}

// A stock is all that a counter has stored.
type stock struct {
	N        int                // how many messages were handled
	Messages map[string]handled // by their texts
}

// receive connects a client, or returns all that is stored.
func receive(t counter, w http.ResponseWriter, r *http.Request) error {
	if dog.IsUpgrade(r) {
		_, err := t.Connect(w, r, nil)
		return err
	}
	n, _, err := dog.Get[int](t.Storage(), "n")
	all := stock{n, map[string]handled{}}
	for entry, failed := range dog.MapOf[handled](t.Storage(), "messages/").List(dog.ListOptions{}) {
		if err = errors.Join(err, failed); failed == nil {
			all.Messages[entry.Key] = entry.Value
		}
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(all)
}

type counterObject struct{ dog.Object }

func (o *counterObject) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	return handle(o, m)
}

func (o *counterObject) Receive(w http.ResponseWriter, r *http.Request) error {
	return receive(o, w, r)
}

type counterReplica struct{ dog.Replica }

func (o *counterReplica) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	return handle(o, m)
}

func (o *counterReplica) Receive(w http.ResponseWriter, r *http.Request) error {
	return receive(o, w, r)
}

// counterGroup has one replica, whose storage is always the same.
type counterGroup struct{ dog.Group }

func (g *counterGroup) Clusterize(context.Context, string) (string, error) {
	return "of " + g.Name(), nil
}

// serveUntilKilled is the process that is killed.
func serveUntilKilled(data string) {
	program.EndWithTests()
	c := killCases[os.Getenv(killCase)]
	store, fuse := c.store(data), &fixture.Fuse{Dir: data}
	if at, err := strconv.Atoi(os.Getenv(fuseAt)); err == nil {
		fuse.Set(at)
		store = fixture.StoreOf(fuse)
	}
	handler, err := counters(dog.Options{Store: store}, c.history)
	if err != nil {
		log.Fatal(err)
	}
	handler.Handle("/fuse", fuse)
	log.Fatal(program.Serve(handler))
}

// counters serves an object and a replica, at the paths of their kinds.
func counters(options dog.Options, history dog.HistoryOptions) (*http.ServeMux, error) {
	rt, err := dog.New(options)
	if err != nil {
		return nil, err
	}
	objects, e1 := dog.RegisterObject(rt, "counter", &dog.ObjectOptions[counterObject]{History: history})
	replicas, e2 := dog.RegisterReplica[counterReplica](rt, "counters", nil)
	if err := errors.Join(e1, e2); err != nil {
		return nil, err
	}
	groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[counterGroup]{
		Limit: 100, MaxReplicas: 1, History: history,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/object", func(w http.ResponseWriter, r *http.Request) {
		objects.Named("main").WithUID(r.FormValue("u")).ServeHTTP(w, r)
	})
	mux.HandleFunc("/replica", func(w http.ResponseWriter, r *http.Request) {
		stub, err := groups.Named("main").Identify(r.Context(), r.FormValue("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, r)
	})
	return mux, nil
}

// A server is killed at random moments, while clients send, break their
// connections and come back. They get its history in order, without holes and
// repetitions, or a gap. Each of their messages has taken effect once if it was
// acknowledged, and at most once if not.
func TestHistory_KilledServersTellClientsTheTruth(t *testing.T) {
	fixture.TakesLong(t)
	for name, c := range killCases {
		for _, kind := range []string{"object", "replica"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Setenv(killCase, name)
				killAtRandom(t, kind, c.gap)
			})
		}
	}
}

func killAtRandom(t *testing.T, kind string, gap dog.GapReason) {
	seed := *killSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-kill-seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	data := t.TempDir()
	clients := make([]*survivor, 5)
	for i := range clients {
		clients[i] = newSurvivor(fmt.Sprint("client-", i), gap, random.Uint64())
	}
	var reconnects int
	for round := range *kills {
		cmd, addr := program.Start(t, data)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // none takes a second
		left := newCountdown(1 + random.IntN(300))
		failed := make(chan struct{}, len(clients))
		var talking sync.WaitGroup
		for _, c := range clients {
			talking.Go(func() {
				c.talk(ctx, addr, kind, left)
				failed <- struct{}{}
			})
		}
		select {
		case <-left.done:
		case <-failed:
		case <-ctx.Done():
		}
		require.NoError(t, cmd.Process.Kill())
		require.ErrorContains(t, cmd.Wait(), "killed")
		cancel()
		talking.Wait()
		for _, c := range clients {
			require.NoError(t, c.failed, "round %d, %s", round, c.uid)
			reconnects += c.connections
		}
	}
	_, addr := program.Start(t, data)
	for _, c := range clients {
		c.settle(t, addr, kind)
	}
	total := audit(t, addr, kind, clients)
	if gap == "" {
		readAll(t, addr, kind, total)
	}
	t.Logf("%d connections", reconnects)
}

// readAll checks that a durable history has each message since the beginning:
// as many as the state counts, which is total.
func readAll(t *testing.T, addr, kind string, total int) {
	t.Helper()
	newcomer := newSurvivor("newcomer", "", 0)
	newcomer.catchUp(t, addr, kind, total)
	require.Equal(t, total, newcomer.highest, "no message is missing")
}

// audit compares what is stored with what the clients have sent and received.
// It returns how many messages are stored. Of each client they are its first
// ones: all that were acknowledged, and maybe more of those that were sent.
func audit(t *testing.T, addr, kind string, clients []*survivor) (total int) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/" + kind + "?u=auditor")
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	var stored stock
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&stored))
	numbers := make(map[int]bool)
	for _, c := range clients {
		count, last := uint64(0), 0
		for ; count < c.sent; count++ {
			h, found := stored.Messages[c.text(count+1)]
			if !found {
				break
			}
			require.Equal(t, 1, h.Times, "%s: message %d", c.uid, count+1)
			require.Greater(t, h.N, last, "%s: its messages are handled in order", c.uid)
			last, numbers[h.N] = h.N, true
		}
		require.GreaterOrEqual(t, count, c.acknowledged, "%s: what was acknowledged is stored", c.uid)
		total += int(count)
	}
	require.Len(t, stored.Messages, total)
	require.Len(t, numbers, total, "no number was given twice")
	require.Equal(t, total, stored.N, "the state counts what was handled")
	for _, c := range clients {
		require.LessOrEqual(t, c.highest, total, "%s has received a message that is lost", c.uid)
	}
	http.DefaultClient.CloseIdleConnections()
	return total
}
