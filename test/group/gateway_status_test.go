package group_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// barred is a group whose gateway refuses everybody.
type barred struct {
	dog.Group
	refusal error
}

func (b *barred) Identify(*http.Request) (string, error) { return "", b.refusal }

func TestGateway_TheClientGetsTheStatusOfTheRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		refusal error
		status  int
		text    string
		retry   string
	}{
		"no status":              {errors.New("secret"), http.StatusForbidden, "Forbidden", ""},
		"401":                    {&dog.StatusError{Status: 401, Text: "who are you?"}, 401, "who are you?", ""},
		"503":                    {&dog.StatusError{Status: 503, RetryAfter: time.Minute}, 503, "Service Unavailable", "60"},
		"500":                    {&dog.StatusError{Status: 500, Text: "later"}, 500, "later", ""},
		"500, wrapped":           {fmt.Errorf("secret: %w", &dog.StatusError{Status: 500, Text: "later"}), 500, "later", ""},
		"an invalid uid of ours": {dog.ErrInvalidName, http.StatusBadRequest, "Bad Request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			rt := dogtest.New(t, dog.Options{})
			replicas, err := dog.RegisterReplica[dog.Replica](rt, "replica", nil)
			require.NoError(t, err)
			groups, err := dog.RegisterGroup(rt, "barred", replicas, &dog.GroupOptions[barred]{
				Limit: 1, New: func() *barred { return &barred{refusal: c.refusal} },
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
