package load_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/godurable/dog"
)

// Whatever happens in whatever order, no replica holds more than its limit,
// nothing leaks, and the books agree with the sockets.
func TestRandom_Load(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps().Draw(rt, "steps")
		limit := rapid.IntRange(1, 3).Draw(rt, "limit")
		maxReplicas := rapid.IntRange(0, 3).Draw(rt, "max replicas")
		byShutdown := rapid.Bool().Draw(rt, "ends by shutdown")
		var err error
		synctest.Test(t, func(t *testing.T) {
			var p *party
			if p, err = newParty(t, limit, maxReplicas); err == nil {
				err = p.play(steps, byShutdown)
				p.leave()
			}
		})
		if err != nil {
			rt.Fatal(err) // here, so that rapid makes the case smaller
		}
	})
}

// crowd is a group whose Clusterize is slow and fails as its test wants.
type crowd struct {
	dog.Group
	on *party
}

func (c *crowd) Clusterize(ctx context.Context, _ string) (string, error) {
	p := c.on
	delay := time.Duration(p.clusterizeDelay.Load())
	if err := dog.Await(ctx, func() error { time.Sleep(delay); return nil }); err != nil {
		return "", err
	}
	if p.clusterizeFails.Load() {
		return "", errors.New("no replica today")
	}
	return fmt.Sprint("replica-", p.names.Add(1)), nil
}

// step is one thing that happens to a party.
type step struct {
	kind   string
	who    int           // uid, stub, client or replica, counted round
	pause  time.Duration // how long Receive or Clusterize takes, how much time passes
	settle bool          // everything comes to rest before the next step
}

var stepKinds = []string{
	"nothing", // first: what rapid replaces other steps by to make a case smaller
	"connect", "connect", "connect", "connect slow client", "request", "request",
	"identify", "identify", "use stub", "use stub", "connect through stub", "release stub",
	"close by client", "close by server", "vanish", "speak", "speak", "fail", "panic",
	"drain", "clusterize well", "clusterize slowly", "clusterize badly", "time passes", "time passes",
}

func drawSteps() *rapid.Generator[[]step] {
	pauses := []time.Duration{
		0,
		time.Millisecond,
		time.Second,
		5 * time.Second,
		11 * time.Second,
		31 * time.Second,
		61 * time.Second,
	}
	one := rapid.Custom(func(t *rapid.T) step {
		return step{
			kind:   rapid.SampledFrom(stepKinds).Draw(t, "kind"),
			who:    rapid.IntRange(0, 5).Draw(t, "who"),
			pause:  rapid.SampledFrom(pauses).Draw(t, "pause"),
			settle: rapid.Bool().Draw(t, "settle"),
		}
	})
	return rapid.SliceOfN(one, 40, 80)
}
