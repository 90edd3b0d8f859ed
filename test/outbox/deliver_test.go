package outbox_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
)

func TestQueue_DeviceGetsCommandsInOrderWhenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		for i, body := range []string{"a", "b", "c"} {
			require.EqualValues(t, i+1, s.put(body).Number)
		}
		d := s.dial()
		for i, body := range []string{"a", "b", "c"} {
			f := d.one()
			require.Equal(t, body, f.body)
			require.Equal(t, i+1, f.number)
			require.Zero(t, f.before)
			d.reply(f, "done", "")
		}
		require.Empty(t, d.frames())
		s.put("d")
		require.Equal(t, []string{"d"}, d.bodies())
	})
}

func TestQueue_CommandSurvivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		s := open(t, setup{store: disk})
		s.put("a")
		d := s.dial()
		f := d.one()
		disk.Crash()
		s = open(t, setup{store: disk})
		d = s.dial()
		again := d.one()
		require.Equal(t, f.number, again.number)
		require.Equal(t, f.epoch, again.epoch)
		d.reply(again, "done", "")
		require.Empty(t, s.waiting())
		time.Sleep(time.Hour)
		require.Empty(t, d.frames())
	})
}

func TestQueue_WindowIsAPrefixOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Window: 3}})
		for _, body := range []string{"a", "b", "c", "d", "e"} {
			s.put(body)
		}
		d := s.dial()
		all := d.frames()
		require.Equal(t, []string{"a", "b", "c"}, bodiesOf(all))
		require.Equal(t, []int{0, 1, 2}, []int{all[0].before, all[1].before, all[2].before})
		d.reply(all[1], "done", "") // out of order, as no good device does
		require.Equal(t, []string{"d"}, d.bodies())
		d.reply(all[0], "done", "")
		require.Equal(t, []string{"e"}, d.bodies())
		require.Equal(t, []string{"c", "d", "e"}, s.waiting())
	})
}

func TestQueue_RetryGoesBackToTheFirstCommandAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Window: 2}})
		s.put("a")
		s.put("b")
		d := s.dial()
		d.reply(d.frames()[0], "retry", "busy")
		s.put("c")
		time.Sleep(time.Second - time.Millisecond)
		require.Empty(t, d.frames())
		time.Sleep(time.Millisecond)
		all := d.frames()
		require.Equal(t, []string{"a", "b"}, bodiesOf(all))
		require.Equal(t, []int{0, 1}, []int{all[0].before, all[1].before})
		d.reply(all[0], "retry", "busy")
		time.Sleep(2*time.Second - time.Millisecond)
		require.Empty(t, d.frames())
		time.Sleep(time.Millisecond)
		require.Equal(t, []string{"a", "b"}, d.bodies())
	})
}

func TestQueue_RefusedCommandBecomesADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("poison", outbox.Key("k"))
		s.put("next")
		d := s.dial()
		var pauses []time.Duration
		for last := time.Now(); ; {
			f := d.one()
			if f.body == "next" {
				break
			}
			d.reply(f, "retry", "no")
			for len(s.dead()) == 0 && d.quiet() {
				time.Sleep(time.Second)
			}
			pauses = append(pauses, time.Since(last))
			last = time.Now()
		}
		const sec = time.Second
		require.Equal(t, []time.Duration{
			1 * sec, 2 * sec, 4 * sec, 8 * sec, 16 * sec, 32 * sec, 64 * sec, 128 * sec, 256 * sec, 300 * sec,
		}, pauses)
		require.Equal(t, []string{"poison"}, s.dead())
		require.Equal(t, outbox.Dead, s.outcome("k").State)
	})
}

func TestQueue_SilenceSendsAgainAndMoreIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{policy: outbox.Policy{Window: 2, Deliver: 3}})
		s.put("a")
		s.put("b")
		d := s.dial()
		f := d.frames()[0]
		time.Sleep(20 * time.Second)
		d.reply(f, "more", "")
		time.Sleep(29 * time.Second)
		require.Empty(t, d.frames())
		time.Sleep(time.Second)
		require.Equal(t, []string{"a", "b"}, d.bodies()) // 30 s after the sign of life
		time.Sleep(30 * time.Second)
		require.Equal(t, []string{"a", "b"}, d.bodies())
		require.Empty(t, s.dead())
		time.Sleep(30 * time.Second)
		require.Equal(t, []string{"b"}, d.bodies(), "silence counts against the first one only")
		require.Equal(t, []string{"a"}, s.dead())
	})
}

func TestQueue_ConnectingSendsAgainAtOnceAndStormsCostNoDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("a")
		for range 50 {
			d := s.dial()
			require.Equal(t, []string{"a"}, d.bodies())
			d.Vanish()
			time.Sleep(100 * time.Millisecond)
		}
		require.Empty(t, s.dead())
		require.Equal(t, []string{"a"}, s.waiting())
		// It makes the device crash, which comes back each minute.
		for range 12 {
			d := s.dial()
			d.frames()
			d.Vanish()
			time.Sleep(6 * time.Minute)
		}
		require.Equal(t, []string{"a"}, s.dead())
	})
}

func TestQueue_RepliesThatFitNothingAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("a", outbox.Key("a"))
		s.put("b")
		page := s.connect("page")
		d := s.dial()
		f := d.one()
		page.Send("y")
		page.reply(f, "done", "I am not the device")
		foreign := f
		foreign.epoch = "aaaaaaaaaaaa"
		d.reply(foreign, "done", "of another epoch")
		unknown := f
		unknown.number = 77
		d.reply(unknown, "done", "")
		d.reply(f, "perhaps", "of a later version")
		require.Equal(t, []string{"a", "b"}, s.waiting())
		require.Empty(t, page.frames())

		d.reply(f, "done", "first")
		d.reply(f, "fail", "twice")
		require.Equal(t, []string{"b"}, d.bodies())
		o := s.outcome("a")
		require.Equal(t, outbox.Done, o.State)
		require.Equal(t, "first", o.Reply.String())
		require.Equal(t, []string{"b"}, s.waiting())

		d.Send("r2 done")
		code, _ := d.Closed()
		require.Equal(t, 4003, code)
		require.Equal(t, []string{"b"}, s.waiting())
	})
}

func TestQueue_BodiesAndRepliesKeepTheirTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put([]byte("\x00\n\xff"), outbox.Key("k"))
		s.put(map[string]int{"n": 1})
		d := s.dial()
		f := d.one()
		require.Equal(t, dog.Binary, f.typ)
		require.Equal(t, "\x00\n\xff", f.body)
		d.Send([]byte("r1 " + f.epoch + " done\n\xfe\n"))
		f = d.one()
		require.Equal(t, dog.Text, f.typ)
		require.Equal(t, `{"n":1}`, f.body)
		require.Equal(t, dog.Message{Type: dog.Binary, Data: []byte("\xfe\n")}, s.outcome("k").Reply)
	})
}
