package client_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/client"
	"github.com/godurable/dog/client/internal/faults"
)

func TestReceive_ReportsWhereAClientBegins(t *testing.T) {
	connections := []faults.Connection{connection(faults.Step{Send: "m\nhi"})}
	run(t, client.Options{}, connections, func(t *testing.T, s *script) {
		event, err := s.c.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, client.Gap{Reason: client.First, Position: from}, event)
		require.Equal(t, client.Message{Data: []byte("hi"), Type: client.Text, Position: from}, s.receive())
	})
}

func TestReceive_ReportsEachReasonOfAGap(t *testing.T) {
	for _, reason := range []client.GapReason{
		client.First, client.Expired, client.Epoch, client.Ahead, client.Slow, "of a later version",
	} {
		hello := faults.Step{Hello: &faults.Hello{Position: next, Gap: string(reason)}}
		connections := []faults.Connection{{After: new(from), Steps: []faults.Step{hello, {Send: "mc120\none"}}}}
		run(t, client.Options{After: new(from)}, connections, func(t *testing.T, s *script) {
			event, err := s.c.Receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, client.Gap{Reason: reason, From: from, Position: next}, event)
			event, err = s.c.Receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, client.Message{
				Data: []byte("one"), Type: client.MessageType(1), Kept: true, Position: "k3f9q2ab7c1d-c120",
			}, event)
		})
	}
}

func TestReceive_SavesThePositionWhenTheNextIsReceived(t *testing.T) {
	var saved []string
	broken := true
	options := client.Options{SavePosition: func(_ context.Context, p string) error {
		if broken && p == next {
			return io.ErrShortWrite
		}
		saved = append(saved, p)
		return nil
	}}
	run(t, options, []faults.Connection{connection(
		faults.Step{Send: "mc119\none"}, faults.Step{Send: "m\nnot kept"}, faults.Step{Send: "mc120\ntwo"},
	)}, func(t *testing.T, s *script) {
		require.Empty(t, s.c.Position())
		require.Equal(t, "one", string(s.receive().Data))
		require.Equal(t, []string{from}, saved)
		require.Equal(t, from, s.c.Position())

		_, err := s.c.Receive(t.Context())
		require.ErrorIs(t, err, io.ErrShortWrite)
		require.Equal(t, from, s.c.Position())
		broken = false
		require.Equal(t, "not kept", string(s.receive().Data))
		require.Equal(t, []string{from, next}, saved)
		require.Equal(t, "two", string(s.receive().Data))
		require.Equal(t, []string{from, next}, saved, "the position has not changed")

		s.c.Close()
		_, err = s.c.Receive(t.Context())
		require.ErrorIs(t, err, client.ErrClosed)
		require.Equal(t, []string{from, next, "k3f9q2ab7c1d-c120"}, saved)
	})
}

func TestReceive_SavesThePositionOfHelloWithoutAnEvent(t *testing.T) {
	var saved []string
	options := client.Options{SavePosition: func(_ context.Context, p string) error {
		saved = append(saved, p)
		return nil
	}}
	hello := faults.Step{Hello: &faults.Hello{Position: from}}
	run(t, options, []faults.Connection{{Steps: []faults.Step{hello}}}, func(t *testing.T, s *script) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.c.Receive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, []string{from}, saved)
	})
}

// An event whose context is done while it waits is not lost, and the one before
// counts as handled.
func TestReceive_EndsWithItsContext(t *testing.T) {
	run(t, client.Options{}, []faults.Connection{connection(
		faults.Step{Send: "mc119\none"}, faults.Step{Delay: 5000}, faults.Step{Send: "mc120\ntwo"},
	)}, func(t *testing.T, s *script) {
		s.receive()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.c.Receive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, next, s.c.Position())
		time.Sleep(5 * time.Second)
		_, err = s.c.Receive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, "two", string(s.receive().Data))
	})
}

// What arrived before the server closed the connection for good is received.
func TestReceive_ReturnsWhatCameBeforeTheEnd(t *testing.T) {
	run(t, client.Options{}, []faults.Connection{connection(
		faults.Step{Send: "mc119\none"}, faults.Step{Send: "mc120\ntwo"}, faults.Step{Close: 4002},
	)}, func(t *testing.T, s *script) {
		s.states.wait("closed", 0)
		require.Equal(t, "one", string(s.receive().Data))
		require.Equal(t, "two", string(s.receive().Data))
		for range 2 {
			_, err := s.c.Receive(t.Context())
			var refused *client.RefusedError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, &client.RefusedError{Code: 4002, Reason: "faults"}, refused)
		}
		require.ErrorContains(t, s.c.Send(t.Context(), "x"), "4002: faults")
	})
}

func TestReceive_DropsWhatItHas(t *testing.T) {
	run(t, client.Options{}, []faults.Connection{connection(
		faults.Step{Send: "mc119\none"}, faults.Step{Send: "mc119\none"}, faults.Step{Send: "mb99\nold"},
		faults.Step{Send: "mc120\ntwo"},
	)}, func(t *testing.T, s *script) {
		require.Equal(t, "one", string(s.receive().Data))
		require.Equal(t, "two", string(s.receive().Data))
	})
}

func TestReceive_LimitsMessages(t *testing.T) {
	run(t, client.Options{ReadLimit: 200}, []faults.Connection{
		connection(
			faults.Step{Send: "m\n" + strings.Repeat("x", 198)}, faults.Step{Send: "m\n" + strings.Repeat("y", 199)},
			faults.Step{Lost: 1},
		),
		{After: new(from), Steps: []faults.Step{{Hello: &faults.Hello{Position: from}}, {Send: "m\nz"}}},
	}, func(t *testing.T, s *script) {
		require.Len(t, s.receive().Data, 198)
		require.Equal(t, "z", string(s.receive().Data))
	})
}

// Close returns although nobody takes what the server still sends.
func TestReceive_ClosesAFullClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newModelServer()
		c, err := client.New(address, client.Options{HTTPClient: serve(t, server), QueueMessages: 2, After: new("")})
		require.NoError(t, err)
		for range 20 {
			server.publish()
		}
		synctest.Wait()
		began := time.Now()
		c.Close()
		require.Zero(t, time.Since(began), "the server has answered the close frame")
		_, err = c.Receive(t.Context())
		require.ErrorIs(t, err, client.ErrClosed)
	})
}

// A program that handles its messages slowly is not taken for a dead server,
// and nothing is lost.
func TestReceive_WaitsForASlowProgram(t *testing.T) {
	for name, options := range map[string]client.Options{
		"messages": {QueueMessages: 3}, "bytes": {QueueBytes: 30},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newModelServer()
				states := newRecorder()
				options.HTTPClient, options.OnState, options.After = serve(t, server), states.record, new("")
				c, err := client.New(address, options)
				require.NoError(t, err)
				defer c.Close()
				for range 20 {
					server.publish()
				}
				synctest.Wait()
				var data []string
				for event, err := range c.Events(t.Context()) {
					require.NoError(t, err)
					if m, is := event.(client.Message); is {
						data = append(data, string(m.Data))
					}
					if len(data) == 20 {
						break
					}
					time.Sleep(5 * time.Minute)
				}
				require.Equal(t, []string{"message 0", "message 1"}, data[:2])
				require.Len(t, slices.Compact(data), 20)
				require.Equal(t, []string{"connecting", "open"}, states.all())
				require.NoError(t, c.Send(t.Context(), "still there"))
			})
		})
	}
}
