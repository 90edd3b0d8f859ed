package presence_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// The power is cut at each change of the disk in turn. In the end a follower
// has the present members. OnPresence waits after it has sent a change.
func TestPresence_PowerCutAtEveryChange(t *testing.T) {
	for _, kind := range kinds {
		for _, torn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, torn %v", kind, torn), func(t *testing.T) {
				changes := 0
				synctest.Test(t, func(t *testing.T) { changes = cutAt(t, kind, 0, torn) })
				require.GreaterOrEqual(t, changes, 10)
				for n := range changes {
					synctest.Test(t, func(t *testing.T) { cutAt(t, kind, n+1, torn) })
				}
			})
		}
	}
}

// cutAt lets clients come and go on a disk that writes nothing from its n-th
// change on, and crashes. It returns the number of changes if n is 0.
func cutAt(t *testing.T, kind string, n int, torn bool) (changes int) {
	d := dogtest.NewDisk(t)
	o := durableOn(d)
	o.history = dog.HistoryOptions{Count: 1000, Age: time.Hour, Durable: true}
	tell := func(c *crowd) func(ctx context.Context, p dog.PresenceChange) error {
		return func(ctx context.Context, p dog.PresenceChange) error {
			if err := c.own.Broadcast(p); err != nil {
				return err
			}
			return fixture.Pause(ctx, time.Second)
		}
	}
	c := newCrowd(t, kind, o)
	c.on = tell(c)
	eve := &follower{t: t, client: c.srv.DialV1("/?u=eve", dogtest.V1Options{}), knows: map[string]bool{}}
	ada := c.enter("ada")
	c.took(time.Minute)
	before := d.Changes()
	d.Fail(n, errors.New("the power is cut"))
	c.enter("bob")
	c.took(time.Second / 2) // the first transaction of OnPresence is over
	ada.Vanish()
	c.took(time.Minute)
	if n == 0 || d.Changes()-before < n {
		c.enter("cyd")
	}
	c.took(time.Minute)
	changes = d.Changes() - before
	if torn {
		d.CrashTorn(uint64(n))
	} else {
		d.Crash()
	}
	eve.follow()

	c = newCrowd(t, kind, o)
	c.on = tell(c)
	at := eve.client.Position()
	eve.client = c.srv.DialV1("/?u=eve", dogtest.V1Options{After: &at})
	require.Empty(t, eve.client.Hello.Gap)
	c.enter("bob")
	c.took(2 * time.Minute)
	eve.follow()
	require.Equal(t, map[string]bool{"eve": true, "bob": true}, eve.knows)
	c.shutdown()
	return changes
}
