package presence_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/inflight"
	"github.com/godurable/dog/internal/presence"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
)

// owner is an owner that notes what is delivered, and when.
type owner struct {
	epoch time.Time
	work  *inflight.Work
	fail  error
	busy  time.Duration // how long it takes until the owner is ready

	engine store.Engine

	at     []time.Duration // of the deliveries, since the epoch
	counts []int           // members after what was delivered; -1: there was nothing any more
}

func (o *owner) Now() presence.Time { return presence.Time(time.Since(o.epoch)) }

func (o *owner) Work() *inflight.Work { return o.work }

func (o *owner) Store() (store.Engine, store.Base) { return o.engine, store.Base{} }

func (o *owner) Deliver(take func() *presence.Change, handled func()) error {
	time.Sleep(o.busy)
	o.at = append(o.at, time.Since(o.epoch))
	if c := take(); c != nil {
		o.counts = append(o.counts, c.Count)
	} else {
		o.counts = append(o.counts, -1)
	}
	handled()
	return o.fail
}

func newAttendance() (*presence.Attendance, *owner) {
	return newProcess(storetest.New(), presence.Config{Grace: 10 * time.Second, Every: time.Second})
}

// newProcess returns the list of an owner of a process.
func newProcess(e store.Engine, c presence.Config) (*presence.Attendance, *owner) {
	o := &owner{epoch: time.Now(), work: inflight.New(), engine: e}
	return presence.NewAttendance(o, c), o
}

// elapse lets time pass and waits until all goroutines are idle.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAttendance_DeliversWhenAChangeHasWaitedForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, o := newAttendance()
		a.Enter("ada")
		elapse(time.Second / 2)
		a.Enter("bob")
		a.Exit("bob")
		elapse(time.Minute)
		require.Equal(t, []time.Duration{time.Second, 10500*time.Millisecond + time.Second}, o.at)
		require.Equal(t, []int{2, 1}, o.counts)
		require.Equal(t, []presence.Member{{UID: "ada"}}, a.Page("", 10))
		require.Equal(t, 1, a.Count())
		a.Exit("ada")
		elapse(time.Minute)
		require.Equal(t, []int{2, 1, 0}, o.counts)
		require.False(t, a.Busy())
	})
}

func TestAttendance_PausesLongerAfterEachFailureUpToAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, o := newAttendance()
		o.fail = errors.New("no")
		a.Enter("ada")
		elapse(4 * time.Minute)
		var seconds []float64
		for _, at := range o.at {
			seconds = append(seconds, at.Seconds())
		}
		require.Equal(t, []float64{1, 2, 4, 8, 16, 32, 64, 124, 184}, seconds)
		require.True(t, a.Busy())
		o.fail = nil
		a.Enter("bob")
		elapse(time.Minute)
		require.Equal(t, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}, o.counts, "bob after the change that had failed")
	})
}

func TestAttendance_ChangeThatIsUndoneBeforeTheOwnerIsReadyIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, o := newAttendance()
		a.Enter("ada")
		elapse(time.Minute)
		o.busy = 20 * time.Second
		a.Exit("ada")
		elapse(15 * time.Second) // it is due, and the owner is busy
		a.Enter("ada")
		elapse(time.Minute)
		require.Equal(t, []int{1, -1}, o.counts)
		require.Equal(t, 1, a.Count())
		a.Exit("ada")
		elapse(time.Minute)
		require.Equal(t, []int{1, -1, 0}, o.counts)
	})
}

func TestAttendance_DeliversNothingWhenItsWorkIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, o := newAttendance()
		o.busy = 20 * time.Second
		a.Enter("ada")
		elapse(10 * time.Second)
		o.work.Close()
		o.work.Wait()
		require.Equal(t, []int{-1}, o.counts)
		a.Enter("bob")
		a.Exit("ada")
		elapse(time.Minute)
		require.Len(t, o.counts, 1)
		require.Equal(t, 2, a.Count(), "nobody leaves any more")
		require.True(t, a.Busy(), "the list is to be stored")
	})
}

func TestAttendance_NilHasNoMembers(t *testing.T) {
	var a *presence.Attendance
	a.Enter("ada")
	a.Set("ada", "1")
	a.Exit("ada")
	require.Empty(t, a.Page("", 10))
	require.Zero(t, a.Count())
	require.False(t, a.Busy())
}
