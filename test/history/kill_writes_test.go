package history_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/program"
	"github.com/godurable/dog/internal/wire"
	"github.com/godurable/dog/test/internal/fixture"
)

var killStride = flag.Int("kill-stride", 4, "TestHistory_KillAtEveryWrite kills at each n-th write; 1: at every one")

// killUntil is the last write at which a server is killed.
const killUntil = 100

// A server is killed at its first write, the next one at its second, and so on,
// while clients talk. After each kill, the messages that they have received are
// the beginning of the kept ones, without a hole, and the state counts them.
func TestHistory_KillAtEveryWrite(t *testing.T) {
	fixture.TakesLong(t)
	first := 0 // each case has other writes
	for _, name := range []string{"in memory", "durable"} {
		for _, kind := range []string{"object", "replica"} {
			first++
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Setenv(killCase, name)
				t.Setenv(fuseAt, "0")
				data := t.TempDir()
				clients := newSurvivors(3, name, uint64(first))
				follower := newSurvivor("follower", killCases[name].gap, 0)
				lives := 0
				for at := first; at <= killUntil; at += *killStride {
					lives++
					cmd, addr := program.Start(t, data)
					total := audit(t, addr, kind, clients)
					if killCases[name].history.Durable {
						follower.catchUp(t, addr, kind, total)
					}
					light(t, addr, at)
					talkUntilKilled(t, cmd.Wait, addr, kind, clients)
					follower.killed = true
				}
				_, addr := program.Start(t, data)
				for _, c := range clients {
					c.settle(t, addr, kind)
				}
				total := audit(t, addr, kind, clients)
				if killCases[name].history.Durable {
					follower.catchUp(t, addr, kind, total)
					readAll(t, addr, kind, total)
				}
				t.Logf("%d lives, %d messages", lives, total)
			})
		}
	}
}

// A server is killed at each write of its start after a kill, of which it has
// much to recover. The next one finds the same.
func TestHistory_KillAtEveryWriteOfAStart(t *testing.T) {
	fixture.TakesLong(t)
	t.Setenv(killCase, "durable")
	for i, kind := range []string{"object", "replica"} {
		t.Run(kind, func(t *testing.T) {
			data := t.TempDir()
			clients := newSurvivors(3, "durable", uint64(i))
			t.Setenv(fuseAt, "0")
			cmd, addr := program.Start(t, data)
			light(t, addr, killUntil)
			talkUntilKilled(t, cmd.Wait, addr, kind, clients)
			kills, total := 0, 0
			for at, killed := 1+i, true; killed; at += *killStride {
				again := t.TempDir()
				require.NoError(t, os.CopyFS(again, os.DirFS(data)))
				t.Setenv(fuseAt, strconv.Itoa(at))
				cmd, _, err := program.TryStart(t, again)
				if killed = err != nil; killed {
					require.ErrorContains(t, err, "killed")
					kills++
				} else {
					require.NoError(t, cmd.Process.Kill())
					require.Error(t, cmd.Wait())
				}
				t.Setenv(fuseAt, "0")
				cmd, addr = program.Start(t, again)
				total = audit(t, addr, kind, clients)
				readAll(t, addr, kind, total)
				require.NoError(t, cmd.Process.Kill())
				require.Error(t, cmd.Wait())
			}
			require.Positive(t, kills)
			t.Logf("%d kills, %d messages", kills, total)
		})
	}
}

func newSurvivors(n int, name string, seed uint64) (all []*survivor) {
	for i := range n {
		all = append(all, newSurvivor(fmt.Sprint("client-", i), killCases[name].gap, seed*100+uint64(i)))
	}
	return all
}

// light has a server killed at its n-th change of the disk from now on.
func light(t *testing.T, addr string, n int) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/fuse?at=" + strconv.Itoa(n))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
}

// talkUntilKilled lets clients talk to a server until it has been killed. wait
// waits for its end.
func talkUntilKilled(t *testing.T, wait func() error, addr, kind string, clients []*survivor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // it takes less than one
	defer cancel()
	never := newCountdown(1 << 62)
	var talking sync.WaitGroup
	for _, c := range clients {
		talking.Go(func() {
			c.talk(ctx, addr, kind, never)
			if c.failed != nil {
				cancel()
			}
		})
	}
	talking.Wait()
	for _, c := range clients {
		require.NoError(t, c.failed, c.uid)
	}
	require.NoError(t, ctx.Err(), "it was not killed")
	require.ErrorContains(t, wait(), "killed")
}

// catchUp follows a durable history to its end: the message that has the number
// total.
func (s *survivor) catchUp(t *testing.T, addr, kind string, total int) {
	t.Helper()
	if total == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // it takes less than one
	defer cancel()
	ws, err := s.connect(ctx, addr, kind)
	require.NoError(t, err)
	defer ws.CloseNow()
	for s.highest < total {
		require.NoError(t, s.read(ctx, ws), "%d messages of %d", s.highest, total)
	}
	require.Equal(t, s.pos, now(t, addr, kind), "no more is kept than the state counts")
}

// now returns the position after the last message that is kept.
func now(t *testing.T, addr, kind string) string {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/"+kind+"?u=newcomer",
		&websocket.DialOptions{Subprotocols: []string{wire.Protocol}})
	require.NoError(t, err)
	defer ws.CloseNow()
	_, data, err := ws.Read(t.Context())
	require.NoError(t, err)
	var h hello
	require.NoError(t, json.Unmarshal(data[1:], &h))
	return h.Pos
}
