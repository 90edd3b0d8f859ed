package dog_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/stretchr/testify/require"
)

// texts returns what a client has received, once everything has come to rest.
func texts(c *dogtest.Client) []string {
	synctest.Wait()
	var all []string
	for _, m := range c.Received() {
		all = append(all, m.String())
	}
	return all
}

// requireUsage requires a [dog.UsageError] whose problem has these words.
func requireUsage(t require.TestingT, err error, problem string, msg ...any) {
	var usage *dog.UsageError
	require.ErrorAs(t, err, &usage, msg...)
	require.NotEmpty(t, usage.Op, msg...)
	require.Contains(t, usage.Problem, problem, msg...)
}

// requireEmpty waits for everything to come to rest and checks that no place, no
// socket and no byte is left behind.
func requireEmpty(t *testing.T, rt *dog.Runtime) {
	t.Helper()
	synctest.Wait()
	stats := rt.Stats()
	require.Zero(t, stats.Sockets)
	require.Zero(t, stats.QueuedBytes)
	for _, g := range stats.Groups {
		for _, r := range g.Replicas {
			require.Zero(t, r.Load)
			require.Zero(t, r.Reserved)
		}
	}
}

// elapse lets time pass and then waits for everything to come to rest.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// pause waits in a handler and gives the turn up.
func pause(ctx context.Context, d time.Duration) error {
	return dog.Await(ctx, func() error { time.Sleep(d); return nil })
}

// idle waits in a handler for a while of virtual time, or until its context ends.
func idle(ctx context.Context, d time.Duration) error {
	return dog.Await(ctx, func() error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}
