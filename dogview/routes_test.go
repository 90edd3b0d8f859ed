package dogview

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
)

// needs says what each route needs.
var needs = map[string]Rights{
	"GET /{$}":          See,
	"GET /view.js":      See,
	"GET /view.css":     See,
	"GET /api/live":     See,
	"GET /api/overview": See,
	"GET /api/groups":   See,
	"GET /api/group":    See,
	"GET /api/slow":     See,
	"GET /api/failed":   See,
	"GET /api/objects":  See,
	"GET /api/object":   See,
	"GET /api/keys":     See | Data,
	"GET /api/alarms":   See | Data,
	"GET /api/tables":   See | Data,
	"GET /api/rows":     See | Data,
	"GET /api/outbox":   See | Data,
	"POST /api/drain":   See | Act,
	"POST /api/reset":   See | Act,
	"POST /api/again":   See | Act,
}

// Who adds a route says here what it needs.
func TestRoutes_TableHasEachOfThem(t *testing.T) {
	require.Len(t, needs, len(routes))
	for _, r := range routes {
		require.Contains(t, needs, r.pattern)
	}
}

func TestRoutes_EachNeedsItsRights(t *testing.T) {
	rights, asked := Rights(0), 0
	view, err := New(dogtest.New(t, dog.Options{}), Options{
		Rights: func(*http.Request) Rights {
			asked++
			return rights
		},
		Outbox: func(context.Context, dog.ObjectInfo) (waiting, dead []outbox.Command, err error) {
			require.Equal(t, See|Data, rights&(See|Data), "the program's own reader has been asked")
			return nil, nil, nil
		},
	})
	require.NoError(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel() // a watcher gets one snapshot
	for route, needed := range needs {
		method, path, _ := strings.Cut(strings.TrimSuffix(route, "{$}"), " ")
		for rights = range All + 1 {
			r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader("{}"))
			if path == "/api/live" {
				r = r.WithContext(gone)
			}
			w, before := httptest.NewRecorder(), asked
			view.ServeHTTP(w, r)
			require.Equal(t, before+1, asked, "the check is asked for each request")
			require.Equal(
				t, rights&needed == needed, w.Code != http.StatusForbidden, "%s with %d: %d", route, rights, w.Code,
			)
			if w.Code == http.StatusForbidden {
				require.Equal(t, `{"Error":"you may not do this here"}`, w.Body.String())
			}
		}
	}
}
