package main

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/dogtest"
)

func TestRollout_GoesToAPartOfTheDevicesAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		began := time.Now()
		s.roll(Rollout{Command: "version", To: "north-*", Rate: 2, Abort: 50})
		r := s.ends()
		require.Equal(t, "done", r.State)
		require.Equal(t, 10, r.Done)
		require.Zero(t, r.Failed)
		require.GreaterOrEqual(t, time.Since(began), 5*time.Second)
		require.Less(t, time.Since(began), 10*time.Second)

		s.roll(Rollout{Command: "version", To: "#canary", Rate: 2, Abort: 50})
		require.Equal(t, 4, s.ends().Done, "another one may follow, to a tag")
		s.roll(Rollout{Command: "version", To: "*", Rate: 1000, Abort: 50})
		require.Equal(t, 40, s.ends().Done, "and to all")
	})
}

func TestRollout_ToANameIsNotForLongerNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.devices = newDevices(2, dogtest.URL, &http.Client{Transport: s}, false)
		for i, name := range []string{"door-1", "door-10"} {
			s.devices[i].name, s.devices[i].url = name, dogtest.URL+"/devices/"+name
		}
		s.connect(s.devices)
		s.roll(Rollout{Command: "version", To: "door-1", Rate: 1000, Abort: 50})
		require.Equal(t, 1, s.ends().Done)
		require.Equal(t, "done", s.row("door-1").State)
		require.Empty(t, s.row("door-10").State)
		s.roll(Rollout{Command: "version", To: "door-1*", Rate: 1000, Abort: 50})
		require.Equal(t, 2, s.ends().Done)
	})
}

func TestRollout_GoesToAThousandDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 1000)
		s.roll(Rollout{Command: "version", To: "*", Rate: 1000, Abort: 1})
		require.Equal(t, 1000, s.ends().Done)
	})
}

func TestRollout_ReachesDevicesThatComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40, true)
		before := time.Now()
		s.roll(Rollout{Command: "update", To: "*", Rate: 1, Abort: 101})
		require.Equal(t, "done", s.ends().State)
		came := 0
		for _, row := range s.fresh().Rows {
			if !row.Online || row.Since.After(before) {
				came++
			}
		}
		require.NotZero(t, came)
		s.requireUpdated()
	})
}

func TestRollout_EndsWhenTooManyFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		s.roll(Rollout{Command: "explode", To: "*", Rate: 5, Abort: 20})
		r := s.ends()
		require.Equal(t, "aborted", r.State)
		require.GreaterOrEqual(t, r.Failed, 10)
		require.Less(t, r.Failed, 20)
		require.Equal(t, 40, r.Failed+r.Left+r.Spared)
	})
}

// An operator stops a rollout. Which devices have answered what, and that it is
// stopped, is still known after a crash.
func TestRollout_IsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		s.roll(Rollout{Command: "explode", To: "*", Rate: 3, Abort: 101})
		time.Sleep(3500 * time.Millisecond)
		s.page.Send(action{Do: "stop"})
		r := s.ends()
		require.Equal(t, "stopped", r.State)
		require.Equal(t, 9, r.Failed)
		require.Equal(t, 31, r.Spared)
		require.Zero(t, r.Left)
		s.disk.Crash()
		s.start()
		time.Sleep(time.Minute)
		all := s.fresh()
		require.Equal(t, r, *all.Rollout)
		failed := 0
		for _, row := range all.Rows {
			if row.State == "failed" {
				failed++
				require.Contains(t, row.Answer, "does not know")
			} else {
				require.Empty(t, row.State)
			}
		}
		require.Equal(t, 9, failed)
		s.roll(Rollout{Command: "version", To: "*", Rate: 50, Abort: 101})
		require.Equal(t, 40, s.ends().Done, "another one may follow")
	})
}

// The orders that devices have when a rollout is stopped are counted, also
// after a crash.
func TestRollout_CountsWhatIsUnderWayWhenItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiteOf(t, 40, 0)
		s.roll(Rollout{Command: "version", To: "*", Rate: 4, Abort: 101})
		time.Sleep(2500 * time.Millisecond)
		s.disk.Crash()
		s.start()
		s.page.Send(action{Do: "stop"})
		r := s.ends()
		require.Equal(t, 32, r.Spared)
		require.Equal(t, 8, r.Left)
		s.disk.Crash()
		s.start()
		time.Sleep(2 * time.Minute)
		r = *s.fresh().Rollout
		require.Equal(t, "stopped", r.State)
		require.Equal(t, 8, r.Failed, "they have expired")
		require.Zero(t, r.Left)
	})
}

// An order of a rollout that was stopped ends in its row, although another
// rollout has begun.
func TestRollout_ShowsTheEndOfEarlierOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiteOf(t, 40, 0)
		s.roll(Rollout{Command: "version", To: "north-0000*", Rate: 4, Abort: 101})
		time.Sleep(1500 * time.Millisecond)
		s.page.Send(action{Do: "stop"})
		earlier := s.ends()
		require.Equal(t, 4, earlier.Left)
		s.roll(Rollout{Command: "version", To: "north-0001*", Rate: 1000, Abort: 101})
		time.Sleep(2 * time.Minute)
		v := s.fresh()
		require.Equal(t, 10, v.Rollout.Failed)
		failed := 0
		for _, row := range v.Rows {
			if row.Order == earlier.ID && row.State == "failed" {
				failed++
			}
		}
		require.Equal(t, 4, failed)
	})
}

func TestRollout_IsNotThatOfAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		s.roll(Rollout{Command: "explode", To: "*", Rate: 5, Abort: 20})
		require.Equal(t, "aborted", s.ends().State)
		s.roll(Rollout{Command: "version", To: "west-*", Rate: 5, Abort: 20})
		r := s.ends()
		require.Equal(t, "done", r.State)
		require.Equal(t, 10, r.Done)
		require.Zero(t, r.Failed+r.Left)
		for _, row := range s.fresh().Rows {
			require.Equal(t, strings.HasPrefix(row.Device, "west-"), row.Order == r.ID, row.Device)
		}
	})
}

func TestRollout_TakesItsTimeWhenTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiteOf(t, 40, 20)
		s.roll(Rollout{Command: "version", To: "*", Rate: 50, Abort: 101})
		time.Sleep(2 * time.Minute)
		require.Equal(t, 40, s.ends().Failed, "none of them is there")
	})
}

func TestRollout_GoesOnAfterTheDiskWasFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 3)
		s.roll(Rollout{Command: "update", To: "*", Rate: 10, Abort: 101})
		synctest.Wait()
		s.disk.Fill()
		time.Sleep(5 * time.Second)
		s.disk.Free()
		time.Sleep(2 * time.Minute) // more than outbox.Policy.AckWait, and than the order waits
		require.Equal(t, "done", s.ends().State)
		s.requireUpdated()
	})
}

func TestRollout_WaitsForDevicesThatAreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 3)
		late := newDevices(5, dogtest.URL, &http.Client{Transport: s}, false)[3:]
		// They are known from before.
		for _, d := range late {
			c := s.server.Load().Dial("/devices/" + d.name)
			synctest.Wait()
			code, _ := c.Closed() // it does not speak dog.v1, and is refused after it has reported
			require.NotZero(t, code)
		}
		s.roll(Rollout{Command: "version", To: "*", Rate: 10, Abort: 50})
		time.Sleep(10 * time.Second)
		s.connect(late[:1])
		time.Sleep(time.Minute)
		r := s.ends()
		require.Equal(t, 4, r.Done)
		require.Equal(t, 1, r.Failed, "its order has expired")
		require.Contains(t, s.row(late[1].name).Answer, "expired")
	})
}

// The server crashes while a rollout is under way. Each device carries the
// command out once.
func TestRollout_GoesOnAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		s.roll(Rollout{Command: "update", To: "*", Rate: 5, Abort: 101})
		time.Sleep(3500 * time.Millisecond)
		s.disk.Crash()
		s.start()
		require.Equal(t, "done", s.ends().State)
		s.requireUpdated()
	})
}

func TestRollout_IsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 1)
		refused := func(r Rollout) string { return s.refused(action{Do: "start", Rollout: r}) }
		require.Contains(t, s.refused("nonsense"), "nonsense")
		require.Contains(t, refused(Rollout{To: "*", Rate: 1, Abort: 1}), "needs a command")
		require.Contains(t, refused(Rollout{Command: "update", To: "*", Abort: 1}), "a rate")
		require.Contains(t, refused(Rollout{Command: "update", To: "*", Rate: 1001, Abort: 1}), "1 to 1,000")
		for _, to := range []string{"", "north", "south-*", "#north", "#"} {
			require.Contains(t, refused(Rollout{Command: "update", To: to, Rate: 1, Abort: 1}), "no device")
		}
		s.roll(Rollout{Command: "version", To: "*", Rate: 1, Abort: 1})
		require.Contains(t, refused(Rollout{Command: "update", To: "*", Rate: 1, Abort: 1}), "another rollout")
	})
}
