// Package proxy_test tests the library behind the proxies that the guide to
// running it configures. Where one is not installed, its test is skipped.
package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
)

// room sends all messages to everybody, and counts the bytes of requests.
type room struct{ dog.Object }

func (r *room) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	return r.Broadcast(m)
}

func (r *room) Receive(w http.ResponseWriter, req *http.Request) error {
	if dog.IsUpgrade(req) {
		_, err := r.Connect(w, req, nil)
		return err
	}
	n, err := io.Copy(io.Discard, req.Body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(w, n)
	return err
}

// serve serves a room and its history until end is called, or the test ends.
func serve(t *testing.T) (addr string, end func()) {
	t.Helper()
	rt, err := dog.New(dog.Options{})
	require.NoError(t, err)
	rooms, err := dog.RegisterObject(rt, "room", &dog.ObjectOptions[room]{History: dog.HistoryOptions{Count: 100}})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/room", rooms.Named("main"))
	mux.Handle("/history", rooms.Named("main").History())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rt.Serve(ctx, &http.Server{Handler: mux}, listener) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return listener.Addr().String(), cancel
}

// listens is how the guide's configuration of a proxy says where it listens.
var listens = map[string]struct{ on80, format string }{
	"nginx":   {"listen 80;", "listen %s;"},
	"haproxy": {"bind 127.0.0.1:80\n", "bind %s\n"},
}

// configuration returns the guide's configuration of a proxy, for one at addr
// before the server at to.
func configuration(t *testing.T, name, addr, to string) string {
	t.Helper()
	guide, err := os.ReadFile("../../docs/guide/running-it.md")
	require.NoError(t, err)
	_, text, found := strings.Cut(string(guide), "```"+name+"\n")
	require.True(t, found)
	text, _, found = strings.Cut(text, "```")
	require.True(t, found)
	for _, change := range [][2]string{
		{"127.0.0.1:8080", to}, {listens[name].on80, fmt.Sprintf(listens[name].format, addr)},
	} {
		require.Equal(t, 1, strings.Count(text, change[0]), "%s in:\n%s", change[0], text)
		text = strings.Replace(text, change[0], change[1], 1)
	}
	return text
}

// startProxy starts a proxy of the guide before the server at to, and returns
// its address.
func startProxy(t *testing.T, name, to string) (addr string) {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		file, err = exec.LookPath(filepath.Join("/usr/sbin", name)) // which is not in everybody's PATH
	}
	if err != nil {
		t.Skipf("NOT RUN: %s is not installed", name)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr = listener.Addr().String()
	require.NoError(t, listener.Close())
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	text := configuration(t, name, addr, to)
	args := []string{"-db", "-f", config}
	if name == "nginx" {
		text = nginxMain + text + "}\n"
		args = []string{"-p", dir, "-e", "stderr", "-c", config}
	}
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	cmd := exec.Command(file, args...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("the output of %s:\n%s", name, &output)
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, time.Minute, 10*time.Millisecond, "%s listens", name)
	return addr
}

// nginxMain is what is around the guide's configuration. It keeps nginx in one
// process and in its directory.
const nginxMain = `daemon off; master_process off; pid pid;
events {}
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy;
	fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
`

// With the configuration of the guide, a proxy passes on WebSockets of pages
// and of clients of dog.v1, each event of a stream at once, uploads, and the
// end.
func TestProxy_ConfigurationOfTheGuideWorks(t *testing.T) {
	for _, name := range []string{"nginx", "haproxy"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			server, end := serve(t)
			proxy := startProxy(t, name, server)

			page, _, err := websocket.Dial(ctx, "ws://"+proxy+"/room", &websocket.DialOptions{
				HTTPHeader: http.Header{"Origin": {"http://" + proxy}},
			})
			require.NoError(t, err)
			defer page.CloseNow()
			c, err := client.New("ws://"+proxy+"/room", client.Options{})
			require.NoError(t, err)
			defer c.Close()
			event, err := c.Receive(ctx)
			require.NoError(t, err)
			require.IsType(t, client.Gap{}, event)

			live := "http://" + proxy + "/history?offset=now&live=sse"
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, live, nil)
			require.NoError(t, err)
			stream, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer stream.Body.Close()
			require.Equal(t, http.StatusOK, stream.StatusCode)
			lines := bufio.NewScanner(stream.Body)
			for n := range 3 { // the next is sent when the last has come
				text := fmt.Sprintf(`"message %d"`, n)
				require.NoError(t, page.Write(ctx, websocket.MessageText, []byte(text)))
				_, got, err := page.Read(ctx)
				require.NoError(t, err)
				require.Equal(t, text, string(got))
				event, err := c.Receive(ctx)
				require.NoError(t, err)
				require.Equal(t, text, string(event.(client.Message).Data))
				for found := false; !found; found = strings.Contains(lines.Text(), text) {
					require.True(t, lines.Scan(), "the stream ends before %s: %v", text, lines.Err())
				}
			}

			const size = 9 << 20
			resp, err := http.Post("http://"+proxy+"/room", "application/octet-stream",
				strings.NewReader(strings.Repeat("x", size)))
			require.NoError(t, err)
			defer resp.Body.Close()
			answer, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(size), string(answer))

			end()
			_, _, err = page.Read(ctx)
			require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err), "%v", err)
		})
	}
}
