// Command centrifuge measures histories and presence of centrifuge, in memory.
package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/godurable/dog/bench/internal/drive"
	"github.com/godurable/dog/bench/internal/wire"
)

const channel = wire.CentrifugeChannel

func main() {
	drive.Main(map[string]func(drive.Job) (drive.Figures, error){
		"kept":            kept,
		"attach":          func(job drive.Job) (drive.Figures, error) { return attach(job, false) },
		"attach-presence": func(job drive.Job) (drive.Figures, error) { return attach(job, true) },
	})
}

// kept measures publications of the broker in memory, without clients.
func kept(job drive.Job) (drive.Figures, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	if err := node.Run(); err != nil {
		return nil, err
	}
	figures, err := drive.Kept(job.Objects, func(message []byte) error {
		_, err := node.Publish(channel, message, centrifuge.WithHistory(2*job.Objects, time.Hour))
		return err
	})
	return figures, errors.Join(err, node.Shutdown(context.Background()))
}

// attach measures clients that the server subscribes when they connect. They
// get nothing about each other.
func attach(job drive.Job, presence bool) (drive.Figures, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	var open, users atomic.Int64
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{UserID: "user-" + strconv.FormatInt(users.Add(1), 10)},
			Subscriptions: map[string]centrifuge.SubscribeOptions{channel: {EmitPresence: presence}},
		}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		open.Add(1)
		c.OnDisconnect(func(centrifuge.DisconnectEvent) { open.Add(-1) })
	})
	if err := node.Run(); err != nil {
		return nil, err
	}
	connect, err := wire.AppendCentrifugeConnect(nil, "")
	if err != nil {
		return nil, err
	}
	count := func() int {
		if !presence {
			return node.Hub().NumClients()
		}
		stats, err := node.PresenceStats(channel)
		if err != nil {
			return -1
		}
		return stats.NumClients
	}
	door := drive.Door{
		Handler: centrifuge.NewWebsocketHandler(
			node, centrifuge.WebsocketConfig{
				ReadBufferSize: 1024, UseWriteBufferPool: true,
				PingPongConfig: centrifuge.PingPongConfig{PingInterval: -1}, // the clients do not answer
			},
		),
		Hello:  wire.AppendMasked(nil, wire.Binary, connect),
		Writes: 2, // the response, the reply
		Target: func(int) string { return "/?format=protobuf" },
		Present: func(n int) error {
			if have := count(); have != n {
				return fmt.Errorf("%d of %d clients are present", have, n)
			}
			return nil
		},
		Gone: func() bool { return open.Load() == 0 && node.Hub().NumClients() == 0 },
	}
	figures, err := drive.Attach(job.Objects, door)
	return figures, errors.Join(err, node.Shutdown(context.Background()))
}
