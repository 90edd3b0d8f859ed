package faults_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
)

var kills = flag.Int("kills", 20, "how often TestCrash_NothingAcknowledgedIsLostWhenTheProcessIsKilled kills it")

// killDir names, in the environment of the process that is to be killed, its
// data directory.
const killDir = "DOG_KILL_DIR"

// A server writes to a real directory, while clients record its answers, until
// it is killed at some moment. What it has stored must then be whole turns, all
// that were acknowledged to a client, and at most one more for each client that
// waited for one.
func TestCrash_NothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		serveUntilKilled(dir)
	}
	dir := t.TempDir()
	clients := &witness{turns: map[string]int{}, reports: map[string]int{}, clients: map[string]int{}}
	for range *kills {
		clients.watchAndKill(t, startServer(t, dir))
		clients.audit(t, dir)
	}
	t.Logf("%d kills, turns by object: %v", *kills, clients.turns)
}

// serveUntilKilled is the process that is killed. It ends by itself when the
// test has gone.
func serveUntilKilled(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	rt, err := dog.New(dog.Options{Store: disk.At(dir)})
	if err != nil {
		fail(err)
	}
	handler, err := serveLedgers(rt)
	if err != nil {
		fail(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr())
	fail(http.Serve(listener, handler))
}

// child is a server in a process of its own.
type child struct {
	process *exec.Cmd
	stdin   io.Closer
	address string
}

func startServer(t *testing.T, dir string) *child {
	t.Helper()
	v := &child{process: exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")}
	v.process.Env = append(os.Environ(), killDir+"="+dir)
	v.process.Stderr = os.Stderr
	stdin, err := v.process.StdinPipe()
	require.NoError(t, err)
	v.stdin = stdin
	stdout, err := v.process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, v.process.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	v.address = strings.TrimSpace(line)
	return v
}

// kill ends the process at once.
func (v *child) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, v.process.Process.Kill())
	require.ErrorContains(t, v.process.Wait(), "killed", "it ran until it was")
	_ = v.stdin.Close() // Wait has closed it
}

// witness records the answers that clients got.
type witness struct {
	mu      sync.Mutex
	turns   map[string]int // the latest of each object. guarded by mu, like all below
	reports map[string]int // the latest that one ledger reported to another, by "from to"
	clients map[string]int // that each object has at a time
	left    int            // until the kill
	enough  chan struct{}  // closed then
	faults  []string
}

// note records the answer to a client: an object has taken a turn and reported
// it to another.
func (w *witness) note(object string, turn int, reportedTo string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turns[object] = max(w.turns[object], turn)
	if reportedTo != "" {
		pair := object + " " + reportedTo
		w.reports[pair] = max(w.reports[pair], turn)
	}
	if w.left--; w.left == 0 {
		close(w.enough)
	}
}

func (w *witness) fault(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, text)
}

// watchAndKill has clients use a server, and kills it after it has acknowledged
// a random number of turns.
func (w *witness) watchAndKill(t *testing.T, v *child) {
	t.Helper()
	w.mu.Lock()
	w.left, w.enough = 1+rand.IntN(300), make(chan struct{})
	clear(w.clients)
	w.mu.Unlock()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var talking sync.WaitGroup
	for i, name := range []string{"ada", "ada", "bob", "cyd"} {
		w.clients[name]++
		talking.Go(func() { w.post(client, v.address, name, i) })
	}
	for i, name := range []string{"till", "till", "safe"} {
		w.clients[name]++
		talking.Go(func() { w.chat(client, v.address, name, i) })
	}
	<-w.enough
	v.kill(t)
	talking.Wait()
	require.Empty(t, w.faults)
}

// post asks a ledger for turns until the server has gone.
func (w *witness) post(client *http.Client, address, name string, seed int) {
	others := []string{"", "", "ada", "bob", "cyd"}
	for i := seed; ; i++ {
		other := others[i%len(others)]
		if other == name {
			continue
		}
		answer, err := client.Post("http://"+address+"/ledger/"+name+"?report="+other, "", nil)
		if err != nil {
			return
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close() // it has been read, or the server has gone
		if err != nil {
			return
		}
		n, err := strconv.Atoi(string(body))
		if answer.StatusCode != http.StatusOK || err != nil {
			w.fault(fmt.Sprintf("%s: %s %q", name, answer.Status, body))
			return
		}
		w.note(name, n, other)
	}
}

// chat asks a ledgerReplica for turns until the server has gone, and gets those
// that others ask for.
func (w *witness) chat(client *http.Client, address, name string, seed int) {
	ctx := context.Background()
	url := fmt.Sprintf("ws://%s/replica/%s?u=%d", address, name, seed)
	ws, answer, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		if answer != nil && answer.StatusCode != http.StatusSwitchingProtocols {
			w.fault(name + ": " + answer.Status)
		}
		return
	}
	defer ws.CloseNow()
	for before := 0; ; {
		if err := ws.Write(ctx, websocket.MessageText, []byte("next")); err != nil {
			return
		}
		for own := false; !own; {
			_, data, err := ws.Read(ctx)
			if err != nil {
				return
			}
			var text string
			text, own = strings.CutSuffix(string(data), "!")
			n, err := strconv.Atoi(text)
			if err != nil || n <= before {
				w.fault(fmt.Sprintf("%s: %q after %d", name, data, before))
				return
			}
			before = n
			w.note(name, n, "")
		}
	}
}

// audit compares what a killed server has stored with what it acknowledged.
func (w *witness) audit(t *testing.T, dir string) {
	t.Helper()
	rt := dogtest.New(t, dog.Options{Store: disk.At(dir)})
	ledgers, groups, err := newLedgers(rt)
	require.NoError(t, err)
	stored := map[string]int{}
	received := map[string]int{}
	for _, name := range []string{"ada", "bob", "cyd"} {
		out := dogtest.Run(t, ledgers.Named(name), func(_ context.Context, l *ledger) (err error) {
			for v, err := range l.received().List(dog.ListOptions{}) {
				if err != nil {
					return err
				}
				received[v.Key+" "+name] = v.Value
			}
			stored[name], err = turnsOf(l.Storage())
			return err
		})
		require.NoError(t, out.Err, name)
	}
	for _, name := range []string{"till", "safe"} {
		stub, err := groups.Named(name).Identify(context.Background(), "auditor")
		require.NoError(t, err)
		out := dogtest.Run(t, stub, func(_ context.Context, p *ledgerReplica) (err error) {
			stored[name], err = turnsOf(p.Storage())
			return err
		})
		require.NoError(t, out.Err, name)
	}
	for name, n := range stored {
		require.GreaterOrEqual(t, n, w.turns[name], "%s: acknowledged turns are there", name)
		require.LessOrEqual(t, n, w.turns[name]+w.clients[name], "%s: a turn that nobody has asked for", name)
	}
	for pair, n := range received {
		from, _, _ := strings.Cut(pair, " ")
		require.LessOrEqual(t, n, stored[from], "%s: received a turn that was lost", pair)
		require.GreaterOrEqual(t, n, w.reports[pair], "%s: acknowledged reports are there", pair)
	}
	for name, n := range stored {
		w.turns[name] = n
	}
	require.NoError(t, rt.Shutdown(context.Background()))
}
