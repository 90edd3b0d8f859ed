package outbox_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/outbox"
)

// overloaded is a site where an object may have one waiting event.
func overloaded(t *testing.T) *site { return open(t, setup{options: dog.Options{MaxWaiting: 1}}) }

// fill keeps the turn of the device's object for so long, while as many events
// wait for it as may.
func (s *site) fill(d time.Duration, f func(d *Device)) {
	s.t.Helper()
	s.with(func(_ context.Context, device *Device) error {
		go s.waiting()
		time.Sleep(time.Second) // until it waits
		f(device)
		time.Sleep(d)
		return nil
	})
	synctest.Wait()
}

func TestOverload_CommandIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := overloaded(t)
		l := s.dial()
		s.fill(time.Second, func(d *Device) {
			_, err := d.Commands.Put("open")
			require.NoError(t, err)
		})
		require.Equal(t, []string{"open"}, l.bodies())
		s.fill(time.Minute, func(*Device) {}) // AckWait ends meanwhile
		require.Equal(t, []string{"open"}, l.bodies())
	})
}

func TestOverload_AskGetsItsOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := overloaded(t)
		got := s.ask(0, "dim", outbox.Replace("light"))
		s.fill(time.Second, func(d *Device) {
			_, err := d.Commands.Put("bright", outbox.Replace("light"))
			require.NoError(t, err)
		})
		require.Len(t, got, 1)
		require.ErrorIs(t, (<-got).err, outbox.ErrReplaced)
	})
}

func TestOverload_CommandGoesWithItsAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := overloaded(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- dog.CallErr(ctx, s.devices.Named("d"), (*Device).With, func(ctx context.Context, d *Device) error {
				_, err := outbox.Ask[string](ctx, &d.Commands, "open")
				time.Sleep(time.Second) // until the event that removes the command waits
				return err
			})
		}()
		synctest.Wait()
		s.with(func(context.Context, *Device) error {
			go s.fill(0, func(*Device) {})
			time.Sleep(time.Second) // until it waits
			cancel()
			time.Sleep(time.Second) // until the asker waits for its turn
			return nil
		})
		require.ErrorIs(t, <-ended, context.Canceled)
		time.Sleep(time.Minute)
		require.Empty(t, s.dial().bodies())
	})
}
