package conn_test

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/tally"
)

// What connections count together is what they count alone.
func TestTraffic_IsTheSumOfAllConnections(t *testing.T) {
	for name, pair := range map[string]func() (server, client net.Conn){
		"over the network": func() (net.Conn, net.Conn) { return tcpPair(t) },
		"over a pipe":      net.Pipe,
	} {
		t.Run(name, func(t *testing.T) {
			const conns, messages = 20, 30
			var traffic tally.Traffic
			var sweeps sync.WaitGroup
			s := conn.Set{Writers: conn.NewWriters(sweeps.Go)}
			options := &conn.Options{Traffic: &traffic, AutoRequest: "ping", AutoReply: "pong"}
			var sum tally.TrafficCounts
			var reads []*reading
			var peers sync.WaitGroup
			for range conns {
				server, client := pair()
				c, p := accept(t, server, client, options)
				s.Add(c)
				reads = append(reads, startReading(c))
				peers.Go(func() {
					p.send(fin|1, "ping")
					p.send(fin|2, "hello")
					for n := 0; n < messages+2; n++ {
						if _, err := p.read(); err != nil {
							return
						}
					}
					p.Close()
				})
			}
			for range messages {
				s.Send(conn.NewFrame(conn.Text, []byte(strings.Repeat("x", 300))), "", conn.Except{})
				sweeps.Wait() // or what follows would take the messages over from the sweep
			}
			for _, r := range reads {
				require.NoError(t, r.c.Send(conn.NewFrame(conn.Text, []byte("bye")), ""))
			}
			peers.Wait()
			for _, r := range reads {
				r.end(t)
			}
			sweeps.Wait()
			for _, r := range reads {
				n := r.c.Stats()
				sum.MessagesIn += n.MessagesIn
				sum.BytesIn += n.BytesIn
				sum.MessagesOut += n.MessagesOut
				sum.BytesOut += n.BytesOut
				sum.Lost += n.Lost
			}
			require.EqualValues(t, conns*2, sum.MessagesIn)
			require.EqualValues(t, conns*(messages+2), sum.MessagesOut)
			require.Equal(t, sum, traffic.Read())
		})
	}
}
