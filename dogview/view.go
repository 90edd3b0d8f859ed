package dogview

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/sparselog"
	"github.com/godurable/dog/outbox"
)

// Rights are what somebody may do: a sum of the constants below.
type Rights int

// The rights. Each is needed for its own things; none includes another.
const (
	// See is for the page: totals, the names of objects and uids, and which
	// objects have alarms that have failed.
	See Rights = 1 << iota
	// Data is for what objects have stored, with See: keys, tables, alarms with
	// their names and errors, and commands that wait.
	Data
	// Act is for draining replicas, resetting objects, and running failed
	// alarms again, with See. The page knows the alarms only with Data.
	Act

	All = See | Data | Act
)

// Options configure a View.
type Options struct {
	// Rights returns what the sender of a request may do. It is asked for each
	// request, and every minute while somebody looks. It must not believe
	// headers that the client may have set. Nil: nothing.
	Rights func(r *http.Request) Rights

	// Who names the sender of a request in the log of what was done. Nil: its
	// address.
	Who func(r *http.Request) string

	// Hosts are the hosts under which the view may be reached, with or without
	// a port, such as "admin.example.com". A request for any other gets 421.
	// Nil: all.
	Hosts []string

	// Outbox returns the commands that wait in an object and its dead letters,
	// each in the order of their numbers, for types that have a queue: what
	// [outbox.Queue.Waiting] and [outbox.Queue.Dead] yield. The view calls it
	// when somebody with the right Data looks, for each page of 100 commands. A
	// call of the object starts it. Nil: commands are not shown.
	Outbox func(ctx context.Context, object dog.ObjectInfo) (waiting, dead []outbox.Command, err error)

	// Logger receives what was done and by whom. Nil: [slog.Default].
	Logger *slog.Logger
}

// A View is a handler for a page and what the page asks for. It expects to be
// at the root, so mount it with [http.StripPrefix]. It is safe for concurrent
// use. The zero View refuses everything.
type View struct {
	// fixed
	rt      *dog.Runtime
	options Options
	mux     *http.ServeMux
	origins http.CrossOriginProtection
	refused sparselog.Log

	live live
}

// New returns a view of a runtime. It returns a [dog.UsageError] if the runtime
// was not made by [dog.New].
func New(rt *dog.Runtime, options Options) (*View, error) {
	if rt.Stopping() == nil {
		return nil, &dog.UsageError{Op: "dogview.New", Problem: "the runtime was not made by dog.New"}
	}
	v := &View{rt: rt, options: options, mux: http.NewServeMux()}
	v.live.making = make(chan struct{}, 1)
	if v.options.Logger == nil {
		v.options.Logger = slog.Default()
	}
	if v.options.Rights == nil {
		v.options.Rights = func(*http.Request) Rights { return 0 }
	}
	for _, route := range routes {
		v.mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) { v.serve(w, r, route) })
	}
	return v, nil
}

// A route is a thing that a client may ask for.
type route struct {
	pattern string
	needs   Rights
	serve   func(v *View, w http.ResponseWriter, r *http.Request) error
}

var routes = []route{
	{"GET /{$}", See, file("index.html")},
	{"GET /view.js", See, file("view.js")},
	{"GET /view.css", See, file("view.css")},
	{"GET /api/live", See, (*View).watch},
	{"GET /api/overview", See, answer((*View).overview)},
	{"GET /api/groups", See, answer((*View).groups)},
	{"GET /api/group", See, answer((*View).group)},
	{"GET /api/slow", See, answer((*View).slow)},
	{"GET /api/failed", See, answer((*View).failed)},
	{"GET /api/objects", See, answer((*View).objects)},
	{"GET /api/object", See, answer((*View).object)},
	{"GET /api/keys", See | Data, answer((*View).keys)},
	{"GET /api/alarms", See | Data, answer((*View).alarms)},
	{"GET /api/tables", See | Data, answer((*View).tables)},
	{"GET /api/rows", See | Data, answer((*View).rows)},
	{"GET /api/outbox", See | Data, answer((*View).outbox)},
	{"POST /api/drain", See | Act, answer((*View).drain)},
	{"POST /api/reset", See | Act, answer((*View).reset)},
	{"POST /api/again", See | Act, answer((*View).again)},
}

// policy allows the page what comes from here, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP answers a request.
func (v *View) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	switch {
	case v.mux == nil:
		fail(w, http.StatusForbidden, "this view shows nothing")
	case !v.hosted(r):
		fail(w, http.StatusMisdirectedRequest, "this view is not reached under this host")
	case v.origins.Check(r) != nil || foreign(r):
		fail(w, http.StatusForbidden, "a page of another site may do nothing here")
	default:
		v.mux.ServeHTTP(w, r)
	}
}

// foreign reports whether a page of another site asks for data, which it could
// not read, but which would cost as much as for the page itself.
func foreign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return strings.HasPrefix(r.URL.Path, "/api/") && site != "" && site != "same-origin" && site != "none"
}

// hosted reports whether a request is for a host of the view.
func (v *View) hosted(r *http.Request) bool {
	if v.options.Hosts == nil {
		return true
	}
	same := func(host string) bool { return strings.EqualFold(host, r.Host) || strings.EqualFold(host, hostname(r)) }
	return slices.ContainsFunc(v.options.Hosts, same)
}

// hostname returns the host of a request without a port.
func hostname(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		return strings.Trim(r.Host, "[]")
	}
	return host
}

// serve answers a request for a route if its sender may ask for it.
func (v *View) serve(w http.ResponseWriter, r *http.Request, to route) {
	rights := v.options.Rights(r)
	if rights&to.needs != to.needs {
		const why = "dogview refused a request: dogview.Options.Rights decides who may do what"
		v.refused.Warn(v.options.Logger, "rights", why, nil)
		fail(w, http.StatusForbidden, "you may not do this here")
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), rightsKey{}, rights))
	if err := to.serve(v, w, r); err != nil {
		status, text := dog.HTTPStatus(err), err.Error()
		var told *problem
		switch {
		case errors.As(err, &told):
			status = told.status
		case r.Context().Err() != nil:
			return // the client has gone
		case errors.Is(err, context.DeadlineExceeded):
			status, text = http.StatusGatewayTimeout, "this takes too long now: the object or the disk is busy"
		case errors.Is(err, dog.ErrSQLLimit):
			status, text = http.StatusGatewayTimeout, "reading this takes more time or memory than a statement may"
		case status == http.StatusInternalServerError:
			v.options.Logger.Error("dogview cannot answer a request", "path", r.URL.Path, "error", err)
			text = "this failed: the log has the reason"
		}
		fail(w, status, text)
	}
}

// rightsKey is the key of the sender's Rights in the context of a request.
type rightsKey struct{}

// rightsOf returns what the sender of a request may do.
func rightsOf(ctx context.Context) Rights {
	rights, _ := ctx.Value(rightsKey{}).(Rights)
	return rights
}

// A problem is an error of the request.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

func bad(text string) error { return &problem{http.StatusBadRequest, text} }

func missing(text string) error { return &problem{http.StatusNotFound, text} }

// fail answers with an error.
func fail(w http.ResponseWriter, status int, text string) {
	send(w, status, map[string]string{"Error": text})
}

func send(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // of no value that this package sends
		status, body = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}

// patience bounds what a request may wait for and how long it may look.
const patience = 2 * time.Second

// answer makes a function serve a route with what it returns, as JSON.
func answer[T any](f func(v *View, ctx context.Context, r *http.Request) (T, error)) func(
	*View, http.ResponseWriter, *http.Request,
) error {
	return func(v *View, w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		result, err := f(v, ctx, r)
		if err == nil {
			send(w, http.StatusOK, result)
		}
		return err
	}
}

//go:embed page
var page embed.FS

// file serves a file of the page.
func file(name string) func(*View, http.ResponseWriter, *http.Request) error {
	return func(_ *View, w http.ResponseWriter, r *http.Request) error {
		files, err := fs.Sub(page, "page")
		if err != nil {
			return err
		}
		http.ServeFileFS(w, r, files, name)
		return nil
	}
}

// Local returns a check for [Options].Rights that gives rights to everybody on
// this machine, who must reach the view under a loopback address or as
// localhost, and nothing to a request that a proxy has passed on and said so.
// Do not use it behind a proxy on the same machine, which may not say so.
func Local(rights Rights) func(r *http.Request) Rights {
	return func(r *http.Request) Rights {
		for name := range r.Header {
			if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
				return 0
			}
		}
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			return 0
		}
		host := hostname(r)
		if to, err := netip.ParseAddr(host); !strings.EqualFold(host, "localhost") && (err != nil || !to.IsLoopback()) {
			return 0
		}
		return rights
	}
}
