package docs_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/client"
)

// A program is a program of the README or of a guide.
type program struct {
	file string // executable
	dir  string // where it runs, and so where its data is
	addr string // where it listens, if it is a server

	running *exec.Cmd // that start has started last
}

// registered is the type that a test of a page registers.
var registered = regexp.MustCompile(`dog\.Register\w+\[(\w+)\]`)

// build vets and builds the programs of the README and the guides as packages
// of a module that uses this one, runs their tests, and returns them by their
// first type. Each gets an address of its own to listen on. A test is put
// beside the program whose type it registers.
func build(t *testing.T) map[string]*program {
	t.Helper()
	dir := newModule(t)
	programs := make(map[string]*program)
	tests := make(map[string]string)
	for _, block := range pageCode(t) {
		if !strings.HasPrefix(block, "package main\n") {
			continue
		}
		if strings.Contains(block, "\nfunc Test") {
			tests[registered.FindStringSubmatch(block)[1]] = block
			continue
		}
		_, name, found := strings.Cut(block, "\ntype ")
		require.True(t, found, block)
		name, _, _ = strings.Cut(name, " ")
		require.NotContains(t, programs, name)
		p := &program{file: filepath.Join(dir, "bin", name), dir: t.TempDir(), addr: freeAddr(t)}
		programs[name] = p
		code := strings.ReplaceAll(block, "127.0.0.1:8080", p.addr)
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "main.go"), []byte(code), 0o600))
	}
	require.NotEmpty(t, tests)
	for name, code := range tests {
		require.Contains(t, programs, name)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "main_test.go"), []byte(code), 0o600))
	}
	for _, args := range [][]string{
		{"vet", "./..."}, {"build", "-ldflags=-s -w", "-o", "bin/", "./..."}, {"test", "./..."},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return programs
}

// newModule makes a module with the requirements of this one, which it replaces
// with the files beside the test, and returns its directory.
func newModule(t *testing.T) (dir string) {
	t.Helper()
	const module = "github.com/godurable/dog"
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	mod := strings.Replace(string(text), "module "+module, "module pages", 1) +
		fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %[1]s => %q\n", module, root)
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600))
	return dir
}

// freeAddr returns an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// start starts the program, waits until it listens, and returns a function that
// kills it. The end of the test kills it as well.
func (p *program) start(t *testing.T) (kill func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, p.file)
	cmd.Dir, cmd.Stderr = p.dir, os.Stderr
	require.NoError(t, cmd.Start())
	p.running = cmd
	kill = func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}
	t.Cleanup(kill)
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond, "%s listens", p.file)
	return kill
}

// terminate asks the program to end and waits until it has.
func (p *program) terminate(t *testing.T) {
	t.Helper()
	require.NoError(t, p.running.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.running.Wait())
}

// get returns the page at the path.
func (p *program) get(t *testing.T, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + p.addr + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(page)
}

// dial opens a WebSocket to the program.
func (p *program) dial(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+p.addr+path, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func send(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(text)))
}

func requireReceived(t *testing.T, conn *websocket.Conn, want string) {
	t.Helper()
	_, got, err := conn.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// The programs of the README and the guides do what the pages promise.
func TestPages_ProgramsRun(t *testing.T) {
	tests := map[string]func(*testing.T, *program){
		"Doc": testDoc, "Counter": testCounter, "Lobby": testLobby, "Command": testDevice, "List": testList,
		"Door": testDoor, "Pad": testPad,
	}
	programs := build(t)
	for name := range programs {
		require.Contains(t, tests, name, "a test runs each program")
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, programs, name)
			test(t, programs[name])
		})
	}
}

func testDoc(t *testing.T, p *program) {
	p.start(t)
	require.Contains(t, p.get(t, "/readme"), "<textarea")
	ada, bob := p.dial(t, "/readme"), p.dial(t, "/readme")
	requireReceived(t, ada, "")
	requireReceived(t, bob, "")
	send(t, ada, "hello")
	requireReceived(t, bob, "hello")
	requireReceived(t, p.dial(t, "/readme"), "hello")
}

func testCounter(t *testing.T, p *program) {
	for n := range 2 {
		cmd := exec.CommandContext(t.Context(), p.file)
		cmd.Dir = p.dir
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintln(n+1, "<nil> <nil>"), string(out))
	}
}

func testLobby(t *testing.T, p *program) {
	p.start(t)
	require.Contains(t, p.get(t, "/general"), "<input")
	ada, bob := p.dial(t, "/general?user=ada"), p.dial(t, "/general?user=bob")
	send(t, ada, "hello")
	requireReceived(t, ada, "ada: hello")
	requireReceived(t, bob, "ada: hello")
	send(t, bob, "hi")
	requireReceived(t, ada, "bob: hi")
}

// What is written on a pad is in the view.
func testPad(t *testing.T, p *program) {
	p.start(t)
	resp, err := http.PostForm("http://"+p.addr+"/pads/a", url.Values{"text": {"hello"}})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Contains(t, p.get(t, "/dog/"), "view.js")
	id := regexp.MustCompile(`[0-9a-f]{64}`).FindString(p.get(t, "/dog/api/objects?type=pad"))
	require.Contains(t, p.get(t, "/dog/api/keys?type=pad&id="+id), `"Text":"hello"`)
}

// A door carries out commands while it is there, and those that have waited
// when it comes, also after a crash of the server.
func testDoor(t *testing.T, p *program) {
	kill := p.start(t)
	post := func(path string, form url.Values) (status int, answer string) {
		resp, err := http.PostForm("http://"+p.addr+path, form)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	for _, on := range []string{"true", "false"} {
		status, _ := post("/doors/front/light", url.Values{"on": {on}})
		require.Equal(t, http.StatusOK, status)
	}
	kill()
	p.start(t)
	done := make(chan string, 10)
	c, err := client.New("ws://"+p.addr+"/doors/front", client.Options{
		OnCommand: func(_ context.Context, command client.Command) (any, error) {
			done <- string(command.Data)
			return "done as told", nil
		},
	})
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, `{"light":false}`, <-done)
	status, answer := post("/doors/front/open", nil)
	require.Equal(t, http.StatusOK, status, answer)
	require.Equal(t, "done as told\n", answer)
	require.Equal(t, `{"open":5}`, <-done)
	require.Contains(t, p.get(t, "/dog-commands.js"), "onCommand")
}

// A client misses nothing in a planned restart, learns of a gap after a crash,
// and what it sends takes effect once.
func testList(t *testing.T, p *program) {
	p.start(t)
	resp, err := http.Get("http://" + p.addr + "/dog.js")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)

	newClient := func() *client.Client {
		c, err := client.New("ws://"+p.addr+"/shopping", client.Options{})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	requireGap := func(c *client.Client, want client.GapReason) {
		t.Helper()
		event, err := c.Receive(t.Context())
		require.NoError(t, err)
		require.IsType(t, client.Gap{}, event)
		require.Equal(t, want, event.(client.Gap).Reason)
	}
	requireMessage := func(c *client.Client, want string) {
		t.Helper()
		event, err := c.Receive(t.Context())
		require.NoError(t, err)
		require.IsType(t, client.Message{}, event)
		require.JSONEq(t, want, string(event.(client.Message).Data))
	}
	ada, bob := newClient(), newClient()
	requireGap(ada, client.First)
	requireGap(bob, client.First)
	live, err := http.Get("http://" + p.addr + "/history?offset=now&live=sse")
	require.NoError(t, err)
	defer live.Body.Close()
	events := bufio.NewScanner(live.Body)
	nextMessages := func() (data string) { // of the event of that name
		for events.Scan() && !strings.HasPrefix(events.Text(), "event: data") {
		}
		require.True(t, events.Scan())
		_, data, found := strings.Cut(events.Text(), ":")
		require.True(t, found)
		return data
	}
	require.NoError(t, ada.Send(t.Context(), "tea"))
	requireMessage(ada, `{"n":1,"item":"tea"}`)
	requireMessage(bob, `{"n":1,"item":"tea"}`)
	require.JSONEq(t, `[{"n":1,"item":"tea"}]`, p.get(t, "/history?offset=-1"))
	require.JSONEq(t, `[{"n":1,"item":"tea"}]`, nextMessages())

	p.terminate(t)
	kill := p.start(t)
	require.NoError(t, ada.Send(t.Context(), "bread"))
	requireMessage(ada, `{"n":2,"item":"bread"}`)
	requireMessage(bob, `{"n":2,"item":"bread"}`)

	kill()
	p.start(t)
	require.NoError(t, ada.Send(t.Context(), "milk"))
	requireGap(bob, client.Epoch)
	resp, err = http.Get("http://" + p.addr + "/shopping")
	require.NoError(t, err)
	defer resp.Body.Close()
	state, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.JSONEq(t, `{"n":3,"items":["tea","bread","milk"]}`, string(state))
}

// A device gets each command until it acknowledges it: after it was away, after
// its connection was replaced, and after the program was killed.
func testDevice(t *testing.T, p *program) {
	command := func(text, want string) {
		t.Helper()
		resp, err := http.PostForm("http://"+p.addr+"/devices/door", url.Values{"do": {text}})
		require.NoError(t, err)
		defer resp.Body.Close()
		n, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, want, string(n))
	}
	// acknowledge returns when the acknowledgement is durable: messages are
	// handled in order, and what follows it closes the connection.
	acknowledge := func(device *websocket.Conn, number string) {
		t.Helper()
		send(t, device, number)
		send(t, device, "three")
		_, _, err := device.Read(t.Context())
		require.EqualValues(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err))
	}
	kill := p.start(t)
	command("open", "1\n")
	command("close", "2\n")
	door := p.dial(t, "/devices/door")
	requireReceived(t, door, `{"n":1,"text":"open"}`)
	requireReceived(t, door, `{"n":2,"text":"close"}`)
	acknowledge(door, "1")

	door = p.dial(t, "/devices/door")
	requireReceived(t, door, `{"n":2,"text":"close"}`)
	command("lock", "3\n")
	requireReceived(t, door, `{"n":3,"text":"lock"}`)

	again := p.dial(t, "/devices/door")
	requireReceived(t, again, `{"n":2,"text":"close"}`)
	requireReceived(t, again, `{"n":3,"text":"lock"}`)
	_, _, err := door.Read(t.Context())
	require.EqualValues(t, 4001, websocket.CloseStatus(err), "the connection was replaced")
	command("open", "4\n")
	requireReceived(t, again, `{"n":4,"text":"open"}`)
	acknowledge(again, "2")

	kill()
	p.start(t)
	back := p.dial(t, "/devices/door")
	requireReceived(t, back, `{"n":3,"text":"lock"}`)
	requireReceived(t, back, `{"n":4,"text":"open"}`)
	acknowledge(back, "3")
	back = p.dial(t, "/devices/door")
	requireReceived(t, back, `{"n":4,"text":"open"}`)
}
