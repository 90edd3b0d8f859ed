package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
)

// What a step of a random history does.
const (
	stepPut = iota
	stepReplace
	stepUrgent // put a command that expires soon
	stepRepeat // put with a key that has been used
	stepAsk
	stepUndo // put commands and undo that
	stepWork // the device carries out what has come, each command as drawn
	stepDial
	stepVanish
	stepStorm
	stepCancel
	stepSleep
	stepClock
	stepCrash
	stepTorn
	stepKinds
)

// What a device does with a command.
const (
	doReply = iota
	doReplyTwice
	doForeign // reply to another epoch first
	doNoReply
	doFail
	doRetry
	doMore
	doIgnore
	doKinds
)

// A step is one of a random history.
type step struct{ kind, n int }

// A world is a server with a device that remembers the last command that it has
// done, as it should.
type world struct {
	t    *testing.T
	disk *dogtest.Disk // nil: the store is in memory
	s    *site
	skew atomic.Int64
	cut  bool // the disk may have failed

	links   []*peer  // the newest last
	come    []string // the commands that have come, by number; "" for those that have not
	last    int      // done by the device
	epoch   string
	said    map[int]string // by the device, of each number
	effects map[string]int
	failed  map[string]bool

	put    int
	urgent map[string]bool
	named  map[string]bool // commands that replace others
	ends   map[string]bool // commands that are canceled, if they still wait
	ended  map[string]outbox.Outcome
	asked  map[string]<-chan answer
}

func key(n int) string { return fmt.Sprint("k", n) }

func body(n int) string { return fmt.Sprint("c", n) }

func (w *world) open() {
	var store dog.Store
	if w.disk != nil {
		store = w.disk
	}
	w.s = open(w.t, setup{
		store: store, policy: outbox.Policy{Window: 3, Deliver: 4, Waiting: 12, AckWait: 20 * time.Second},
		clock: func() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) },
	})
	w.links = nil
}

// add puts a command.
func (w *world) add(options ...outbox.Option) {
	n := w.put + 1
	_, err := w.s.tryPut(body(n), append(options, outbox.Key(key(n)))...)
	if errors.Is(err, outbox.ErrFull) {
		require.Len(w.t, w.s.waiting(), 12)
		return
	}
	if w.cut && err != nil {
		return
	}
	require.NoError(w.t, err)
	w.put = n
}

// look checks that outcomes do not change.
func (w *world) look() {
	for n := 1; n <= w.put; n++ {
		o := w.s.outcome(key(n))
		if before, ended := w.ended[key(n)]; ended {
			require.Equal(w.t, before, o)
		} else if o.State != outbox.Waiting {
			w.ended[key(n)] = o
		}
	}
	require.LessOrEqual(w.t, w.s.alarms(), 1)
	waiting := w.s.waiting()
	require.NotContains(w.t, waiting, "undone")
	require.Len(w.t, waiting, w.s.status().Waiting)
}

// work does what a device does with the commands that have come.
func (w *world) work(p *peer, how int) (any bool) {
	frames := p.frames()
	w.order(frames)
	for _, f := range frames {
		any = true
		if w.epoch == "" {
			w.epoch = f.epoch
		}
		require.Equal(w.t, w.epoch, f.epoch)
		require.Positive(w.t, f.left)
		if said, again := w.said[f.number]; f.number <= w.last {
			if again {
				w.send(p, f, said)
			}
			continue
		}
		if f.before > w.last {
			continue
		}
		do := how % doKinds
		how = how * 31 % 1_000_003 // 0 stays
		switch do {
		case doReply, doReplyTwice, doForeign, doNoReply:
			w.last, w.said[f.number] = f.number, "done"
			w.effects[f.body]++
			if do == doForeign {
				foreign := f
				foreign.epoch = "aaaaaaaaaaaa"
				w.send(p, foreign, "fail")
			}
			for range map[int]int{doNoReply: 0, doReplyTwice: 2, doReply: 1, doForeign: 1}[do] {
				w.send(p, f, "done")
			}
		case doFail:
			w.last, w.said[f.number] = f.number, "fail"
			w.failed[f.body] = true
			w.send(p, f, "fail")
		case doRetry:
			w.send(p, f, "retry")
			return true
		case doMore:
			w.send(p, f, "more")
			return true
		case doIgnore:
			return true
		}
	}
	return any
}

// order checks that commands come for the first time in the order of their
// numbers, and that a number is always that of the same command.
func (w *world) order(frames []frame) {
	for _, f := range frames {
		if f.number < len(w.come) {
			require.Equal(w.t, w.come[f.number], f.body)
			continue
		}
		w.come = append(w.come, make([]string, f.number+1-len(w.come))...)
		w.come[f.number] = f.body
	}
}

// send sends a reply.
func (w *world) send(p *peer, f frame, verdict string) {
	p.send(fmt.Sprintf("r%d %s %s\nof %s", f.number, f.epoch, verdict, f.body))
}

func (w *world) do(s step) {
	switch s.kind {
	case stepPut:
		w.add()
	case stepReplace:
		before := w.put
		if w.add(outbox.Replace("state")); w.put > before || w.cut { // a cut may leave what was not confirmed
			w.named[body(before+1)] = true
		}
	case stepUrgent:
		before := w.put
		if w.add(outbox.TTL(time.Duration(1+s.n%60) * time.Second)); w.put > before {
			w.urgent[body(w.put)] = true
		}
	case stepRepeat:
		if w.put > 0 {
			n := 1 + s.n%w.put
			require.Equal(w.t, w.s.outcome(key(n)), w.s.put("repeated", outbox.Key(key(n))))
		}
	case stepAsk:
		if w.put > 0 {
			k := key(1 + s.n%w.put)
			w.asked[k] = w.s.ask(0, "repeated", outbox.Key(k))
		}
	case stepUndo:
		w.s.with(func(_ context.Context, d *Device) error {
			undone := errors.New("undone")
			err := d.Storage().Transaction(func() error {
				for n := range 1 + s.n%3 {
					_, err := d.Commands.Put("undone", outbox.Replace("state"), outbox.Key(fmt.Sprint("u", n)))
					if err != nil {
						return err
					}
				}
				return undone
			})
			if !errors.Is(err, outbox.ErrFull) {
				require.ErrorIs(w.t, err, undone)
			}
			return nil
		})
	case stepWork:
		for _, p := range w.links {
			w.work(p, s.n)
		}
	case stepDial:
		if p := w.dial(); p != nil {
			w.links = append(w.links, p)
		}
	case stepVanish:
		if len(w.links) > 0 {
			w.links[s.n%len(w.links)].vanish()
		}
	case stepStorm:
		for range 8 {
			w.dial().vanish()
		}
	case stepCancel:
		if w.put > 0 {
			n := 1 + s.n%w.put
			w.ends[body(n)] = true
			_, err := dog.Call(w.t.Context(), w.s.devices.Named("d"), (*Device).Cancel, key(n))
			require.True(w.t, err == nil || w.cut)
		}
	case stepSleep:
		time.Sleep(time.Duration(s.n%40) * time.Second)
	case stepClock:
		w.skew.Store(int64(time.Duration(s.n%120-60) * time.Minute))
	case stepCrash, stepTorn:
		if w.disk == nil {
			break
		}
		if s.kind == stepCrash {
			w.disk.Crash()
		} else {
			w.disk.CrashTorn(uint64(s.n))
		}
		w.open()
	}
	synctest.Wait()
}

// drain lets a device that does everything do what is left.
func (w *world) drain() {
	w.skew.Store(0)
	for range 100 {
		p := w.dial()
		for w.work(p, doReply) {
		}
		p.vanish()
		if len(w.s.waiting()) == 0 {
			return
		}
		time.Sleep(time.Minute)
	}
	require.Fail(w.t, "commands are left", "%v", w.s.waiting())
}

// check checks what has become of everything.
func (w *world) check() {
	w.look()
	dead := w.s.dead()
	newest := 0
	for n := 1; n <= w.put+1; n++ {
		if w.named[body(n)] {
			newest = n
		}
	}
	for n := 1; n <= w.put; n++ {
		o, text := w.ended[key(n)], body(n)
		require.LessOrEqual(w.t, w.effects[text], 1, text)
		switch o.State {
		case outbox.Done:
			require.Equal(w.t, 1, w.effects[text], text)
			require.Equal(w.t, "of "+text, o.Reply.String())
		case outbox.Failed:
			require.True(w.t, w.failed[text], text)
		case outbox.Expired:
			require.True(w.t, w.urgent[text], text)
		case outbox.Dead:
			require.Contains(w.t, dead, text)
		case outbox.Canceled:
			require.True(w.t, w.ends[text], text)
		case outbox.Replaced:
			require.True(w.t, w.named[text], text)
			require.NotEqual(w.t, newest, n)
		default:
			require.Fail(w.t, "no outcome", "%s: %v", text, o)
		}
	}
	for k, got := range w.asked {
		select {
		case a := <-got:
			if a.err == nil {
				require.Equal(w.t, outbox.Done, w.ended[k].State)
				require.Equal(w.t, w.ended[k].Reply.String(), a.reply)
			}
		default:
			require.Fail(w.t, "an asker still waits", k)
		}
	}
}

// Whatever happens, each command that was put has one outcome, that outcome is
// true, and a device that remembers its last command does each once.
func TestQueue_RandomHistories(t *testing.T) {
	steps := rapid.Custom(func(t *rapid.T) step {
		return step{rapid.IntRange(0, stepKinds-1).Draw(t, "kind"), rapid.IntRange(0, 1<<20).Draw(t, "n")}
	})
	rapid.Check(t, func(rt *rapid.T) {
		crashes := rapid.IntRange(0, 3).Draw(rt, "crashes") == 0 // a disk takes a hundred times as long
		most := 60
		if crashes {
			most = 20
		}
		plan := rapid.SliceOfN(steps, 1, most).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) { play(t, crashes, plan) })
	})
}

// play plays a history. Without crashes, the store is in memory.
func play(t *testing.T, crashes bool, plan []step) {
	w := newWorld(t)
	if crashes {
		w.disk = dogtest.NewDisk(t)
	}
	w.open()
	for _, s := range plan {
		w.do(s)
		w.look()
	}
	w.drain()
	w.check()
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, said: map[int]string{}, effects: map[string]int{}, failed: map[string]bool{},
		urgent: map[string]bool{}, named: map[string]bool{}, ended: map[string]outbox.Outcome{},
		ends: map[string]bool{}, asked: map[string]<-chan answer{},
	}
}

// The power is cut after each step of a history that has everything in it.
func TestQueue_PowerCutAfterEachStep(t *testing.T) {
	plan := []step{
		{stepPut, 0}, {stepDial, 0}, {stepPut, 0}, {stepReplace, 0}, {stepWork, doNoReply}, {stepReplace, 0},
		{stepWork, doReply}, {stepUrgent, 10}, {stepAsk, 1}, {stepWork, doRetry}, {stepSleep, 5}, {stepPut, 0},
		{stepVanish, 0}, {stepDial, 0}, {stepWork, doReplyTwice}, {stepSleep, 20}, {stepWork, doFail}, {stepPut, 0},
	}
	for i := range plan {
		for _, cut := range []step{{stepCrash, 0}, {stepTorn, i}} {
			steps := slices.Insert(slices.Clone(plan), i+1, cut, step{stepDial, 0})
			synctest.Test(t, func(t *testing.T) { play(t, true, steps) })
		}
	}
}
