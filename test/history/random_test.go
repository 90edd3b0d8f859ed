package history_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens in whatever order, without a crash: each client gets each
// message that concerns it once, in the one order of the history, and each
// message of a client takes effect once.
func TestHistory_RandomClientsMissNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := story{
			replicas:  rapid.Bool().Draw(rt, "replicas"),
			durable:   rapid.Bool().Draw(rt, "durable"),
			hibernate: rapid.Bool().Draw(rt, "hibernate"),
			steps:     drawSteps().Draw(rt, "steps"),
		}
		var err error
		synctest.Test(t, func(t *testing.T) { err = newParty(t, s).play(s.steps) })
		if err != nil {
			rt.Fatal(err) // here, so that rapid makes the case smaller
		}
	})
}

// story is what happens to a party.
type story struct {
	replicas, durable, hibernate bool
	steps                        []step
}

// step is one thing that happens.
type step struct {
	kind   string
	who    int // client or replica, counted round
	what   int // kind of message, counted round
	n      int // how many
	pause  time.Duration
	settle bool // everything comes to rest before the next step
}

func (s step) String() string {
	return fmt.Sprintf("%s who=%d what=%d n=%d pause=%v settle=%v", s.kind, s.who, s.what, s.n, s.pause, s.settle)
}

var stepKinds = []string{
	"nothing", // first: what rapid replaces other steps by to make a case smaller
	"speak", "speak", "speak", "speak", "speak from outside", "flood", "read", "read",
	"vanish", "vanish", "come back", "come back", "come back", "drain", "time passes", "restart",
}

func drawSteps() *rapid.Generator[[]step] {
	pauses := []time.Duration{time.Second, 11 * time.Second, 31 * time.Second, 2 * time.Minute}
	one := rapid.Custom(func(t *rapid.T) step {
		return step{
			kind:   rapid.SampledFrom(stepKinds).Draw(t, "kind"),
			who:    rapid.IntRange(0, len(guests)-1).Draw(t, "who"),
			what:   rapid.IntRange(0, len(manners)-1).Draw(t, "what"),
			n:      rapid.IntRange(1, 4).Draw(t, "n"),
			pause:  rapid.SampledFrom(pauses).Draw(t, "pause"),
			settle: rapid.Bool().Draw(t, "settle"),
		}
	})
	return rapid.SliceOfN(one, 30, 60)
}
