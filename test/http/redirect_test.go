package http_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// A redirector stores a key and redirects its clients.
type redirector struct{ dog.Object }

func (m *redirector) Receive(w http.ResponseWriter, r *http.Request) error {
	if err := dog.Put(m.Storage(), "moved", true); err != nil {
		return err
	}
	var status int
	if _, err := fmt.Sscan(r.FormValue("status"), &status); err != nil {
		return err
	}
	http.Redirect(w, r, "/elsewhere", status)
	return nil
}

func TestReceive_RedirectIsAResponseAndNoError(t *testing.T) {
	for _, status := range []int{
		http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
	} {
		for _, way := range []string{"ServeHTTP", "RoundTrip"} {
			t.Run(fmt.Sprintf("%d/%s", status, way), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log bytes.Buffer
					rt := dogtest.New(t, dog.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
					objects, err := dog.RegisterObject(
						rt, "redirector", &dog.ObjectOptions[redirector]{RollbackOnError: true},
					)
					require.NoError(t, err)
					to := objects.Named("a")
					r := httptest.NewRequest(http.MethodGet, fmt.Sprint("/here?status=", status), nil)
					var response *http.Response
					if way == "ServeHTTP" {
						w := httptest.NewRecorder()
						to.ServeHTTP(w, r)
						response = w.Result()
					} else if response, err = to.RoundTrip(r); err != nil {
						t.Fatal(err)
					}
					require.NoError(t, response.Body.Close())
					require.Equal(t, status, response.StatusCode)
					require.Equal(t, "/elsewhere", response.Header.Get("Location"))
					require.NoError(t, dogtest.Run(t, to, func(_ context.Context, m *redirector) error {
						moved, _, err := dog.Get[bool](m.Storage(), "moved")
						require.True(t, moved, "the writes are kept")
						return err
					}).Err)
					require.Empty(t, log.String())
				})
			})
		}
	}
}
