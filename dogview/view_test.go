package dogview_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogview"
	"github.com/godurable/dog/outbox"
)

func TestView_ReadingAndActingAreRightsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		w.do("a", func(*Note) error { return nil })
		id := w.notes.Named("a").ID().String()
		for rights, want := range map[dogview.Rights][2]int{
			dogview.See | dogview.Data: {http.StatusOK, http.StatusForbidden},
			dogview.See | dogview.Act:  {http.StatusForbidden, http.StatusOK},
		} {
			w.rights.Store(int32(rights))
			read, _ := w.request(http.MethodGet, "/api/keys?type=note&id="+id, "", nil)
			reset, _ := w.post("reset", map[string]string{"Type": "note", "ID": id})
			require.Equal(t, want, [2]int{read, reset})
			w.do("a", func(*Note) error { return nil })
		}
	})
}

func TestView_WithoutACheckRefusesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{Rights: dogview.Local(0)})
		status, body := w.request(http.MethodGet, "/", "", nil)
		require.Equal(t, http.StatusForbidden, status)
		require.NotContains(t, body, "dogview.Options.Rights", "that is the program's business")
		require.Contains(t, w.log.String(), "dogview.Options.Rights")
		w.request(http.MethodGet, "/", "", nil)
		require.Equal(t, 1, strings.Count(w.log.String(), "dogview.Options.Rights"), "once a minute")

		rec := httptest.NewRecorder()
		view, err := dogview.New(w.rt, dogview.Options{})
		require.NoError(t, err)
		view.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, http.StatusForbidden, rec.Code)
		rec = httptest.NewRecorder()
		new(dogview.View).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Equal(t, http.StatusForbidden, rec.Code)
	})
}

func TestView_NeedsARuntime(t *testing.T) {
	for _, rt := range []*dog.Runtime{nil, new(dog.Runtime)} {
		_, err := dogview.New(rt, dogview.Options{})
		usage, ok := errors.AsType[*dog.UsageError](err)
		require.True(t, ok)
		require.Contains(t, usage.Problem, "dog.New")
	}
}

func TestView_PagesOfOtherSitesChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		w.do("a", func(*Note) error { return nil })
		order := `{"Type":"note","ID":"` + w.notes.Named("a").ID().String() + `"}`
		const formType = "application/x-www-form-urlencoded"
		for name, c := range map[string]struct {
			header, value string
			status        int
		}{
			"a browser says so":     {"Sec-Fetch-Site", "cross-site", http.StatusForbidden},
			"a neighbour":           {"Sec-Fetch-Site", "same-site", http.StatusForbidden},
			"another origin":        {"Origin", "http://evil.test", http.StatusForbidden},
			"an opaque origin":      {"Origin", "null", http.StatusForbidden},
			"a form":                {"Content-Type", formType, http.StatusUnsupportedMediaType},
			"a form without a type": {"Content-Type", "text/plain", http.StatusUnsupportedMediaType},
			"the page itself":       {"Sec-Fetch-Site", "same-origin", http.StatusOK},
			"its origin":            {"Origin", "http://dog.test", http.StatusOK},
		} {
			w.do("a", func(*Note) error { return nil })
			before := w.starts.Load()
			status, _ := w.request(http.MethodPost, "/api/reset", order, func(r *http.Request) {
				r.Header.Set(c.header, c.value)
			})
			require.Equal(t, c.status, status, name)
			w.do("a", func(*Note) error { return nil })
			require.Equal(t, c.status == http.StatusOK, w.starts.Load() > before, name)
		}
	})
}

func TestView_PagesOfOtherSitesMakeNoWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := newWorld(t, dogview.Options{Rights: func(*http.Request) dogview.Rights {
			asked++
			return dogview.All
		}})
		for site, want := range map[string]int{
			"cross-site": http.StatusForbidden, "same-site": http.StatusForbidden, "other": http.StatusForbidden,
			"same-origin": http.StatusOK, "none": http.StatusOK, "": http.StatusOK,
		} {
			asked = 0
			change := func(r *http.Request) {
				if site != "" {
					r.Header.Set("Sec-Fetch-Site", site)
				}
			}
			status, body := w.request(http.MethodGet, "/api/failed?type=note", "", change)
			require.Equal(t, want, status, site)
			if want == http.StatusForbidden {
				require.Zero(t, asked)
				require.Equal(t, `{"Error":"a page of another site may do nothing here"}`, body)
			}
			status, _ = w.request(http.MethodGet, "/", "", change)
			require.Equal(t, http.StatusOK, status, "links lead to the page")
		}
	})
}

func TestView_OrdersAreNotMadeByLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		for _, route := range []string{"drain", "reset", "again"} {
			status, _ := w.request(http.MethodGet, "/api/"+route, "", nil)
			require.Equal(t, http.StatusMethodNotAllowed, status, route)
		}
	})
}

func TestView_RefusesForeignHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{Hosts: []string{"dog.test", "[::1]:8080"}})
		for host, want := range map[string]int{
			"dog.test": http.StatusOK, "DOG.test:80": http.StatusOK, "[::1]:8080": http.StatusOK,
			"[::1]:80": http.StatusMisdirectedRequest, "evil.test": http.StatusMisdirectedRequest,
			"dog.test.evil.test": http.StatusMisdirectedRequest,
		} {
			status, _ := w.request(http.MethodGet, "/api/overview", "", func(r *http.Request) {
				r.Host = host
				r.Header.Set("X-Forwarded-Host", "dog.test")
				r.Header.Set("Forwarded", "host=dog.test")
			})
			require.Equal(t, want, status, host)
		}
	})
}

func TestLocal_IsThisMachineWithoutAProxy(t *testing.T) {
	local := dogview.Local(dogview.See)
	for name, c := range map[string]struct {
		from, host, header string
		want               dogview.Rights
	}{
		"a browser here":              {"127.0.0.1:5000", "localhost:8080", "", dogview.See},
		"by its address":              {"[::1]:5000", "[::1]:8080", "", dogview.See},
		"an address in another form":  {"[::ffff:127.0.0.1]:5000", "127.0.0.1", "", dogview.See},
		"another machine":             {"10.0.0.7:5000", "localhost:8080", "", 0},
		"that says it is this":        {"10.0.0.7:5000", "localhost:8080", "X-Forwarded-For", 0},
		"a proxy":                     {"127.0.0.1:5000", "localhost:8080", "X-Forwarded-For", 0},
		"a proxy by the standard":     {"127.0.0.1:5000", "localhost:8080", "Forwarded", 0},
		"a proxy of another kind":     {"127.0.0.1:5000", "localhost:8080", "X-Real-IP", 0},
		"that names itself":           {"127.0.0.1:5000", "localhost:8080", "Via", 0},
		"that names the host":         {"127.0.0.1:5000", "localhost:8080", "X-Forwarded-Host", 0},
		"that names the scheme":       {"127.0.0.1:5000", "localhost:8080", "X-Forwarded-Proto", 0},
		"a name that is pointed here": {"127.0.0.1:5000", "evil.test:8080", "", 0},
		"no address":                  {"", "localhost", "", 0},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Host = c.from, c.host
		if c.header == "" {
			require.Equal(t, c.want, local(r), name)
			continue
		}
		for _, value := range []string{"127.0.0.1", "for=127.0.0.1;host=localhost:8080", "localhost:8080", "http", ""} {
			r.Header.Set(c.header, value)
			require.Equal(t, c.want, local(r), "%s: %q", name, value)
		}
	}
}

func TestView_LoadsNothingFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		for _, path := range []string{"/", "/view.js", "/view.css"} {
			status, body := w.request(http.MethodGet, path, "", nil)
			require.Equal(t, http.StatusOK, status)
			require.NotRegexp(t, `(?i)https?://|innerHTML|outerHTML|insertAdjacent|document\.write`, body)
			require.NotRegexp(t, `(?i)eval\(| on\w+=| style=`, body)
		}
		r := httptest.NewRequest(http.MethodGet, "/dog/", nil)
		resp, err := w.server.Client().Get("http://dog.test/dog/")
		require.NoError(t, err, r.URL)
		defer resp.Body.Close()
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")
		require.NotContains(t, resp.Header.Get("Content-Security-Policy"), "unsafe")
		require.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	})
}

func TestView_NamesWithMarkupAreData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = `</script><script>alert("1")</script>`
		w := newWorld(t, dogview.Options{Outbox: commands(outbox.Command{Key: name})})
		w.do(name, func(n *Note) error { return n.Storage().Put(name, []byte(name)) })
		id := w.notes.Named(name).ID().String()
		for _, path := range []string{"objects?type=note", "keys?type=note&id=" + id, "outbox?type=note&id=" + id} {
			status, body := w.request(http.MethodGet, "/api/"+path, "", nil)
			require.Equal(t, http.StatusOK, status, body)
			require.NotContains(t, body, "<", "even where somebody takes it for a page")
		}
		require.Equal(t, name, get[page[dog.ObjectEntry]](w, "objects", "type", "note").Items[0].Name)
	})
}

func TestView_LogsWhoDidWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{Who: func(*http.Request) string { return "ada" }})
		w.do("a", func(*Note) error { return nil })
		id := w.notes.Named("a").ID().String()
		status, body := w.post("reset", map[string]string{"Type": "note", "ID": id})
		require.Equal(t, http.StatusOK, status, body)
		require.Regexp(t, `who=ada what=reset type=note id=`+id, w.log.String())
		time.Sleep(time.Second)
	})
}
