package client_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/client"
)

func TestScript_IsServedAsAModuleThatBrowsersKeep(t *testing.T) {
	want, err := os.ReadFile("js/dog.js")
	require.NoError(t, err)
	get := func(method, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/dog.js", nil)
		if tag != "" {
			r.Header.Set("If-None-Match", tag)
		}
		w := httptest.NewRecorder()
		client.Script().ServeHTTP(w, r)
		return w
	}

	first := get(http.MethodGet, "")
	require.Equal(t, http.StatusOK, first.Code)
	require.Equal(t, string(want), first.Body.String())
	require.Equal(t, "text/javascript; charset=utf-8", first.Header().Get("Content-Type"))
	require.Equal(t, "no-cache", first.Header().Get("Cache-Control"))

	tag := first.Header().Get("ETag")
	require.NotEmpty(t, tag)
	again := get(http.MethodGet, tag)
	require.Equal(t, http.StatusNotModified, again.Code)
	require.Empty(t, again.Body.String())
	require.Equal(t, http.StatusOK, get(http.MethodGet, `"another"`).Code)

	head := get(http.MethodHead, "")
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.String())

	commands, err := os.ReadFile("js/dog-commands.js")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	client.CommandScript().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/dog-commands.js", nil))
	require.Equal(t, string(commands), w.Body.String())
	require.NotEqual(t, tag, w.Header().Get("ETag"))

	post := get(http.MethodPost, "")
	require.Equal(t, http.StatusMethodNotAllowed, post.Code)
	require.Equal(t, "GET, HEAD", post.Header().Get("Allow"))
}
