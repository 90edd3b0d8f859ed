package conn

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Tables returns how many connections p knows to have a goroutine that reads,
// and how many have a place among the parked.
func (p *Poller) Tables() (awake, places int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.awake), len(p.parked) - len(p.free)
}

// Sweep does what Run does in an interval, and returns who did not answer.
func (h *Heart) Sweep() (dead []*Conn) {
	for i := range heartLooks * heartSlots {
		dead = h.sweep(i%heartSlots, dead)
	}
	return dead
}

// A connection that the kernel cannot watch on its own, and one without a
// Poller, keep their goroutines.
func TestPark_Never(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPoller(time.Second)
		for _, poller := range []*Poller{p, nil} {
			server, client := net.Pipe()
			c := &Conn{nc: server, direct: directly(server), opts: (&Options{Poller: poller}).WithDefaults()}
			c.in.limit = 100
			poller.watch(c)
			go func() {
				time.Sleep(time.Hour)
				client.Write(appendMasked(nil, finBit|byte(Text), "late", 1))
			}()
			_, data, err := c.Read()
			require.NoError(t, err)
			require.Equal(t, "late", string(data))
			poller.forget(c)
			server.Close()
		}
		awake, places := p.Tables()
		require.Zero(t, awake)
		require.Zero(t, places)
	})
}
