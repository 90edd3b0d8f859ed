package browser_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/dogview"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/browser/internal/chromium"
)

// markup is a text that a page must not take for a part of it.
const markup = `<img src=x onerror="document.title = 'owned'">`

// quoted is markup as the name of a table or a column.
var quoted = `"` + strings.ReplaceAll(markup, `"`, `""`) + `"`

// viewed is an object that the view shows.
type viewed struct {
	dog.Object
	broken *atomic.Bool // alarms fail
}

func (v *viewed) OnAlarm(context.Context, dog.Alarm) error {
	if v.broken.Load() {
		return errors.New(markup)
	}
	return nil
}

func (v *viewed) OnMessage(context.Context, *dog.Socket, dog.Message) error { return nil }

// Ring sets an alarm.
func (v *viewed) Ring(_ context.Context, after time.Duration) error {
	return v.Storage().Alarms().SetNamed(markup, time.Now().Add(after), []byte(markup))
}

func (v *viewed) Keep(context.Context) error {
	_, err := v.Storage().SQL().Exec(
		`CREATE TABLE `+quoted+` (`+quoted+`); INSERT INTO `+quoted+` VALUES (?)`, markup,
	)
	if err != nil {
		return err
	}
	return v.Storage().Put(markup, []byte(markup))
}

// Flood sends more than a client that does not read takes.
func (v *viewed) Flood(context.Context) error {
	for range 10 {
		if err := v.Broadcast(strings.Repeat("x", 50_000)); err != nil {
			return err
		}
	}
	return nil
}

type (
	hall struct{ dog.Group }
	seat struct{ dog.Replica }
)

func (h *hall) Identify(r *http.Request) (string, error) { return r.FormValue("uid"), nil }

func (s *seat) OnMessage(context.Context, *dog.Socket, dog.Message) error { return nil }

// viewServer serves a view of a runtime with an object and a group.
type viewServer struct {
	url    string
	rt     *dog.Runtime
	things *dog.Namespace[viewed]
	halls  *dog.Groups[hall, seat]
	asked  atomic.Int64 // requests for data
	lives  atomic.Int64 // streams that are open
}

// registerThing registers the type of object that is viewed.
func registerThing(t *testing.T, rt *dog.Runtime, broken bool) *dog.Namespace[viewed] {
	t.Helper()
	fails := new(atomic.Bool)
	fails.Store(broken)
	things, err := dog.RegisterObject(rt, "thing", &dog.ObjectOptions[viewed]{
		New: func() *viewed { return &viewed{broken: fails} },
	})
	require.NoError(t, err)
	return things
}

// small gives a connection buffers that are soon full.
func small(c net.Conn) {
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
}

func serveView(t *testing.T, options dogview.Options) *viewServer {
	t.Helper()
	rt, err := dog.New(dog.Options{Store: disk.Memory()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rt.Shutdown(context.Background())) })
	s := &viewServer{rt: rt, things: registerThing(t, rt, false)}
	seats, err := dog.RegisterReplica[seat](rt, "seat", nil)
	require.NoError(t, err)
	s.halls, err = dog.RegisterGroup(rt, "hall", seats, &dog.GroupOptions[hall]{Limit: 2})
	require.NoError(t, err)
	options.Rights = dogview.Local(dogview.All)
	view, err := dogview.New(rt, options)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/dog/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/dog/api/") {
			s.asked.Add(1)
		}
		if r.URL.Path == "/dog/api/live" {
			s.lives.Add(1)
			defer s.lives.Add(-1)
		}
		http.StripPrefix("/dog", view).ServeHTTP(w, r)
	})
	mux.HandleFunc("/thing", func(w http.ResponseWriter, r *http.Request) {
		s.things.Named(markup).WithUID(markup).ServeHTTP(w, r)
	})
	mux.HandleFunc("/hall", func(w http.ResponseWriter, r *http.Request) {
		s.halls.Named(markup).ServeHTTP(w, r)
	})
	server := httptest.NewUnstartedServer(mux)
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		small(c)
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL + "/dog/"
	return s
}

// connect opens a socket.
func (s *viewServer) connect(t *testing.T, path string, by *http.Client) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(
		t.Context(), strings.TrimSuffix(s.url, "dog/")+path, &websocket.DialOptions{HTTPClient: by},
	)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// connectSlow connects a client that reads nothing, and fills its queue.
func (s *viewServer) connectSlow(t *testing.T) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			small(c)
		}
		return c, err
	}}
	s.connect(t, "thing", &http.Client{Transport: transport})
	require.NoError(t, dog.CallErr0(t.Context(), s.things.Named(markup), (*viewed).Flood))
}

// importFailed gives the object an alarm that has failed. That takes minutes,
// so another runtime does it, in a bubble.
func (s *viewServer) importFailed(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "failed")
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})
		thing := registerThing(t, rt, true).Named(markup)
		require.NoError(t, dog.CallErr(t.Context(), thing, (*viewed).Ring, 0))
		time.Sleep(10 * time.Minute)
		require.NoError(t, thing.Export(t.Context(), file))
	})
	require.NoError(t, s.things.Named(markup).Import(t.Context(), file))
}

// totals returns the totals of a type.
func (s *viewServer) totals(t *testing.T, name string) dog.TypeTotals {
	t.Helper()
	for _, totals := range s.rt.Totals().Types {
		if totals.Name == name {
			return totals
		}
	}
	require.Fail(t, "no type "+name)
	return dog.TypeTotals{}
}

// go to a view, which has its first data when a condition is true.
func see(page *chromium.Tab, view, what, condition string) {
	page.Run(`location.hash = "` + view + `"`)
	page.Wait(what, condition)
}

// really presses a button twice, and waits until its work is done.
func really(page *chromium.Tab, button, text string) {
	page.Run(`window.button = ` + button + `; button.focus()`)
	page.Do(chromedp.KeyEvent(" "))
	page.Wait("the question", `document.activeElement.textContent === args[0]`, "really "+text+"?")
	page.Do(chromedp.KeyEvent(" "))
	page.Wait("that it is done", `button.textContent === args[0]`, text+": done")
}

// checkView checks what is true of each view.
func checkView(t *testing.T, page *chromium.Tab, view string) {
	t.Helper()
	page.RequireAccessible()
	require.LessOrEqual(t, chromium.Eval[int](page, `document.documentElement.scrollWidth`), 320, view)
	require.Zero(t, chromium.Eval[int](page, `document.querySelectorAll("img").length`), view)
	require.Equal(t, "dog", chromium.Eval[string](page, `document.title`), view)
	require.Empty(t, chromium.Eval[string](page, `document.querySelector("#problem").textContent`), view)
}

func openView(t *testing.T, url string) *chromium.Tab {
	t.Helper()
	page := chromium.Start(t).Open(t, "operator", chromedp.EmulateViewport(320, 568), chromedp.Navigate(url))
	page.Wait("the stream", `document.querySelector("#state").textContent === "live"`)
	return page
}

func TestDogview_Groups(t *testing.T) {
	s := serveView(t, dogview.Options{})
	for _, uid := range []string{"ada", "bob", "cyd"} {
		c := s.connect(t, "hall?uid="+uid, http.DefaultClient)
		c.CloseRead(t.Context())
	}
	page := openView(t, s.url)
	page.Wait("the types", `document.querySelectorAll("tbody tr").length === 3`)
	checkView(t, page, "overview")

	see(page, "groups", "the group", `document.querySelector("tbody tr")?.textContent.includes("<img")`)
	load := chromium.Eval[float64](page, `(m => m.value / m.max)(document.querySelector("meter"))`)
	require.InDelta(t, 0.75, load, 0.01)
	checkView(t, page, "groups")
	page.Run(`document.querySelector("tbody a").click()`)
	page.Wait("the replicas", `document.querySelectorAll("tbody tr").length === 2`)
	checkView(t, page, "group")
	really(page, `document.querySelector("tbody button")`, "drain")
	page.Wait("that it drains", `document.querySelector("tbody tr").textContent.includes("draining")`)
	really(page, `document.querySelector("main p button")`, "drain all")
	page.Wait("that all drain",
		`[...document.querySelectorAll("tbody tr")].every((r) => r.textContent.includes("draining"))`)
}

func TestDogview_Object(t *testing.T) {
	s := serveView(t, dogview.Options{
		Outbox: func(context.Context, dog.ObjectInfo) (waiting, dead []outbox.Command, err error) {
			c := outbox.Command{Number: 7, Key: markup, Replace: markup, Body: dog.Message{Data: []byte(markup)}}
			return []outbox.Command{c}, []outbox.Command{c, {Number: 8}}, nil
		},
	})
	thing := s.things.Named(markup)
	require.NoError(t, dog.CallErr0(t.Context(), thing, (*viewed).Keep))
	require.NoError(t, dog.CallErr(t.Context(), thing, (*viewed).Ring, time.Hour))
	page := openView(t, s.url)
	see(
		page, "objects?type=thing&prefix=%3Cimg", "the object",
		`document.querySelector("tbody a")?.textContent.startsWith("<img")`,
	)
	checkView(t, page, "objects")
	page.Run(`document.querySelector("tbody a").click()`)
	page.Wait("the object", `document.querySelector("h2")?.textContent.startsWith("Object <img")`)
	page.Run(`document.querySelectorAll("section h3 button").forEach((b) => b.click())`)
	page.Run(`window.rows = (n) => document.querySelectorAll("section")[n].querySelectorAll("tbody tr")`)
	page.Wait("its key and its alarm", `[0, 1].every((n) => rows(n)[0]?.textContent.split("<img").length > 2)`)
	page.Wait("its command", `rows(3)[0]?.textContent.split("<img").length === 4`)
	page.Wait("its dead letters", `rows(4).length === 2`)
	page.Run(`window.tables = document.querySelectorAll("section")[2]`)
	page.Wait("its table", `tables.querySelector("div button")?.textContent.startsWith("<img")`)
	page.Run(`tables.querySelector("div button").click()`)
	page.Wait("its row", `rows(2)[0]?.textContent.startsWith("<img")`)
	require.Equal(t, markup, chromium.Eval[string](page, `tables.querySelector("th").textContent`))
	checkView(t, page, "object")

	really(page, `document.querySelector("main > p button")`, "reset")
	require.EqualValues(t, 1, s.totals(t, "thing").Resets)
}

// A program without a queue has no commands to show.
func TestDogview_ObjectWithoutAQueue(t *testing.T) {
	s := serveView(t, dogview.Options{})
	thing := s.things.Named("a")
	require.NoError(t, dog.CallErr(t.Context(), thing, (*viewed).Ring, time.Hour))
	page := openView(t, s.url)
	see(
		page, "object?type=thing&id="+thing.ID().String(), "the object",
		`document.querySelector("h2").textContent === "Object a"`,
	)
	require.Equal(t, 3, chromium.Eval[int](page, `document.querySelectorAll("section:not([hidden])").length`))
	page.Run(`document.querySelectorAll("section h3 button")[2].click()`)
	page.Wait("no tables", `document.querySelectorAll("section")[2].textContent.includes("none")`)
	checkView(t, page, "object")
}

func TestDogview_FailedAlarmRunsAgain(t *testing.T) {
	s := serveView(t, dogview.Options{})
	s.importFailed(t)
	page := openView(t, s.url)
	see(page, "failed", "the alarm", `document.querySelector("tbody tr")?.textContent.split("<img").length === 4`)
	checkView(t, page, "failed")
	really(page, `document.querySelector("tbody button")`, "run again")
	page.Wait("that it has not failed", `document.querySelectorAll("tbody tr").length === 0`)
	page.Wait("that there is none", `document.querySelector("main .quiet:not([hidden])")?.textContent === "none"`)
	require.Eventually(
		t, func() bool { return s.totals(t, "thing").Alarms.Runs == 1 }, 30*time.Second, 10*time.Millisecond,
	)
}

func TestDogview_SlowSockets(t *testing.T) {
	s := serveView(t, dogview.Options{})
	page := openView(t, s.url)
	s.connectSlow(t) // it stays for some 30 s
	see(page, "slow", "the socket", `document.querySelector("tbody tr")?.textContent.split("<img").length === 3`)
	checkView(t, page, "slow")
}

// hasty lets the refreshes of a page come fifty times as fast, and counts the
// requests that it waits for. age sets aged when so many refreshes have been
// due.
const hasty = `
	const later = setTimeout, get = fetch;
	window.flying = 0;
	window.setTimeout = (f, ms) => later(f, ms === 5000 ? 100 : ms);
	window.fetch = (...args) => {
		window.flying++;
		return get(...args).finally(() => { window.flying--; });
	};
	window.age = (refreshes) => {
		window.aged = refreshes === 0;
		if (refreshes > 0) later(() => window.age(refreshes - 1), 200);
	};`

// A page that is hidden does not look, and one that is shown again does.
func TestDogview_HiddenPageAsksForNothing(t *testing.T) {
	s := serveView(t, dogview.Options{})
	page := chromium.Start(t).Open(t, "operator", chromium.Before(hasty), chromedp.Navigate(s.url))
	page.Wait("the stream", `document.querySelector("#state").textContent === "live"`)
	for _, view := range []string{"overview", "groups"} {
		see(page, view, "the view", `document.querySelector("nav a[aria-current]")?.hash === "#`+view+`"`)
		if view == "groups" {
			before := s.asked.Load()
			require.Eventually(t, func() bool { return s.asked.Load() > before+3 }, 30*time.Second, 10*time.Millisecond)
		}
		page.Hide(true)
		require.Eventually(t, func() bool { return s.lives.Load() == 0 }, 30*time.Second, 10*time.Millisecond)
		page.Run(`age(2)`)
		page.Wait("the end of what it has begun", `aged && flying === 0`)
		asked := s.asked.Load()
		page.Run(`age(5)`)
		page.Wait("that more refreshes are due", `aged`)
		require.Equal(t, asked, s.asked.Load(), view)
		page.Hide(false)
		require.Eventually(t, func() bool { return s.lives.Load() == 1 }, 30*time.Second, 10*time.Millisecond)
		if view == "groups" {
			require.Eventually(t, func() bool { return s.asked.Load() > asked+3 }, 30*time.Second, 10*time.Millisecond)
		}
	}
}

// What the chat stores can be read in its view, on a listener of its own, which
// also has its metrics.
func TestDogview_OfTheChat(t *testing.T) {
	browser := chromium.Start(t)
	admin := freeAddr(t)
	chat := example(t, "chat", "-admin", admin)
	visit(t, browser, "ada", chat.url, false).send("hello <b>all</b>")
	page := browser.Open(t, "operator", chromedp.Navigate("http://"+admin+"/dog/"))
	page.Wait("the stream", `document.querySelector("#state").textContent === "live"`)
	see(page, "objects?type=log", "the log", `document.querySelector("tbody a")?.textContent === "chat"`)
	page.Run(`document.querySelector("tbody a").click()`)
	page.Wait("the object", `document.querySelector("h2")?.textContent === "Object chat"`)
	page.Run(`document.querySelectorAll("section h3 button")[2].click()`)
	page.Run(`window.tables = document.querySelectorAll("section")[2]`)
	page.Wait("its table", `tables.textContent.includes("lines")`)
	page.Run(`tables.querySelector("div button").click()`)
	page.Wait("its row", `tables.querySelector("tbody")?.textContent.includes("hello <b>all</b>")`)
	page.RequireAccessible()
	page.Run(`fetch("/metrics").then(r => r.text()).then(text => window.metrics = text)`)
	page.Wait("the metrics", `window.metrics?.includes('dog_objects{type="log"} 1')`)
	chat.stop()
}
