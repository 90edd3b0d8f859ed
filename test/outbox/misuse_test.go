package outbox_test

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestQueue_MisuseIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q outbox.Queue
		_, err := q.Put("x")
		fixture.RequireUsage(t, err, "not bound")
		_, err = outbox.Ask[string](t.Context(), &q, "x")
		fixture.RequireUsage(t, err, "not bound")
		_, err = outbox.Ask[string](t.Context(), nil, "x")
		fixture.RequireUsage(t, err, "the queue is nil")
		_, _, err = q.Outcome("x")
		fixture.RequireUsage(t, err, "not bound")
		_, err = q.Status()
		fixture.RequireUsage(t, err, "not bound")
		for _, err := range q.Waiting() {
			fixture.RequireUsage(t, err, "not bound")
		}
		for _, err := range q.Dead() {
			fixture.RequireUsage(t, err, "not bound")
		}
		_, err = q.Cancel(1)
		fixture.RequireUsage(t, err, "not bound")
		_, _, err = q.Requeue(1)
		fixture.RequireUsage(t, err, "not bound")
		_, err = q.Discard(1)
		fixture.RequireUsage(t, err, "not bound")
		fixture.RequireUsage(t, q.Attach(nil), "not bound")
		fixture.RequireUsage(t, q.OnAlarm(t.Context(), dog.Alarm{Name: outbox.Alarm}), "not bound")
		require.NoError(t, q.OnAlarm(t.Context(), dog.Alarm{Name: "another"}))
		fixture.RequireUsage(t, q.Bind(nil, outbox.Policy{}), "the object is nil")
		fixture.RequireUsage(t, q.Bind(&dog.Object{}, outbox.Policy{}), "not made by a runtime")
		fixture.RequireUsage(t, q.Bind(&dog.Object{}, outbox.Policy{TTL: outbox.MaxTTL + 1}), "TTL")
		p := outbox.Policy{
			Window: -1, AckWait: -1, Deliver: -1, TTL: -1, Keep: -1, Waiting: -1, Bytes: -1, KeepBytes: -1,
		}
		for field, v := range reflect.ValueOf(&p).Elem().Fields() { // the first one is told
			fixture.RequireUsage(t, q.Bind(&dog.Object{}, p), field.Name+" is below 0")
			v.SetZero()
		}

		s := open(t, setup{})
		s.put("a")
		s.with(func(_ context.Context, d *Device) error {
			var other outbox.Queue
			fixture.RequireUsage(t, other.Bind(&d.Object, outbox.Policy{}), "another queue is bound")
			_, err := other.Put("b")
			fixture.RequireUsage(t, err, "not bound")
			require.NoError(t, d.Commands.Bind(&d.Object, outbox.Policy{Waiting: 1}))
			_, err = d.Commands.Put("b")
			require.ErrorIs(t, err, outbox.ErrFull)
			require.NoError(t, d.Commands.Bind(&d.Object, outbox.Policy{}))
			return d.Storage().DeleteAll()
		})
		for _, o := range []outbox.Option{
			outbox.Key(""), outbox.Replace(""), outbox.Key(string(make([]byte, 1001))), outbox.TTL(0),
			outbox.Replace(string(make([]byte, 1001))), outbox.TTL(outbox.MaxTTL + 1),
		} {
			_, err := s.tryPut("x", o)
			fixture.RequireUsage(t, err, "")
			fixture.RequireUsage(t, (<-s.ask(0, "x", o)).err, "")
		}
		_, err = s.tryPut(func() {})
		require.Error(t, err)
		require.Empty(t, s.waiting())
		s.put("x", outbox.Option{})
	})
}

// A copy would give numbers that are given already.
func TestQueue_CopyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		d := s.dial()
		s.put("a", outbox.Key("a"))
		s.with(func(ctx context.Context, d *Device) error {
			twin := new(outbox.Queue)
			reflect.ValueOf(twin).Elem().Set(reflect.ValueOf(&d.Commands).Elem()) // which go vet does not find
			_, err := twin.Put("b")
			fixture.RequireUsage(t, err, "is a copy")
			_, err = outbox.Ask[string](ctx, twin, "b")
			fixture.RequireUsage(t, err, "is a copy")
			_, found, err := twin.Outcome("a")
			fixture.RequireUsage(t, err, "is a copy")
			require.False(t, found)
			_, err = twin.Cancel(1)
			fixture.RequireUsage(t, err, "is a copy")
			_, _, err = twin.Requeue(1)
			fixture.RequireUsage(t, err, "is a copy")
			_, err = twin.Discard(1)
			fixture.RequireUsage(t, err, "is a copy")
			require.True(t, d.Commands.Connected())
			require.False(t, twin.Connected())
			fixture.RequireUsage(t, twin.Bind(&d.Object, outbox.Policy{}), "another queue is bound")
			return nil
		})
		s.put("b")
		require.Equal(t, []string{"a"}, d.bodies())
		require.Equal(t, []string{"a", "b"}, s.waiting())
	})
}

func TestQueue_ChangesNothingOutsideTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		older := s.connect("page")
		var d *Device
		var page *dog.Socket
		s.with(func(_ context.Context, o *Device) error {
			d = o
			for page = range o.Sockets() {
				break
			}
			return nil
		})
		require.ErrorIs(t, d.Commands.Bind(&d.Object, outbox.Policy{Waiting: 1}), dog.ErrOutsideTurn)
		require.ErrorIs(t, d.Commands.Attach(page), dog.ErrOutsideTurn)
		_, err := d.Commands.Cancel(1)
		require.ErrorIs(t, err, dog.ErrOutsideTurn)
		_, _, err = d.Commands.Requeue(1)
		require.ErrorIs(t, err, dog.ErrOutsideTurn)
		_, err = d.Commands.Discard(1)
		require.ErrorIs(t, err, dog.ErrOutsideTurn)
		older.Send("y")
		synctest.Wait()
		require.False(t, d.Commands.Connected())
		s.put("a")
		s.put("b")
		require.True(t, older.quiet())
	})
}
