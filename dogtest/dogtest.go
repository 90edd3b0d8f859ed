// Package dogtest tests programs built on dog. It has a runtime that stops with
// the test, and a server and WebSocket clients over in-memory pipes. No port is
// opened and nothing needs real time, so everything works inside a
// [testing/synctest] bubble, where pings, timeouts and retirement take no time
// at all:
//
//	synctest.Test(t, func(t *testing.T) {
//		rt := dogtest.New(t, dog.Options{})
//		srv := dogtest.Serve(t, newHandler(rt)) // the program under test
//		ada := srv.Dial("/ws?u=ada")
//		ada.Send("hello")
//		require.Equal(t, "hello to you", ada.Receive().String())
//	})
//
// [Server.DialV1] connects a client that speaks dog.v1, which breaks off and
// comes back where it was. [Run] runs one handler and returns what it stored
// and sent. A [Disk] is a data directory that crashes, fails and fills up. In a
// bubble, time passes at once when all goroutines wait, so that alarms, their
// retries, eviction and hibernation happen without delay:
//
//	synctest.Test(t, func(t *testing.T) {
//		disk := dogtest.NewDisk(t)
//		orders := newShop(dogtest.New(t, dog.Options{Store: disk})) // the program under test
//		out := dogtest.Run(t, orders.Named("7"), func(ctx context.Context, o *Order) error {
//			return o.Pay(ctx, 30)
//		})
//		require.Equal(t, "30", string(out.Stored["paid"]))
//
//		disk.Crash()
//		orders = newShop(dogtest.New(t, dog.Options{Store: disk}))
//		time.Sleep(24 * time.Hour) // Order.OnAlarm sends the goods
//		...
//	})
package dogtest

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/godurable/dog"
)

// patience is how long a test waits for something that should happen at once.
// In a bubble it passes only when all goroutines are blocked, so that nothing
// more can happen.
const patience = 10 * time.Second

// New returns a runtime that is shut down at the end of the test. The test
// fails if something does not end then. The runtime checks that contexts stay
// in their goroutines ([dog.Options].CheckTurns) and logs to the test unless
// the options have a logger.
func New(t testing.TB, options dog.Options) *dog.Runtime {
	t.Helper()
	options.CheckTurns = true
	if options.Logger == nil {
		options.Logger = slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	rt, err := dog.New(options)
	if err != nil {
		t.Fatalf("dogtest: %v", err)
	}
	if disk, ok := options.Store.(*Disk); ok {
		disk.opened(rt)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := rt.Shutdown(ctx); err != nil {
			t.Errorf("dogtest: the runtime did not stop: %v", err)
		}
	})
	return rt
}

// logWriter writes a log to the log of a test.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(line []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}
