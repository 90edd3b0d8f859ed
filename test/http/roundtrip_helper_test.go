package http_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// target is an object whose Receive is set by a test.
type target struct {
	dog.Object
	serve func(d *target, w http.ResponseWriter, r *http.Request)
}

func (d *target) Receive(w http.ResponseWriter, r *http.Request) error {
	d.serve(d, w, r)
	return nil
}

func (d *target) Run(ctx context.Context, f func(ctx context.Context, d *target) error) error {
	return f(ctx, d)
}

func newTargets(
	t testing.TB, options dog.Options, serve func(d *target, w http.ResponseWriter, r *http.Request),
) (*dog.Runtime, *dog.Namespace[target]) {
	t.Helper()
	rt := dogtest.New(t, options)
	targets, err := dog.RegisterObject(
		rt, "target", &dog.ObjectOptions[target]{New: func() *target { return &target{serve: serve} }},
	)
	require.NoError(t, err)
	return rt, targets
}

// send makes a request through a client whose transport is the object.
func send(ctx context.Context, to http.RoundTripper, method, path, body string) (*http.Response, error) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://target"+path, content)
	if err != nil {
		return nil, err
	}
	return (&http.Client{Transport: to}).Do(r)
}

// fetch is send for an answer of which only the status and the body count.
func fetch(ctx context.Context, to http.RoundTripper, method, path, body string) (status int, text string, err error) {
	response, err := send(ctx, to, method, path, body)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}
