package conn

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// asked is a connection that tells when its reader is asked to park.
type asked struct {
	net.Conn // nil: nothing else is called
	at       chan time.Time
}

func (a asked) SetReadDeadline(time.Time) error {
	a.at <- time.Now()
	return nil
}

// A connection parks when it has been silent for the time of its Poller, and
// before twice that time has passed. The kernel, which waits from then on,
// knows nothing of virtual time.
func TestPoller_ParksAfterItsTime(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Millisecond, time.Second, 10 * time.Second} {
		for _, phase := range []time.Duration{0, 1, after / 3, after - 1, after, after + 1, 3*after - 1} {
			t.Run(fmt.Sprint(after, " after ", phase), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := NewPoller(after)
					ctx, end := context.WithCancel(t.Context())
					looked := make(chan struct{})
					go func() {
						defer close(looked)
						p.look(ctx)
					}()
					c := &Conn{nc: asked{at: make(chan time.Time, 1)}, opts: (&Options{Poller: p}).WithDefaults()}
					c.direct.raw = &kernel{}
					p.watch(c)
					c.phase.Store(1) // its reader waits
					for waited := time.Duration(0); waited < phase; waited += after / 2 {
						time.Sleep(min(after/2, phase-waited))
						c.bytesIn.Add(1)
						synctest.Wait()
					}
					began := time.Now()
					took := (<-c.nc.(asked).at).Sub(began)
					require.GreaterOrEqual(t, took, after)
					require.LessOrEqual(t, took, 2*after)
					end()
					<-looked
				})
			})
		}
	}
}
