package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
)

// cutPlan has everything in it that a queue stores: puts, deliveries, replies,
// failures, a replacement before and after the delivery, an expiry before and
// after it, a dead letter, a command that is canceled, and questions.
var cutPlan = []step{
	{stepPut, 0}, {stepAsk, 0}, {stepDial, 0}, {stepWork, doReply}, // done
	{stepReplace, 0}, {stepReplace, 0}, {stepWork, doNoReply}, {stepVanish, 0}, // replaced, and sent again
	{stepDial, 0}, {stepWork, doReplyTwice}, {stepPut, 0}, {stepPut, 0}, {stepWork, doFail}, // failed
	{stepUrgent, 4}, {stepReplace, 0}, {stepReplace, 0}, {stepSleep, 10}, {stepWork, doReply}, // expired
	{stepUrgent, 4}, {stepVanish, 1}, {stepSleep, 10}, {stepPut, 0}, {stepAsk, 8}, {stepDial, 0}, // expired while away
	{stepSleep, 30}, {stepSleep, 30}, {stepSleep, 30}, {stepWork, doIgnore}, // dead
	{stepPut, 0}, {stepWork, doRetry}, {stepSleep, 5}, {stepWork, doReply}, {stepAsk, 9},
	{stepPut, 0}, {stepCancel, 11}, {stepPut, 0}, {stepWork, doReply}, // canceled
}

// The power is cut at each change of the disk in turn. What a sender was
// confirmed is there afterwards, and what was returned as the outcome of a
// command remains its outcome. Commands come in order, and a device that
// remembers its last command does each once.
func TestQueue_PowerCutAtEveryChange(t *testing.T) {
	for _, torn := range []bool{false, true} {
		t.Run(fmt.Sprint("torn ", torn), func(t *testing.T) {
			var changes int
			states := make(map[outbox.State]bool)
			synctest.Test(t, func(t *testing.T) {
				var w *world
				w, changes = cutAt(t, 0, torn)
				for _, o := range w.ended {
					states[o.State] = true
				}
			})
			require.Len(t, states, 6, "the plan has all outcomes")
			lost := 0
			for n := range changes {
				synctest.Test(t, func(t *testing.T) {
					w, _ := cutAt(t, n+1, torn)
					lost += len(cutPlan) - w.put
				})
			}
			require.GreaterOrEqual(t, changes, 30)
			require.Greater(t, lost, changes)
		})
	}
}

// cutAt plays the plan on a disk that writes nothing from its n-th change on,
// and crashes. It returns the number of changes if n is 0.
func cutAt(t *testing.T, n int, torn bool) (w *world, changes int) {
	w = newWorld(t)
	w.disk, w.cut = dogtest.NewDisk(t), true
	w.open()
	before := w.disk.Changes()
	w.disk.Fail(n, errors.New("the power is cut"))
	for _, s := range cutPlan {
		w.do(s)
		w.note()
	}
	changes = w.disk.Changes() - before
	w.do(map[bool]step{false: {stepCrash, 0}, true: {stepTorn, n}}[torn])
	w.cut = false
	w.look()
	w.drain()
	w.check()
	return w, changes
}

// note notes the outcomes that are returned, and that do not change.
func (w *world) note() {
	for n := 1; n <= w.put; n++ {
		o, err := dog.Call(w.t.Context(), w.s.devices.Named("d"), (*Device).Outcome, key(n))
		if err != nil {
			continue
		}
		if before, ended := w.ended[key(n)]; ended {
			require.Equal(w.t, before, o)
		} else if o.State != outbox.Waiting {
			w.ended[key(n)] = o
		}
	}
}

// Outcome returns the outcome of the command with a key, which must be kept.
func (d *Device) Outcome(_ context.Context, key string) (outbox.Outcome, error) {
	o, found, err := d.Commands.Outcome(key)
	if err == nil && !found {
		err = fmt.Errorf("no outcome of %s", key)
	}
	return o, err
}
