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
	dogLimit   = flag.Int("dog.limit", 500, "dog: sockets per replica")
	dogPark    = flag.Duration("dog.park", 0, "dog: Options.ParkAfter")
	dogDrop    = flag.Bool("dog.drop", false, "dog: slow clients lose their oldest messages, not their connection")
	dogHistory = flag.Bool("dog.history", false, "dog: keep a history")
	dogV1      = flag.Bool("dog.v1", false, "dog: the clients speak dog.v1")
)

// historyOptions are those of what has the sockets. The bounds are above what
// a cell sends.
func historyOptions() dog.HistoryOptions {
	if !*dogHistory {
		return dog.HistoryOptions{}
	}
	return dog.HistoryOptions{Count: keptMessages, Bytes: keptBytes, Age: keptFor}
}

type lobby struct{ dog.Group }

type room struct{ dog.Replica }

func (r *room) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	return answer(r, s, m)
}

// hall is a room that is an object.
type hall struct{ dog.Object }

func (h *hall) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	return answer(h, s, m)
}

func answer(to interface {
	Broadcast(v any, options ...dog.SendOption) error
}, s *dog.Socket, m dog.Message) error {
	if m.Data[0] == wire.FanOut {
		return to.Broadcast(m)
	}
	return s.Send(m)
}

func newRuntime() (*dog.Runtime, error) {
	options := dog.Options{ParkAfter: *dogPark}
	if *dogDrop {
		options.Sockets.Slow, options.Sockets.WriteTimeout = dog.DropOldest, time.Hour
	}
	return dog.New(options)
}

// serveDogObjects has an object with sockets of its own for each room.
func serveDogObjects(l net.Listener) (func() int, error) {
	rt, err := newRuntime()
	if err != nil {
		return nil, err
	}
	halls, err := dog.RegisterObject(rt, "hall", &dog.ObjectOptions[hall]{History: historyOptions()})
	if err != nil {
		return nil, err
	}
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		halls.Named("hall "+r.FormValue("room")).WithUID(r.FormValue("uid")).ServeHTTP(w, r)
	})
	return func() int { return rt.Stats().Sockets }, nil
}

// serveDog goes through all of dog: a group for each room, whose replicas hold
// dogLimit sockets each.
func serveDog(l net.Listener) (func() int, error) {
	rt, err := newRuntime()
	if err != nil {
		return nil, err
	}
	rooms, err := dog.RegisterReplica[room](rt, "room", nil)
	if err != nil {
		return nil, err
	}
	lobbies, err := dog.RegisterGroup(
		rt, "lobby", rooms, &dog.GroupOptions[lobby]{Limit: *dogLimit, History: historyOptions()},
	)
	if err != nil {
		return nil, err
	}
	serveHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		stub, err := lobbies.Named("hall "+r.FormValue("room")).Identify(r.Context(), r.FormValue("uid"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, r)
	})
	return func() int { return rt.Stats().Sockets }, nil
}
