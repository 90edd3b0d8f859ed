package presence_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// durableOn returns the options of durable crowds on a disk.
func durableOn(d *dogtest.Disk) crowdOptions {
	o := onDisk(d)
	o.presence = dog.Presence{Grace: grace, Durable: true}
	return o
}

func TestPresence_CrashIsLikeAPlannedRestart(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		c := newCrowd(t, kind, durableOn(d))
		c.enter("ada").Send("1")
		bob := c.enter("bob")
		c.enter("cyd")
		require.Equal(t, []string{"+ada=1 +bob +cyd (3)"}, c.took(time.Second))
		leave(bob)
		require.Equal(t, []string{"-bob (2)"}, c.took(grace+time.Second))
		for range 2 { // nothing changes between the crashes
			d.Crash()
			c = newCrowd(t, kind, durableOn(d))
			c.enter("ada")
			page, err := c.stub.Members(t.Context(), "", 0)
			require.NoError(t, err)
			require.Equal(t, []dog.Member{{UID: "ada", Value: []byte("1")}, {UID: "cyd"}}, page)
			require.Empty(t, c.took(time.Second))
		}
		require.Equal(t, []string{"-cyd (1)"}, c.took(grace))
		d.Crash()
		c = newCrowd(t, kind, durableOn(d))
		require.Equal(t, []string{"ada"}, c.members())
		require.Equal(t, []string{"-ada (0)"}, c.took(time.Hour))
		d.Crash()
		c = newCrowd(t, kind, durableOn(d))
		require.Empty(t, c.members())
	})
}

// A crash while OnPresence waits delivers the same change again, and one before
// its transaction is durable takes the change back.
func TestPresence_ChangeIsKeptWithWhatIsMadeOfIt(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		c := newCrowd(t, kind, durableOn(d))
		var seqs []uint64
		c.on = func(ctx context.Context, p dog.PresenceChange) error {
			seqs = append(seqs, p.Seq)
			return fixture.Pause(ctx, time.Minute) // after a commit
		}
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(time.Second))
		d.Crash()
		on := c.on
		c = newCrowd(t, kind, durableOn(d))
		c.on = on
		require.Equal(t, []string{"ada"}, c.members())
		require.Equal(t, []string{"+ada (1)", "-ada (0)"}, c.took(time.Hour))
		require.Equal(t, seqs[0], seqs[1])
		require.Greater(t, seqs[2], seqs[1])
		d.Crash()

		c = newCrowd(t, kind, durableOn(d))
		c.on = func(context.Context, dog.PresenceChange) error {
			d.Fail(1, errors.New("the power is cut"))
			return nil
		}
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(every))
		d.Crash()
		c = newCrowd(t, kind, durableOn(d))
		require.Empty(t, c.members())
		require.Empty(t, c.took(time.Hour))
	})
}

// The list outlives the deletion of the owner's data, as it does in memory.
func TestPresence_DeleteAllKeepsTheMembers(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		c := newCrowd(t, kind, durableOn(d))
		c.enter("ada")
		require.Equal(t, []string{"+ada (1)"}, c.took(time.Second))
		require.NoError(t, c.inTurn(func(_ context.Context, o listed) error { return o.Storage().DeleteAll() }))
		c.enter("bob")
		require.Equal(t, []string{"+bob (2)"}, c.took(time.Second))
		d.Crash()
		c = newCrowd(t, kind, durableOn(d))
		require.Equal(t, []string{"ada", "bob"}, c.members())
		require.Equal(t, []string{"-ada -bob (0)"}, c.took(time.Hour))
	})
}

// A follower knows the members by what the history has told it.
type follower struct {
	t       *testing.T
	client  *dogtest.V1Client
	durable bool
	seq     uint64
	knows   map[string]bool
}

// follow applies what has arrived. Nobody joins or leaves twice. A change is
// told twice only if its handler has failed after it was sent.
func (f *follower) follow() {
	synctest.Wait()
	for _, m := range f.client.Received() {
		var p dog.PresenceChange
		require.NoError(f.t, json.Unmarshal(m.Data, &p))
		if p.Seq <= f.seq {
			require.False(f.t, f.durable)
			require.Equal(f.t, f.seq, p.Seq)
			continue
		}
		f.seq = p.Seq
		for _, joined := range p.Joined {
			require.NotContains(f.t, f.knows, joined.UID, "joins twice")
			f.knows[joined.UID] = true
		}
		for _, left := range p.Left {
			require.Contains(f.t, f.knows, left.UID, "leaves twice")
			delete(f.knows, left.UID)
		}
		require.Len(f.t, f.knows, p.Count)
	}
}

// A step of a story is for one uid, or for all.
type step struct {
	do   string
	uid  string
	time time.Duration
	back []bool // which of the guests come back after the process has ended
}

var guests = []string{"ada", "bob", "cyd"}

var steps = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
	times := []time.Duration{every, time.Second, grace, time.Minute}
	return step{
		rapid.SampledFrom([]string{"come or go", "come or go", "wait", "fail", "restart", "crash"}).Draw(t, "do"),
		rapid.SampledFrom(guests).Draw(t, "uid"), rapid.SampledFrom(times).Draw(t, "time"),
		rapid.SliceOfN(rapid.Bool(), len(guests), len(guests)).Draw(t, "back"),
	}
}), 1, 25)

// What a client that follows a history was told of the members are those who
// are there, and each has joined and left once, whatever happens to the
// process. Without Durable it does not crash.
func TestPresence_WhatAFollowerWasToldIsWhoIsThere(t *testing.T) {
	for _, kind := range kinds {
		for _, durable := range []bool{false, true} {
			t.Run(kind+map[bool]string{true: ", durable"}[durable], func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) {
					story := steps.Draw(rt, "story")
					synctest.Test(t, func(t *testing.T) { tell(t, story, kind, durable) })
					if t.Failed() {
						rt.FailNow()
					}
				})
			})
		}
	}
}

// tell lets the steps of a story happen.
func tell(t *testing.T, story []step, kind string, durable bool) {
	defer func() {
		if t.Failed() {
			t.Logf("the story: %#v", story)
		}
	}()
	d := dogtest.NewDisk(t)
	o := onDisk(d)
	o.presence = dog.Presence{Grace: grace, Durable: durable}
	o.history = dog.HistoryOptions{Count: 1000, Age: time.Hour, Durable: durable}
	o.rollback = true
	var c *crowd
	var fails atomic.Int32
	begin := func() {
		c = newCrowd(t, kind, o)
		fails.Store(0)
		c.on = func(_ context.Context, p dog.PresenceChange) error {
			if err := c.own.Broadcast(p); err != nil {
				return err
			}
			if fails.Load() > 0 {
				fails.Add(-1)
				return errNotNow
			}
			return nil
		}
	}
	begin()
	eve := &follower{t, c.srv.DialV1("/?u=eve", dogtest.V1Options{}), durable, 0, map[string]bool{}}
	fixture.Elapse(time.Second) // there is a message, so there is no gap from here on
	eve.follow()
	there := map[string]*dogtest.Client{}
	back := func(who []bool) {
		eve.follow()
		before, at := there, eve.client.Position()
		there = map[string]*dogtest.Client{}
		begin()
		for i, uid := range guests {
			if before[uid] != nil && who[i] {
				there[uid] = c.enter(uid)
			}
		}
		eve.client = c.srv.DialV1("/?u=eve", dogtest.V1Options{After: &at})
		require.Empty(t, eve.client.Hello.Gap)
	}
	for _, s := range story {
		switch k := there[s.uid]; {
		case s.do == "come or go" && k != nil:
			delete(there, s.uid)
			leave(k)
		case s.do == "come or go":
			there[s.uid] = c.enter(s.uid)
		case s.do == "wait":
			fixture.Elapse(s.time)
		case s.do == "fail":
			fails.Store(3)
		case s.do == "restart":
			c.shutdown()
			back(s.back)
		case s.do == "crash" && durable:
			d.Crash()
			back(s.back)
		}
		eve.follow()
	}
	fails.Store(0)
	fixture.Elapse(2 * time.Minute) // after many failures the next try comes in a minute
	eve.follow()
	want := map[string]bool{"eve": true}
	for uid := range there {
		want[uid] = true
	}
	require.Equal(t, want, eve.knows)
	c.shutdown()
}
