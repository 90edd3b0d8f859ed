package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
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
	ended   string // the ID of the latest rollout that has ended
	devices []*simulated
	stops   []func() // the devices
}

// RoundTrip sends a request to the server that runs.
func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	return s.server.Load().Client().Transport.RoundTrip(r)
}

// newSite returns a site whose devices are connected until the test ends.
func newSite(t *testing.T, devices int, flaky ...bool) *site {
	s := &site{t: t, disk: dogtest.NewDisk(t)}
	s.start()
	s.devices = newDevices(devices, dogtest.URL, &http.Client{Transport: s}, len(flaky) > 0)
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

// fresh returns what a fresh page gets.
func (s *site) fresh() (all event) {
	page := s.server.Load().Dial("/operate")
	synctest.Wait()
	for i, m := range page.Received() {
		var e event
		require.NoError(s.t, m.Decode(&e))
		require.Equal(s.t, i == 0, e.Fresh)
		all.Rows = append(all.Rows, e.Rows...)
		if e.Rollout != nil {
			all.Rollout = e.Rollout
		}
	}
	return all
}

// row returns the row of a device, as a fresh page gets it.
func (s *site) row(device string) Row {
	rows := s.fresh().Rows
	i := slices.IndexFunc(rows, func(r Row) bool { return r.Device == device })
	require.GreaterOrEqual(s.t, i, 0, device)
	return rows[i]
}

// newSiteOf returns a site that knows devices, all of which are away.
func newSiteOf(t *testing.T, devices, waiting int) *site {
	s := &site{t: t, disk: dogtest.NewDisk(t), waiting: waiting}
	before, err := dog.RegisterObject[Fleet](dogtest.New(t, dog.Options{Store: s.disk}), "fleet", nil)
	require.NoError(t, err)
	for i := range devices {
		report := Report{Device: fmt.Sprintf("north-%05d", i), Online: true}
		require.NoError(t, dog.CallErr(t.Context(), before.Named("all"), (*Fleet).Report, report))
	}
	s.disk.Crash()
	s.start()
	return s
}

// roll begins a rollout.
func (s *site) roll(r Rollout) { s.page.Send(action{Do: "start", Rollout: r}) }

// refused does what is refused, and returns why.
func (s *site) refused(what any) string {
	s.page.Send(what)
	for {
		var e event
		s.page.ReceiveJSON(&e)
		if e.Refused != "" {
			return e.Refused
		}
	}
}

// ends returns the rollout once it has ended.
func (s *site) ends() Rollout {
	for {
		var e event
		s.page.ReceiveJSON(&e)
		if e.Rollout == nil || e.Rollout.ID == s.ended {
			continue
		}
		if state := e.Rollout.State; state != "" && state != "running" {
			s.ended = e.Rollout.ID
			return *e.Rollout
		}
	}
}

// requireUpdated requires that each device has carried out the update once, or
// has failed as it does now and then.
func (s *site) requireUpdated() {
	all := s.fresh()
	require.Len(s.t, all.Rows, len(s.devices))
	s.leave()
	done := 0
	for _, row := range all.Rows {
		i := slices.IndexFunc(s.devices, func(d *simulated) bool { return d.name == row.Device })
		if row.State == "done" {
			done++
			require.Equal(s.t, 1, s.devices[i].version, row.Device)
			require.Equal(s.t, "version 1", row.Answer)
			continue
		}
		require.Equal(s.t, "failed", row.State)
		require.Zero(s.t, s.devices[i].version, row.Device)
		require.Contains(s.t, row.Answer, "worn out")
	}
	require.Equal(s.t, done, all.Rollout.Done)
	require.Equal(s.t, len(s.devices), all.Rollout.Done+all.Rollout.Failed)
}

func TestDevices_ReportWhetherTheyAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 3)
		all := s.fresh()
		require.Len(t, all.Rows, 3)
		for _, row := range all.Rows {
			require.NotZero(t, row.Since)
			require.Zero(t, row.Waiting)
		}
		require.Equal(t, "east-0002", all.Rows[0].Device)
		require.Empty(t, all.Rollout.State)
	})
}

func TestDevices_AreConnectedHoweverQuietUntilTheServerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 3)
		s.page.Close(1000, "")
		time.Sleep(10 * time.Minute)
		for _, row := range s.fresh().Rows {
			require.NotZero(t, row.Since, row.Device)
		}
		s.disk.Crash()
		s.leave()
		s.start()
		for _, row := range s.fresh().Rows {
			require.Zero(t, row.Since, row.Device)
			require.NotZero(t, row.Last, row.Device)
		}
	})
}

func TestDevices_FitInThePageHoweverManyTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiteOf(t, 3000, 0)
		rows := s.fresh().Rows
		require.Len(t, rows, 3000)
		require.Equal(t, "north-02999", rows[len(rows)-1].Device)
	})
}

func TestDevice_WorksWhileTheFleetDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{Store: dogtest.NewDisk(t)})
		options := &dog.ObjectOptions[Device]{New: func() *Device { return &Device{reports: new(atomic.Int64)} }}
		devices, err := dog.RegisterObject(rt, "device", options) // each report fails
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

func TestDevices_HaveTheTagsOfTheirConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 11)
		require.Equal(t, []string{"canary"}, s.row("north-0000").Tags)
		require.Empty(t, s.row("south-0001").Tags)
		s.leave()
		synctest.Wait()
		require.Equal(t, []string{"canary"}, s.row("north-0000").Tags, "also while it is away")

		query := url.Values{}
		for i := range 11 {
			query.Add("tag", fmt.Sprint(i))
		}
		status, why := s.server.Load().Get("/devices/a?" + query.Encode())
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, why, "10 tags")
		status, _ = s.server.Load().Get("/devices/a?tag=" + strings.Repeat("x", 101))
		require.Equal(t, http.StatusBadRequest, status)
	})
}

func TestDevices_AreAsTheirLatestReportSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 2)
		row := s.row("north-0000")
		require.NotZero(t, row.Number)
		require.NotEqual(t, row.Number, s.row("south-0001").Number, "devices share the numbers")

		fleets, err := dog.RegisterObject[Fleet](dogtest.New(t, dog.Options{}), "fleet", nil)
		require.NoError(t, err)
		out := dogtest.Run(t, fleets.Named("all"), func(ctx context.Context, f *Fleet) error {
			for _, r := range []Report{
				{Number: 1, Device: "a", Online: true},
				{Number: 3, Device: "a", Waiting: 1},
				{Number: 2, Device: "a", Online: true, Waiting: 2},
			} {
				if err := f.Report(ctx, r); err != nil {
					return err
				}
			}
			row, _, err := f.seen().Get("a")
			require.False(t, row.Online)
			require.Zero(t, row.Since)
			require.Equal(t, 1, row.Waiting)
			f.process = "another" // which begins to count anew
			err = errors.Join(err, f.Report(ctx, Report{Number: 1, Device: "a", Online: true}))
			row, _, _ = f.seen().Get("a")
			require.True(t, row.Online)
			return err
		})
		require.NoError(t, out.Err)
	})
}

func TestDevices_AreRemovedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 2)
		require.Contains(t, s.refused(action{Do: "remove", Device: "north-0000"}), "is connected")
		require.Contains(t, s.refused(action{Do: "remove", Device: "north"}), `no device "north"`)
		s.leave()
		s.roll(Rollout{Command: "version", To: "*", Rate: 2, Abort: 101})
		require.Contains(t, s.refused(action{Do: "remove", Device: "north-0000"}), "has an order")
		time.Sleep(2 * time.Minute)
		require.Equal(t, 2, s.ends().Failed)
		s.page.Send(action{Do: "remove", Device: "north-0000"})
		for removed := ""; removed == ""; {
			var e event
			s.page.ReceiveJSON(&e)
			removed = e.Removed
		}
		s.disk.Crash()
		devices, err := dog.RegisterObject[Device](dogtest.New(t, dog.Options{Store: s.disk}), "device", nil)
		require.NoError(t, err)
		var stored []string
		for device, err := range devices.List(t.Context(), dog.ObjectListOptions{}) {
			require.NoError(t, err)
			stored = append(stored, device.Name)
		}
		require.Equal(t, []string{"south-0001"}, stored, "with the outcome of its order")
		s.disk.Crash()
		s.start()
		rows := s.fresh().Rows
		require.Len(t, rows, 1)
		require.Equal(t, "south-0001", rows[0].Device)

		s.devices = newDevices(1, dogtest.URL, &http.Client{Transport: s}, false)
		s.connect(s.devices)
		require.Len(t, s.fresh().Rows, 2, "it may come back")
	})
}

func TestDevices_ListWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 1)
		s.leave()
		s.roll(Rollout{Command: "version", To: "*", Rate: 1, Abort: 100})
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, s.row("north-0000").Waiting)
		list := func() event {
			s.page.Send(action{Do: "list", Device: "north-0000"})
			for {
				var e event
				s.page.ReceiveJSON(&e)
				if e.Listed != "" {
					return e
				}
			}
		}
		require.Equal(t, event{Listed: "north-0000", Waiting: []string{"version"}}, list())
		time.Sleep(2 * time.Minute)
		require.Equal(t, event{Listed: "north-0000"}, list(), "it has expired")
	})
}

func TestFleet_StoresWhatPagesMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleets, err := dog.RegisterObject[Fleet](dogtest.New(t, dog.Options{}), "fleet", nil)
		require.NoError(t, err)
		out := dogtest.Run(t, fleets.Named("all"), func(ctx context.Context, f *Fleet) error {
			if err := f.seen().Put("south", Row{}); err != nil {
				return err
			}
			for f.Broadcast("x") == nil { // until no more is held
			}
			return errors.Join(f.Report(ctx, Report{Device: "north", Online: true}), f.save(Rollout{ID: "1"}))
		})
		require.NoError(t, out.Err)
		require.Contains(t, out.Stored, "seen/north")
		require.Contains(t, out.Stored, "rollout")
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
