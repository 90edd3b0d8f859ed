package main

import (
	"context"
	"flag"
	"net"
	"net/http"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/bench/internal/wire"
)

// A flag for each option that is worth a row of its own.
var (
	dogLimit = flag.Int("dog.limit", 500, "dog: sockets per replica")
	dogPark  = flag.Duration("dog.park", 0, "dog: Options.ParkAfter")
	dogDrop  = flag.Bool("dog.drop", false, "dog: slow clients lose their oldest messages instead of their connection")
)

type lobby struct{ dog.Group }

type room struct{ dog.Replica }

func (r *room) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	if m.Data[0] == wire.FanOut {
		return r.Broadcast(m)
	}
	return s.Send(m)
}

// serveDog goes through all of dog: a group whose replicas hold dogLimit sockets each.
func serveDog(l net.Listener) (func() int, error) {
	options := dog.Options{ParkAfter: *dogPark}
	if *dogDrop {
		options.Sockets.Slow, options.Sockets.WriteTimeout = dog.DropOldest, time.Hour
	}
	rt, err := dog.New(options)
	if err != nil {
		return nil, err
	}
	rooms, err := dog.RegisterReplica[room](rt, "room", nil)
	if err != nil {
		return nil, err
	}
	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[lobby]{Limit: *dogLimit})
	if err != nil {
		return nil, err
	}
	hall := lobbies.Named("hall")
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		stub, err := hall.Identify(r.Context(), r.FormValue("uid"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, r)
	})
	return func() int { return rt.Stats().Sockets }, nil
}
