package gate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/gate"
)

func TestGate_LostCommitsDropOutputAndAreReportedOnce(t *testing.T) {
	d, e := new(disk), new(recorder)
	lost := 0
	g := gate.New(d, func(err error) { require.ErrorIs(t, err, errLost); lost++ })
	g.Wrote()
	g.Committed(1)
	e.send(g, 1)
	d.sync(1)
	g.Wrote()
	e.send(g, 2)
	g.Committed(2)
	e.send(g, 3)
	d.fail(errLost)
	require.Equal(t, []int{1}, e.sent)
	require.Equal(t, []int{2, 3}, e.dropped)
	e.send(g, 4)
	require.Equal(t, []int{2, 3, 4}, e.dropped, "until the object has been reset")
	require.ErrorIs(t, g.Wait(t.Context()), errLost)
	require.Equal(t, 1, lost)
	g.Recover()
	e.send(g, 5)
	require.Equal(t, []int{1, 5}, e.sent)
}

func TestShut_RefusesOutputUntilRecover(t *testing.T) {
	d, e := new(disk), new(recorder)
	g := gate.New(d, func(error) { t.Fatal("nothing is lost") })
	g.Wrote()
	e.send(g, 1)
	g.Committed(1)
	g.Wrote()
	e.send(g, 2)
	g.Shut(errLost)
	e.send(g, 3)
	require.False(t, g.Open())
	require.ErrorIs(t, g.Wait(t.Context()), errLost)
	require.Equal(t, []int{2, 3}, e.dropped)
	g.Recover()
	e.send(g, 4)
	require.Empty(t, e.sent, "what was committed before is still waited for")
	d.sync(1)
	require.Equal(t, []int{1, 4}, e.sent)
}

// busyDisk is a disk to which something happens while it is asked for a commit
// for the first time.
type busyDisk struct {
	disk
	meanwhile func()
	asked     int
}

func (d *busyDisk) OnDurable(commit uint64, notify func(error)) {
	if d.asked++; d.asked > 100 {
		panic("asked again and again")
	}
	d.disk.OnDurable(commit, notify)
	if meanwhile := d.meanwhile; meanwhile != nil {
		d.meanwhile = nil
		meanwhile()
	}
}

func TestRecover_DropsOutputThatWaitsForLostCommits(t *testing.T) {
	var e recorder
	d := &busyDisk{}
	lost := 0
	g := gate.New(d, func(error) { lost++ })
	d.meanwhile = func() { // while the first output is about to wait, its object is reset
		d.fail(errLost)
		g.Shut(errLost)
		g.Recover()
		e.send(g, 2) // of the next life, which depends on nothing that is lost
	}
	g.Wrote()
	g.Committed(1)
	e.send(g, 1)
	require.Equal(t, []int{1}, e.dropped)
	require.Equal(t, []int{2}, e.sent)
	require.Equal(t, 1, lost)
	require.True(t, g.Open())
}
