package http_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

// lateHijack hands its connection over when it is let go.
type lateHijack struct {
	*httptest.ResponseRecorder
	until chan struct{}
	conn  net.Conn
}

func (w lateHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	<-w.until
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

func TestHTTP_LateHijackClosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, _ *http.Request) {
			_, _, err := http.NewResponseController(w).Hijack()
			require.ErrorIs(t, err, dog.ErrSlowConsumer)
		})
		here, there := net.Pipe()
		w := lateHijack{httptest.NewRecorder(), make(chan struct{}), here}
		served := make(chan struct{})
		go func() {
			defer close(served)
			targets.Named("ada").ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		}()
		synctest.Wait()
		began := time.Now()
		require.NoError(
			t,
			dog.CallErr(
				context.Background(), targets.Named("ada"), (*target).Run,
				func(context.Context, *target) error { return nil },
			),
		)
		require.Equal(t, 10*time.Second, time.Since(began))
		close(w.until)
		_, err := there.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		<-served
		require.Empty(t, w.Body.String(), "it is not this answer's any more")
	})
}

// hijackInAReset hands its connection over in the very moment in which its
// object is reset.
type hijackInAReset struct {
	*httptest.ResponseRecorder
	reset func() error
	conn  net.Conn
}

func (w hijackInAReset) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), w.reset()
}

// Its handler gets it, or it is closed.
func TestHTTP_HijackDuringAResetLeaksNothing(t *testing.T) {
	// The handler sees the reset when the connection has been handed over.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			_, targets := newTargets(t, dog.Options{}, func(_ *target, w http.ResponseWriter, _ *http.Request) {
				if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
					_ = c.Close()
				}
			})
			here, there := net.Pipe()
			require.NoError(t, there.SetReadDeadline(time.Now().Add(time.Hour)))
			ada := targets.Named("ada")
			reset := func() error { return ada.Abort(errors.New("on purpose")) }
			go func() {
				defer func() { _ = recover() }() // http.ErrAbortHandler
				ada.ServeHTTP(
					hijackInAReset{httptest.NewRecorder(), reset, here}, httptest.NewRequest(http.MethodGet, "/", nil),
				)
			}()
			_, err := there.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		})
	}
}
