package browser_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogview"
	"github.com/godurable/dog/test/browser/internal/chromium"
)

// viewed is an object that the view shows.
type viewed struct {
	dog.Object
	broken *atomic.Bool // alarms fail
}

func (v *viewed) OnAlarm(context.Context, dog.Alarm) error {
	if v.broken.Load() {
		return errors.New("the bell is broken")
	}
	return nil
}

func (v *viewed) Keep(_ context.Context, key string) error {
	if err := v.Storage().Alarms().SetNamed("ring", time.Now().Add(time.Hour), nil); err != nil {
		return err
	}
	return v.Storage().Put(key, []byte(key))
}

type (
	hall struct{ dog.Group }
	seat struct{ dog.Replica }
)

// markup is a name that a page must not take for a part of it.
const markup = `<img src=x onerror="document.title = 'owned'">`

// viewServer serves a view of a runtime with an object and a group.
func viewServer(t *testing.T) (url string, things *dog.Namespace[viewed], halls *dog.Groups[hall, seat]) {
	t.Helper()
	rt, err := dog.New(dog.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rt.Shutdown(context.Background())) })
	broken := new(atomic.Bool)
	things, err = dog.RegisterObject(rt, "thing", &dog.ObjectOptions[viewed]{
		New: func() *viewed { return &viewed{broken: broken} },
	})
	require.NoError(t, err)
	seats, err := dog.RegisterReplica[seat](rt, "seat", nil)
	require.NoError(t, err)
	halls, err = dog.RegisterGroup(rt, "hall", seats, &dog.GroupOptions[hall]{Limit: 2})
	require.NoError(t, err)
	view, err := dogview.New(rt, dogview.Options{Rights: dogview.Local(dogview.All)})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/dog/", http.StripPrefix("/dog", view))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/dog/", things, halls
}

// go to a view, which has its first data when a condition is true.
func see(page *chromium.Tab, view, what, condition string) {
	page.Run(`location.hash = "` + view + `"`)
	page.Wait(what, condition)
}

func TestDogview_Page(t *testing.T) {
	browser := chromium.Start(t)
	url, things, halls := viewServer(t)
	ctx := context.Background()
	require.NoError(t, dog.CallErr(ctx, things.Named(markup), (*viewed).Keep, markup))
	for _, uid := range []string{"ada", "bob", "cyd"} {
		_, err := halls.Named(markup).Identify(ctx, uid)
		require.NoError(t, err)
	}
	page := browser.Open(t, "operator", chromedp.EmulateViewport(320, 568), chromedp.Navigate(url))
	page.Wait("the stream", `document.querySelector("#state").textContent === "live"`)
	check := func(view string) {
		t.Helper()
		page.RequireAccessible()
		require.LessOrEqual(t, chromium.Eval[int](page, `document.documentElement.scrollWidth`), 320, view)
		require.Zero(t, chromium.Eval[int](page, `document.querySelectorAll("img").length`), view)
		require.Equal(t, "dog", chromium.Eval[string](page, `document.title`), view)
		require.Empty(t, chromium.Eval[string](page, `document.querySelector("#problem").textContent`), view)
	}
	page.Wait("the types", `document.querySelectorAll("tbody tr").length === 3`)
	check("overview")

	see(page, "groups", "the group", `document.querySelector("tbody tr")?.textContent.includes("<img")`)
	load := chromium.Eval[float64](page, `(m => m.value / m.max)(document.querySelector("meter"))`)
	require.InDelta(t, 0.75, load, 0.01)
	check("groups")
	page.Run(`document.querySelector("tbody a").click()`)
	page.Wait("the replicas", `document.querySelectorAll("tbody tr").length === 2`)
	check("group")
	page.Run(`document.querySelector("tbody button").focus()`)
	page.Do(chromedp.KeyEvent(" "))
	page.Wait("the question", `document.activeElement.textContent === "really drain?"`)
	page.Do(chromedp.KeyEvent(" "))
	page.Wait("that it drains", `document.querySelector("tbody tr").textContent.includes("draining")`)

	see(
		page, "objects?type=thing&prefix=%3Cimg", "the object",
		`document.querySelector("tbody a")?.textContent.startsWith("<img")`,
	)
	check("objects")
	page.Run(`document.querySelector("tbody a").click()`)
	page.Wait("the object", `document.querySelector("h2")?.textContent.startsWith("Object <img")`)
	page.Run(`[...document.querySelectorAll("section h3 button")].slice(0, 3).forEach((b) => b.click())`)
	page.Wait("its keys and its alarm", `document.querySelectorAll("tbody tr").length === 2`)
	page.Wait("no tables", `document.querySelectorAll("section")[2].textContent.includes("none")`)
	check("object")

	see(page, "slow", "none", `document.querySelector("h2").textContent === "Slow sockets"`)
	check("slow")
	see(page, "failed", "none", `document.querySelector("h2").textContent === "Failed alarms"`)
	check("failed")
}

// A page that is hidden does not look, and one that is shown again does.
func TestDogview_HiddenPageAsksForNothing(t *testing.T) {
	browser := chromium.Start(t)
	url, _, _ := viewServer(t)
	page := browser.Open(t, "operator", chromedp.Navigate(url))
	page.Wait("the stream", `document.querySelector("#state").textContent === "live"`)
	page.Hide(true)
	page.Wait("that it has let go", `stream === undefined`)
	page.Hide(false)
	page.Wait("the stream", `stream?.readyState === EventSource.OPEN`)
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
