package client_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/client"
	"github.com/godurable/dog/client/internal/faults"
)

func TestSend_SendsTextBinaryAndJSON(t *testing.T) {
	run(t, client.Options{}, []faults.Connection{connection(
		faults.Step{Receive: "text"}, faults.Step{Receive: `{"raw":1}`}, faults.Step{Receive: "\x00\xff"},
		faults.Step{Receive: `{"A":1}`}, faults.Step{Ack: `{"A":1}`},
	)}, func(t *testing.T, s *script) {
		var sending sync.WaitGroup
		for _, v := range []any{"text", json.RawMessage(`{"raw":1}`), []byte("\x00\xff"), struct{ A int }{1}} {
			sending.Go(func() { require.NoError(t, s.c.Send(t.Context(), v)) })
			synctest.Wait()
		}
		sending.Wait()
		require.ErrorIs(t, s.c.Send(t.Context(), "\xff"), client.ErrInvalid)
		require.ErrorIs(t, s.c.Send(t.Context(), func() {}), client.ErrInvalid)
	})
}

func TestSend_ExpiresAfterMaxAge(t *testing.T) {
	for option, age := range map[time.Duration]time.Duration{0: time.Minute, 7 * time.Second: 7 * time.Second} {
		t.Run(age.String(), func(t *testing.T) {
			away := faults.Connection{Refuse: &faults.Refuse{Status: 503, RetryAfter: "100"}}
			run(t, client.Options{MaxAge: option}, []faults.Connection{
				away, connection(faults.Step{Receive: "later"}, faults.Step{Ack: "later"}, faults.Step{Nothing: 1000}),
			}, func(t *testing.T, s *script) {
				began := time.Now()
				require.ErrorIs(t, s.c.Send(t.Context(), "x"), client.ErrExpired)
				require.Equal(t, age, time.Since(began))
				s.states.wait("open", 0)
				require.NoError(t, s.c.Send(t.Context(), "later"))
			})
		})
	}
}

func TestSend_FailsAtOnceWhenTheQueueIsFull(t *testing.T) {
	for name, try := range map[string]struct {
		options client.Options
		data    []string // all but the last fit
	}{
		"messages": {client.Options{QueueMessages: 2}, []string{"a", "b", "c"}},
		"bytes":    {client.Options{QueueBytes: 10}, []string{"aaaaa", "bbbbb", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			var steps []faults.Step
			for _, data := range try.data[:2] {
				steps = append(steps, faults.Step{Receive: data})
			}
			steps = append(steps, faults.Step{Delay: 2000}, faults.Step{Ack: try.data[1]},
				faults.Step{Receive: "more"}, faults.Step{Ack: "more"})
			run(t, try.options, []faults.Connection{connection(steps...)}, func(t *testing.T, s *script) {
				var sending sync.WaitGroup
				for _, data := range try.data[:2] {
					sending.Go(func() { require.NoError(t, s.c.Send(t.Context(), data)) })
					synctest.Wait()
				}
				require.ErrorIs(t, s.c.Send(t.Context(), try.data[2]), client.ErrQueueFull)
				sending.Wait()
				require.NoError(t, s.c.Send(t.Context(), "more"))
			})
		})
	}
}

func TestSend_TheDefaultQueueHolds1000MessagesAnd1MiB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, try := range map[string]struct {
			data string
			fit  int
		}{"messages": {"x", 1000}, "bytes": {strings.Repeat("x", 1<<18), 4}} {
			c, err := client.New(address, client.Options{HTTPClient: serve(t, newModelServer()), Token: noToken})
			require.NoError(t, err)
			var sending sync.WaitGroup
			for range try.fit {
				sending.Go(func() { require.ErrorIs(t, c.Send(t.Context(), try.data), client.ErrClosed, name) })
			}
			synctest.Wait()
			require.ErrorIs(t, c.Send(t.Context(), try.data), client.ErrQueueFull, name)
			require.ErrorIs(t, c.Send(t.Context(), strings.Repeat("x", 1<<20+1)), client.ErrTooLarge, name)
			c.Close()
			sending.Wait()
		}
	})
}

// noToken keeps a client from connecting.
func noToken(context.Context) (string, error) { return "", io.ErrUnexpectedEOF }

func TestSend_EndsWithItsContext(t *testing.T) {
	run(t, client.Options{}, []faults.Connection{
		connection(faults.Step{Receive: "sent"}, faults.Step{Send: `b{"in":[9000,9000]}`}, faults.Step{Close: 1001}),
		{After: new(from), Steps: []faults.Step{
			{Hello: &faults.Hello{Position: from}}, {Receive: "last"}, {Ack: "last"}, {Nothing: 1000},
		}},
	}, func(t *testing.T, s *script) {
		sent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.c.Send(sent, "sent")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, client.ErrUncertain)

		require.Equal(t, "waiting", s.states.all()[2])
		unsent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = s.c.Send(unsent, "unsent")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, client.ErrUncertain)
		require.ErrorIs(t, s.c.Send(unsent, "never queued"), context.DeadlineExceeded)

		require.NoError(t, s.c.Send(t.Context(), "last"))
	})
}

// Who uses the session of an earlier client goes on behind its numbers, or the
// server would take the messages for old ones.
func TestSend_ContinuesTheNumbersOfTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newModelServer()
		network := serve(t, server)
		for _, data := range []string{"one", "two"} {
			c, err := client.New(address, client.Options{Session: "the-same", HTTPClient: network})
			require.NoError(t, err)
			require.NoError(t, c.Send(t.Context(), data))
			c.Close()
		}
		require.Equal(t, map[string]int{"one": 1, "two": 1}, server.handled)
		require.Equal(t, map[string]uint64{"the-same": 2}, server.sessions)
	})
}
