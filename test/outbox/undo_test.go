package outbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/outbox"
)

// What a part of a random handler does.
const (
	partPut = iota
	partKey
	partReplace
	partAll  // put with each option
	partMany // put up to 90 commands
	partStatus
	partCancel
	partRequeue // the first dead letter
	partDiscard // the first dead letter
	partDelete  // everything, seldom
	partFail    // the handler, seldom
	partNest    // in a transaction
	partKinds
)

// A part is one of a random handler.
type part struct {
	kind, n int
	inner   []part // of a transaction
	fails   bool   // that transaction
}

// parts draws a part, with transactions in each other up to a depth.
func parts(depth int) *rapid.Generator[part] {
	return rapid.Custom(func(t *rapid.T) part {
		most := partKinds - 1
		if depth == 0 {
			most = partNest - 1
		}
		p := part{kind: rapid.IntRange(0, most).Draw(t, "kind"), n: rapid.IntRange(0, 1000).Draw(t, "n")}
		if p.kind == partNest {
			p.inner = rapid.SliceOfN(parts(depth-1), 0, 4).Draw(t, "inner")
			p.fails = rapid.Bool().Draw(t, "fails")
		}
		return p
	})
}

// What an event of a random history with handlers is.
const (
	eventHandler = iota
	eventPanic   // a handler that panics at its end
	eventFill
	eventDial
	eventWork
	eventSleep
)

// An event is one of a random history with handlers.
type event struct {
	kind, n int
	parts   []part
}

var errUndone = errors.New("undone")

// An undoer plays a history in which handlers and parts of them are undone.
type undoer struct {
	t    *testing.T
	s    *site
	l    *link
	last uint64 // the number that was given last and not undone
}

// Whatever is undone, numbers have no gap, totals are what is stored, and the
// alarm is not later than the first command expires.
func TestQueue_RandomUndoing(t *testing.T) {
	events := rapid.Custom(func(t *rapid.T) event {
		return event{
			rapid.SampledFrom([]int{
				eventHandler, eventHandler, eventHandler, eventPanic, eventFill, eventDial, eventWork, eventWork,
				eventSleep,
			}).Draw(t, "kind"),
			rapid.IntRange(0, 1000).Draw(t, "n"), rapid.SliceOfN(parts(2), 1, 5).Draw(t, "parts"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(events, 1, 30).Draw(rt, "plan")
		window := rapid.IntRange(1, 4).Draw(rt, "window")
		synctest.Test(t, func(t *testing.T) {
			u := &undoer{t: t, s: open(t, setup{
				policy: outbox.Policy{
					Window: window, Deliver: 3, AckWait: 5 * time.Second,
					Waiting: 300, Bytes: 3000, Keep: 40 * time.Second, KeepBytes: 1500,
				},
				object: dog.ObjectOptions[Device]{RollbackOnError: true},
			})}
			for _, e := range plan {
				u.do(e)
				u.check()
			}
			u.drain()
		})
	})
}

// do plays an event.
func (u *undoer) do(e event) {
	before := u.last
	switch e.kind {
	case eventHandler, eventPanic:
		err := dog.CallErr(u.t.Context(), u.s.devices.Named("d"), (*Device).With,
			func(_ context.Context, d *Device) error {
				err := u.run(d, e.parts)
				if e.kind == eventPanic {
					panic("undone")
				}
				return err
			})
		if err != nil {
			u.last = before
		}
		if e.kind == eventPanic {
			require.Error(u.t, err)
			u.l = nil // it was closed
		} else if err != nil {
			require.ErrorIs(u.t, err, errUndone)
		}
	case eventFill:
		u.s.with(func(_ context.Context, d *Device) error {
			return u.run(d, []part{{kind: partMany, n: 89 - e.n%10}})
		})
	case eventDial:
		u.l = u.s.dial()
	case eventWork:
		if u.l == nil {
			u.l = u.s.dial()
		}
		for i := range 3 {
			for _, f := range u.l.frames() {
				u.l.reply(f, []string{"done", "done", "fail", "retry"}[(e.n+i)%4], "r")
			}
		}
	case eventSleep:
		time.Sleep(time.Duration(e.n%60) * time.Second)
	}
	synctest.Wait()
}

// run plays a handler.
func (u *undoer) run(d *Device, parts []part) error {
	for _, p := range parts {
		key, name := outbox.Key(fmt.Sprint("k", p.n%5)), outbox.Replace(fmt.Sprint("r", p.n%3))
		switch p.kind {
		case partPut:
			u.put(d, p.n)
		case partKey:
			u.put(d, p.n, key)
		case partReplace:
			u.put(d, p.n, name)
		case partAll:
			u.put(d, p.n, key, name, outbox.TTL(time.Duration(1+p.n%30)*time.Second))
		case partMany:
			for range p.n % 90 {
				u.put(d, p.n)
			}
		case partStatus:
			status, err := d.Commands.Status()
			require.NoError(u.t, err)
			require.Equal(u.t, u.last, status.Last)
		case partCancel:
			_, err := d.Commands.Cancel(uint64(p.n) % (u.last + 1))
			require.NoError(u.t, err)
		case partRequeue:
			u.requeue(d)
		case partDiscard:
			if number := u.dead(d); number > 0 {
				found, err := d.Commands.Discard(number)
				require.NoError(u.t, err)
				require.True(u.t, found)
			}
		case partDelete:
			if p.n%4 == 0 {
				require.NoError(u.t, d.Storage().DeleteAll())
				u.last = 0
			}
		case partFail:
			if p.n%8 == 0 {
				return errUndone
			}
		case partNest:
			before := u.last
			if err := d.Storage().Transaction(func() error {
				if err := u.run(d, p.inner); err != nil || !p.fails {
					return err
				}
				return errUndone
			}); err != nil {
				u.last = before
			}
		}
	}
	return nil
}

// put puts a command, if there is room.
func (u *undoer) put(d *Device, n int, options ...outbox.Option) {
	o, err := d.Commands.Put(strings.Repeat("x", n%9), options...)
	if errors.Is(err, outbox.ErrFull) {
		return
	}
	require.NoError(u.t, err)
	if o.State == outbox.Waiting && o.Number == u.last+1 {
		u.last++
		return
	}
	require.LessOrEqual(u.t, o.Number, u.last)
	require.NotEmpty(u.t, options)
}

// requeue queues the first dead letter again, if there is one and room for it.
func (u *undoer) requeue(d *Device) {
	number := u.dead(d)
	if number == 0 {
		return
	}
	o, found, err := d.Commands.Requeue(number)
	if errors.Is(err, outbox.ErrFull) || errors.Is(err, outbox.ErrReplaced) {
		require.Equal(u.t, number, u.dead(d))
		return
	}
	require.NoError(u.t, err)
	require.True(u.t, found)
	u.last++
	require.Equal(u.t, outbox.Outcome{Number: u.last, State: outbox.Waiting}, o)
}

// dead returns the number of the first dead letter, 0 if there is none.
func (u *undoer) dead(d *Device) uint64 {
	for c, err := range d.Commands.Dead() {
		require.NoError(u.t, err)
		return c.Number
	}
	return 0
}

// check compares what the queue knows with what is stored.
func (u *undoer) check() {
	u.s.with(func(_ context.Context, d *Device) error {
		stored, first := u.stored(d)
		known, err := d.Commands.Status()
		require.NoError(u.t, err)
		require.Equal(u.t, stored, known)
		a, found, err := d.Storage().Alarms().Get(outbox.Alarm)
		require.NoError(u.t, err)
		if stored.Waiting > 0 {
			require.True(u.t, found)
			require.LessOrEqual(u.t, a.Next.UnixMilli(), max(first.UnixMilli(), time.Now().UnixMilli()))
		}
		return nil
	})
}

// stored returns what is stored, and when the first command expires.
func (u *undoer) stored(d *Device) (s outbox.Status, first time.Time) {
	s.Last = u.last
	for c, err := range d.Commands.Waiting() {
		require.NoError(u.t, err)
		s.Waiting++
		s.Bytes += len(c.Body.Data) + len(c.Key) + len(c.Replace)
		if first.IsZero() || c.Expires.Before(first) {
			first = c.Expires
		}
	}
	for c, err := range d.Commands.Dead() {
		require.NoError(u.t, err)
		s.Dead++
		s.KeptBytes += 64 + len(c.Body.Data) + len(c.Key) + len(c.Replace)
	}
	for e, err := range d.Storage().List(dog.ListOptions{Prefix: "outbox/k/"}) {
		require.NoError(u.t, err)
		head := bytes.IndexAny(e.Value, "\n\x00")
		var outcome struct {
			State outbox.State `json:"s"`
		}
		require.NoError(u.t, json.Unmarshal(e.Value[:head], &outcome))
		if outcome.State != outbox.Waiting {
			s.KeptBytes += 64 + len(e.Key) - len("outbox/k/") + len(e.Value) - head - 1
		}
	}
	return s, first
}

// drain lets a device do what is left, after which nothing is kept for long.
func (u *undoer) drain() {
	u.l = u.s.dial()
	for range 2000 {
		frames := u.l.frames()
		for _, f := range frames {
			u.l.reply(f, "done", "")
		}
		if len(frames) > 0 {
			continue
		}
		if time.Sleep(6 * time.Second); len(u.s.waiting()) == 0 {
			break
		}
	}
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	u.check()
	require.Empty(u.t, u.s.waiting())
	require.Zero(u.t, u.s.kept())
}
