package http_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// listError and anyError are errors that == cannot compare: the first never,
// the second if its value cannot be compared.
type listError []string

func (e listError) Error() string { return strings.Join(e, ", ") }

type anyError struct{ value any }

func (e anyError) Error() string { return fmt.Sprint(e.value) }

// faulty is an object whose Receive returns the error of a test.
type faulty struct {
	dog.Object
	receive func(w http.ResponseWriter) error
}

func (f *faulty) Receive(w http.ResponseWriter, _ *http.Request) error { return f.receive(w) }

func TestReceive_MayReturnAnErrorOfAnyType(t *testing.T) {
	for name, failure := range map[string]error{
		"a pointer":                    errors.New("no milk"),
		"a value":                      anyError{"no milk"},
		"a slice":                      listError{"no milk"},
		"a value that holds a slice":   anyError{[]string{"no milk"}},
		"a pointer to one":             &anyError{[]string{"no milk"}},
		"several joined":               errors.Join(listError{"no milk"}, anyError{[]string{"no tea"}}),
		"a slice in a StatusError":     &dog.StatusError{Status: http.StatusTeapot, Err: listError{"no milk"}},
		"an uncomparable, wrapped one": fmt.Errorf("breakfast: %w", listError{"no milk"}),
	} {
		for _, answered := range []bool{false, true} {
			for _, way := range []string{"ServeHTTP", "RoundTrip"} {
				t.Run(fmt.Sprintf("%s/answered=%t/%s", name, answered, way), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var log bytes.Buffer
						logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
						objects, err := dog.RegisterObject(
							dogtest.New(t, dog.Options{Logger: logger}), "failing",
							&dog.ObjectOptions[faulty]{
								New: func() *faulty {
									return &faulty{receive: func(w http.ResponseWriter) error {
										if answered {
											w.WriteHeader(http.StatusAccepted)
											_, _ = io.WriteString(w, "done")
										}
										return failure
									}}
								},
							},
						)
						require.NoError(t, err)
						w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
						if way == "ServeHTTP" {
							objects.Named("a").ServeHTTP(w, r)
						} else {
							response, err := objects.Named("a").RoundTrip(r)
							require.NoError(t, err)
							w.Code = response.StatusCode
							_, err = io.Copy(w.Body, response.Body)
							require.NoError(t, errors.Join(err, response.Body.Close()))
						}
						status, body := w.Code, w.Body.String()
						if answered {
							require.Equal(t, http.StatusAccepted, status)
							require.Equal(t, "done", body)
						} else {
							require.Equal(t, dog.HTTPStatus(failure), status)
						}
						require.Contains(t, log.String(), "no milk")
						require.NotContains(t, log.String(), "object reset")
					})
				})
			}
		}
	}
}

// A panic is a fault of the program: its value was not meant for clients, even
// if it is an error with a status.
func TestReceive_PanicIsInternalWhateverItsValue(t *testing.T) {
	for name, value := range map[string]any{
		"a StatusError":          &dog.StatusError{Status: http.StatusNotFound, Text: "secret"},
		"a StatusError of 500":   &dog.StatusError{Status: http.StatusInternalServerError, Text: "secret"},
		"an error with a status": dog.ErrGroupFull,
		"a text":                 "secret",
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := dog.RegisterObject(dogtest.New(t, dog.Options{}), "failing", &dog.ObjectOptions[faulty]{
				New: func() *faulty { return &faulty{receive: func(http.ResponseWriter) error { panic(value) }} },
			})
			require.NoError(t, err)
			w := httptest.NewRecorder()
			objects.Named("a").ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			require.Equal(t, http.StatusInternalServerError, w.Code)
			require.Equal(t, "Internal Server Error\n", w.Body.String())
			require.Empty(t, w.Header().Get("Retry-After"))
		})
	}
}
