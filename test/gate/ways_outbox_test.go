package gate_test

import (
	"context"
	"errors"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
)

// The ways out by a queue of commands, which are in outputs.
var (
	queuePut = wayOut{by: inObject, before: withDevice, send: second(func(s *stage, _ context.Context) (any, error) {
		return s.object.Commands.Put("w")
	})}

	// The older connection is closed.
	queueAttach = wayOut{by: inObject, before: withDevice, send: func(s *stage, _ context.Context) error {
		return s.object.Commands.Attach(s.spare)
	}}

	// The command expires, which its asker is told.
	queueOnAlarm = wayOut{by: inObject, before: withAsker, send: func(s *stage, ctx context.Context) error {
		return s.object.Commands.OnAlarm(ctx, dog.Alarm{Name: outbox.Alarm})
	}}

	// The command ends, which its asker is told.
	queueCancel = wayOut{by: inObject, before: withAsker, send: second(func(s *stage, _ context.Context) (any, error) {
		return s.object.Commands.Cancel(1)
	})}

	queueRequeue = wayOut{by: inObject, before: withLetter, send: func(s *stage, _ context.Context) error {
		_, _, err := s.object.Commands.Requeue(1)
		return err
	}}

	queueAsk = wayOut{by: inObject, before: withDevice, send: second(func(s *stage, ctx context.Context) (any, error) {
		ctx, cancel := context.WithCancel(ctx)
		s.t.Cleanup(cancel) // the device does not reply
		return outbox.Ask[string](ctx, &s.object.Commands, "w")
	}), waits: true, context: true}
)

// withDevice connects a device to the object that sends, and another one that
// is not attached.
func withDevice(s *stage) {
	join := func(as string) *dogtest.Client {
		c := s.srv.DialWith("/join?as="+as, dogtest.DialOptions{Subprotocols: []string{"dog.v1"}})
		c.Send("y") // it takes commands
		synctest.Wait()
		return c
	}
	join("spare")
	s.device = join("device")
	s.device.Received()
	s.engine.Flush()
	require.False(s.t, s.observed())
}

// withLetter connects a device that leaves a command until it is a dead letter.
func withLetter(s *stage) {
	withDevice(s)
	putting, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	go func() {
		_ = dog.CallErr(putting, s.objects.Named("speaker"), (*stageObject).Run,
			func(context.Context, actor) error {
				_, err := s.object.Commands.Put("w")
				return err
			})
	}()
	synctest.Wait()
	for range 10 {
		s.engine.Flush()
		time.Sleep(30 * time.Second)
	}
	s.engine.Flush()
	s.device.Received()
	require.False(s.t, s.observed())
}

// withAsker asks a device that is away, for a time that has passed.
func withAsker(s *stage) {
	asking, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	go func() {
		err := dog.CallErr(asking, s.objects.Named("speaker"), (*stageObject).Run,
			func(ctx context.Context, _ actor) error {
				_, err := outbox.Ask[string](
					ctx, &s.object.Commands, "?", outbox.TTL(time.Millisecond), outbox.Key("?"),
				)
				return err
			})
		if errors.Is(err, outbox.ErrExpired) || errors.Is(err, outbox.ErrCanceled) {
			_ = s.reach()
		}
	}()
	synctest.Wait()
	s.engine.Flush()
	time.Sleep(time.Second)
	s.engine.Flush()
	require.False(s.t, s.observed())
}
