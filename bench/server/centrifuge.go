package main

import (
	"context"
	"flag"
	"net"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/godurable/dog/bench/internal/wire"
)

// centrifugeDelay is how long the delayed variant collects messages for a
// client before it writes them.
const centrifugeDelay = 5 * time.Millisecond

var centrifugeHistory = flag.Bool("centrifuge.history", false, "centrifuge: keep a history, and recover from it")

// serveCentrifuge is centrifuge over its Protobuf protocol, the leaner of the
// two, with clients that the server subscribes when they connect, and messages
// that want no reply.
func serveCentrifuge(l net.Listener) (func() int, error) { return centrifugeNode(l, 0) }

// serveCentrifugeDelay is the same with messages batched in time, for fewer
// system calls.
func serveCentrifugeDelay(l net.Listener) (func() int, error) {
	return centrifugeNode(l, centrifugeDelay)
}

func centrifugeNode(l net.Listener, delay time.Duration) (func() int, error) {
	const channel = wire.CentrifugeChannel
	var kept []centrifuge.PublishOption
	if *centrifugeHistory {
		kept = append(kept, centrifuge.WithHistory(keptMessages, keptFor))
	}
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:        &centrifuge.Credentials{},
			Subscriptions:      map[string]centrifuge.SubscribeOptions{channel: {EnableRecovery: *centrifugeHistory}},
			WriteDelay:         delay,
			MaxMessagesInFrame: -1,
		}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnMessage(func(e centrifuge.MessageEvent) {
			if e.Data[0] == wire.FanOut {
				_, _ = node.Publish(channel, e.Data, kept...)
				return
			}
			_ = c.Send(e.Data)
		})
	})
	if err := node.Run(); err != nil {
		return nil, err
	}
	handler := centrifuge.NewWebsocketHandler(
		node, centrifuge.WebsocketConfig{ReadBufferSize: 1024, UseWriteBufferPool: true},
	)
	serveHTTP(l, handler.ServeHTTP)
	return node.Hub().NumClients, nil
}
