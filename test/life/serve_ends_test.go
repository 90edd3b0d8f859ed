package life_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// countedListener counts how often it is closed.
type countedListener struct {
	net.Listener
	closed atomic.Int32
}

func (l *countedListener) Close() error {
	l.closed.Add(1)
	return l.Listener.Close()
}

func TestServe_ClosesTheListenerOnceHoweverItEnds(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	certificates := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil, http.ErrNotSupported
	}}
	shut := func(s *http.Server) *http.Server {
		require.NoError(t, s.Close())
		return s
	}
	for name, c := range map[string]struct {
		ctx    context.Context
		server *http.Server
		fails  bool
	}{
		"its context has ended":           {ended, &http.Server{}, false},
		"its context has ended, TLS":      {ended, &http.Server{TLSConfig: certificates}, false},
		"TLS without certificates":        {t.Context(), &http.Server{TLSConfig: &tls.Config{}}, true},
		"the server has been closed":      {t.Context(), shut(&http.Server{}), false},
		"the server has been closed, TLS": {t.Context(), shut(&http.Server{TLSConfig: certificates}), false},
		"there is no server":              {t.Context(), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			listener := &countedListener{Listener: inner}
			err = dogtest.New(t, dog.Options{}).Serve(c.ctx, c.server, listener)
			require.Equal(t, c.fails, err != nil, "%v", err)
			require.EqualValues(t, 1, listener.closed.Load())
		})
	}
}

func TestServe_WithAContextThatHasEndedReturnsNilForEveryAddress(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancelLate()
	used, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer used.Close()
	for name, ctx := range map[string]context.Context{"cancelled": cancelled, "its deadline has passed": late} {
		for _, addr := range []string{"127.0.0.1:0", "localhost:0"} {
			t.Run(name+", "+addr, func(t *testing.T) {
				require.NoError(t, dogtest.New(t, dog.Options{}).Serve(ctx, &http.Server{Addr: addr}, nil))
			})
		}
		t.Run(name+", an address in use", func(t *testing.T) {
			err := dogtest.New(t, dog.Options{}).Serve(ctx, &http.Server{Addr: used.Addr().String()}, nil)
			require.ErrorContains(t, err, "listen", "which has nothing to do with the context")
		})
	}
}

func TestServe_EndsWithTheRuntime(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error)
	go func() { served <- rt.Serve(t.Context(), &http.Server{}, listener) }()
	response, err := http.Get("http://" + listener.Addr().String())
	require.NoError(t, err, "it serves")
	require.NoError(t, response.Body.Close())
	require.NoError(t, rt.Shutdown(t.Context()))
	require.NoError(t, <-served)

	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	again := &countedListener{Listener: inner}
	require.ErrorIs(t, rt.Serve(t.Context(), &http.Server{}, again), dog.ErrShutdown)
	require.EqualValues(t, 1, again.closed.Load())
}
