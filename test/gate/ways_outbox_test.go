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
		if errors.Is(err, outbox.ErrExpired) {
			_ = s.reach()
		}
	}()
	synctest.Wait()
	s.engine.Flush()
	time.Sleep(time.Second)
	s.engine.Flush()
	require.False(s.t, s.observed())
}
