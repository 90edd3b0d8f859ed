package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// A site is a server with devices and an operator.
type site struct {
	t       *testing.T
	disk    *dogtest.Disk
	waiting int // Options.MaxWaiting
	server  atomic.Pointer[dogtest.Server]
	page    *dogtest.Client
	answers []string // before the latest end of a rollout
	devices []*simulated
	stops   []func() // the devices
}

// RoundTrip sends a request to the server that runs.
func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	return s.server.Load().Client().Transport.RoundTrip(r)
}

// newSite returns a site whose devices are connected until the test ends.
func newSite(t *testing.T, devices int) *site {
	s := &site{t: t, disk: dogtest.NewDisk(t)}
	s.start()
	s.devices = newDevices(devices, dogtest.URL, &http.Client{Transport: s}, false)
	s.connect(s.devices)
	return s
}

// connect connects devices and waits until they are.
func (s *site) connect(devices []*simulated) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		simulate(ctx, devices)
	}()
	s.stops = append(s.stops, func() {
		stop()
		<-ended
	})
	time.Sleep(5 * time.Second)
	synctest.Wait()
}

// start runs the server on the disk, and opens the page.
func (s *site) start() {
	rt := dogtest.New(s.t, dog.Options{Store: s.disk, MaxWaiting: s.waiting})
	handler, err := newServer(rt)
	require.NoError(s.t, err)
	s.server.Store(dogtest.Serve(s.t, handler))
	s.page = s.server.Load().Dial("/operate")
	s.t.Cleanup(s.leave) // before the server ends
}

// leave ends all devices.
func (s *site) leave() {
	for _, stop := range s.stops {
		stop()
	}
	s.stops = nil
}

// rows returns the rows that a fresh page gets.
func (s *site) rows(devices int) (all []Row) {
	fresh := s.server.Load().Dial("/operate")
	for len(all) < devices {
		var e event
		fresh.ReceiveJSON(&e)
		all = append(all, e.Rows...)
	}
	require.Len(s.t, all, devices)
	return all
}

// newSiteOf returns a site that knows devices, all of which are away.
func newSiteOf(t *testing.T, devices, waiting int) *site {
	s := &site{t: t, disk: dogtest.NewDisk(t), waiting: waiting}
	before, err := dog.RegisterObject[Fleet](dogtest.New(t, dog.Options{Store: s.disk}), "fleet", nil)
	require.NoError(t, err)
	for i := range devices {
		report := Report{Device: fmt.Sprintf("north-%05d", i)}
		require.NoError(t, dog.CallErr(t.Context(), before.Named("all"), (*Fleet).Report, report))
	}
	s.disk.Crash()
	s.start()
	return s
}

// ends returns the state of the rollout when it has ended.
func (s *site) ends() Rollout {
	for s.answers = nil; ; {
		var e event
		s.page.ReceiveJSON(&e)
		if e.Rollout != nil && e.Rollout.State != "running" {
			return *e.Rollout
		}
		if e.Answer != "" {
			s.answers = append(s.answers, e.Answer)
		}
	}
}

func TestDevices_ReportWhetherTheyAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 3)
		fresh := s.server.Load().Dial("/operate")
		var all event
		fresh.ReceiveJSON(&all)
		require.Len(t, all.Rows, 3)
		for _, row := range all.Rows {
			require.NotZero(t, row.Since)
			require.Zero(t, row.Waiting)
		}
		require.Equal(t, "east-0002", all.Rows[0].Device)
		require.Nil(t, all.Rollout)
	})
}

func TestDevices_AreConnectedHoweverQuietUntilTheServerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 3)
		s.page.Close(1000, "")
		time.Sleep(10 * time.Minute)
		for _, row := range s.rows(3) {
			require.NotZero(t, row.Since, row.Device)
		}
		s.disk.Crash()
		s.leave()
		s.start()
		for _, row := range s.rows(3) {
			require.Zero(t, row.Since, row.Device)
			require.NotZero(t, row.Last, row.Device)
		}
	})
}

func TestDevices_FitInThePageHoweverManyTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiteOf(t, 3000, 0)
		rows := s.rows(3000)
		require.Equal(t, "north-02999", rows[len(rows)-1].Device)
	})
}

func TestDevice_WorksWhileTheFleetDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})
		devices, err := dog.RegisterObject[Device](rt, "device", nil) // each report fails
		require.NoError(t, err)
		s := &site{t: t}
		s.server.Store(dogtest.Serve(t, http.HandlerFunc(devices.Named("a").ServeHTTP)))
		t.Cleanup(s.leave)
		s.connect(newDevices(1, dogtest.URL, &http.Client{Transport: s}, false))
		answer, err := dog.Call(t.Context(), devices.Named("a"), (*Device).Do, Order{"1", "version"})
		require.NoError(t, err)
		require.Equal(t, "version 0", answer)
	})
}

func TestRollout_GoesToAPartOfTheDevicesAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		began := time.Now()
		s.page.Send(Rollout{Command: "version", To: "north-", Rate: 2, Abort: 50})
		r := s.ends()
		require.Equal(t, "done", r.State)
		require.Equal(t, 10, r.Done)
		require.Zero(t, r.Failed)
		require.GreaterOrEqual(t, time.Since(began), 5*time.Second)
		require.Less(t, time.Since(began), 10*time.Second)

		s.page.Send(Rollout{Command: "version", To: "north-0004", Rate: 2, Abort: 50})
		require.Equal(t, 1, s.ends().Done, "another one may follow")
	})
}

func TestRollout_EndsWhenTooManyFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		s.page.Send(Rollout{Command: "explode", Rate: 5, Abort: 20})
		r := s.ends()
		require.Equal(t, "aborted", r.State)
		require.GreaterOrEqual(t, r.Failed, 10)
		require.Less(t, r.Failed, 20)
		require.Equal(t, 40, r.Failed+r.Left)
	})
}

func TestRollout_IsNotThatOfAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		s.page.Send(Rollout{Command: "explode", Rate: 5, Abort: 20})
		require.Equal(t, "aborted", s.ends().State)
		s.page.Send(Rollout{Command: "version", To: "west-", Rate: 5, Abort: 20})
		r := s.ends()
		require.Equal(t, "done", r.State)
		require.Equal(t, 10, r.Done)
		require.Zero(t, r.Failed+r.Left)
		require.Len(t, s.answers, 10)
		for _, answer := range s.answers {
			require.Contains(t, answer, "west-")
		}
	})
}

func TestRollout_TakesItsTimeWhenTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiteOf(t, 40, 20)
		s.page.Send(Rollout{Command: "version", Rate: 50, Abort: 101})
		time.Sleep(2 * time.Minute)
		require.Equal(t, 40, s.ends().Failed, "none of them is there")
	})
}

func TestRollout_GoesOnAfterTheDiskWasFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 3)
		s.page.Send(Rollout{Command: "version", Rate: 10, Abort: 50})
		synctest.Wait()
		s.disk.Fill()
		time.Sleep(5 * time.Second)
		s.disk.Free()
		time.Sleep(2 * time.Minute) // more than outbox.Policy.AckWait, and than the order waits
		r := s.ends()
		require.Equal(t, 3, r.Done+r.Failed)
	})
}

func TestFleet_StoresWhatPagesMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleets, err := dog.RegisterObject[Fleet](dogtest.New(t, dog.Options{}), "fleet", nil)
		require.NoError(t, err)
		out := dogtest.Run(t, fleets.Named("all"), func(ctx context.Context, f *Fleet) error {
			if err := f.targets().Put("north", "1"); err != nil {
				return err
			}
			for f.Broadcast("x") == nil { // until no more is held
			}
			return errors.Join(f.Report(ctx, Report{Device: "north"}), f.save(Rollout{ID: "1"}))
		})
		require.NoError(t, out.Err)
		require.Contains(t, out.Stored, "seen/north")
		require.Contains(t, out.Stored, "rollout")
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
		s.page.Send(Rollout{Command: "version", Rate: 10, Abort: 50})
		time.Sleep(10 * time.Second)
		s.connect(late[:1])
		time.Sleep(time.Minute)
		r := s.ends()
		require.Equal(t, 4, r.Done)
		require.Equal(t, 1, r.Failed, "its order has expired")
	})
}

// The server crashes while a rollout is under way. Each device carries the
// command out once.
func TestRollout_GoesOnAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 40)
		s.page.Send(Rollout{Command: "update", Rate: 5, Abort: 100})
		time.Sleep(3500 * time.Millisecond)
		s.disk.Crash()
		s.start()
		r := s.ends()
		require.Equal(t, 40, r.Done+r.Failed)
		updated := 0
		for _, d := range s.devices {
			require.LessOrEqual(t, d.version, 1, d.name)
			updated += d.version
		}
		require.Equal(t, r.Done, updated)
	})
}

func TestRollout_IsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 1)
		refused := func(order any) string {
			s.page.Send(order)
			for {
				var e event
				s.page.ReceiveJSON(&e)
				if e.Refused != "" {
					return e.Refused
				}
			}
		}
		require.Contains(t, refused("nonsense"), "needs a command")
		require.Contains(t, refused(Rollout{Command: "update", Abort: 1}), "a rate")
		require.Contains(t, refused(Rollout{Command: "update", Rate: 1001, Abort: 1}), "1 to 1,000")
		s.page.Send(Rollout{Command: "version", Rate: 1, Abort: 1})
		require.Contains(t, refused(Rollout{Command: "update", Rate: 1, Abort: 1}), "another rollout")
	})
}

func TestProgram_Runs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	require.ErrorContains(t, run(t.Context(), listener.Addr().String(), t.TempDir()), "address already in use")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, run(ctx, "127.0.0.1:0", t.TempDir()))
}
