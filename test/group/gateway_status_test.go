package group_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// refuser is a group whose gateway refuses everybody, unless refusal is nil.
type refuser struct {
	dog.Group
	refusal error
}

func (b *refuser) Identify(*http.Request) (string, error) { return "ada", b.refusal }

func TestGateway_SendsTheStatusOfTheRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		refusal error
		status  int
		text    string
		retry   string
	}{
		"no status": {errors.New("secret"), http.StatusForbidden, "Forbidden", ""},
		"401":       {&dog.StatusError{Status: 401, Text: "who are you?"}, 401, "who are you?", ""},
		"503": {
			&dog.StatusError{Status: 503, RetryAfter: time.Minute}, 503, "Service Unavailable", "60",
		},
		"500": {&dog.StatusError{Status: 500, Text: "later"}, 500, "later", ""},
		"500, wrapped": {
			fmt.Errorf("secret: %w", &dog.StatusError{Status: 500, Text: "later"}), 500, "later", "",
		},
		"an invalid uid of ours": {dog.ErrInvalidName, http.StatusBadRequest, "Bad Request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			rt := dogtest.New(t, dog.Options{})
			replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
			require.NoError(t, err)
			groups, err := dog.RegisterGroup(rt, "refuser", replicas, &dog.GroupOptions[refuser]{
				Limit: 1, New: func() *refuser { return &refuser{refusal: c.refusal} },
			})
			require.NoError(t, err)
			w := httptest.NewRecorder()
			groups.Named("a").ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, c.status, w.Code)
			require.Equal(t, c.text, strings.TrimSpace(w.Body.String()))
			require.Equal(t, c.retry, w.Header().Get("Retry-After"))
		})
	}
}

// An intended answer of a gateway is not logged. A failure that looks like a
// refusal is, but clients that retry must not fill the log with it.
func TestGateway_LogsOnlyUnintendedRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		refusal error
		level   string // "": none above Debug
		once    bool   // a minute
		logged  string
	}{
		"no status": {
			refusal: errors.New("no connection"), level: "WARN", once: true, logged: "Return a StatusError",
		},
		"401":                  {refusal: &dog.StatusError{Status: 401}},
		"404, wrapped":         {refusal: fmt.Errorf("nobody: %w", &dog.StatusError{Status: 404})},
		"503":                  {refusal: &dog.StatusError{Status: 503, RetryAfter: time.Minute}},
		"an error of a status": {refusal: fmt.Errorf("cookie: %w", dog.ErrInvalidName)},
		"500": {
			refusal: &dog.StatusError{Status: 500, Err: errors.New("no connection")}, level: "ERROR",
			logged: "no connection",
		},
		"a full group": {level: "WARN", once: true, logged: "MaxReplicas"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options, log := fixture.LogToBuffer()
				rt := dogtest.New(t, options)
				replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
				require.NoError(t, err)
				groups, err := dog.RegisterGroup(rt, "refuser", replicas, &dog.GroupOptions[refuser]{
					Limit: 1, MaxReplicas: 1, New: func() *refuser { return &refuser{refusal: c.refusal} },
				})
				require.NoError(t, err)
				group := groups.Named("a")
				if c.refusal == nil { // somebody has the only place
					dogtest.Serve(t, group).Dial("/")
				}
				ask := func() {
					w := httptest.NewRecorder()
					group.ServeHTTP(w, fixture.NewUpgrade("/"))
					require.GreaterOrEqual(t, w.Code, 400)
				}
				lines := func() int {
					synctest.Wait()
					require.Equal(
						t, strings.Count(log.String(), "\n"), strings.Count(log.String(), "level="+c.level+" "),
						log.String(),
					)
					return strings.Count(log.String(), "\n")
				}

				ask()
				ask()
				switch {
				case c.level == "":
					require.Zero(t, lines())
				case c.once:
					require.Equal(t, 1, lines())
					time.Sleep(time.Minute)
					ask()
					require.Equal(t, 2, lines())
				default:
					require.Equal(t, 2, lines())
				}
				require.Contains(t, log.String(), c.logged)
			})
		})
	}
}
