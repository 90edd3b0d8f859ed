package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/bench/internal/drive"
)

// room is a replica for clients that send nothing.
type room struct{ dog.Replica }

// club is a group that gets the changes of its members, and does nothing.
type club struct{ dog.Group }

func (*club) OnPresence(context.Context, dog.PresenceChange) error { return nil }

const (
	// placesEach is how many clients a replica has.
	placesEach = 1000
	// grace is how long a client that is gone is present.
	grace = 100 * time.Millisecond
)

// kept measures the messages of a history, without sockets.
func kept(job drive.Job) (drive.Figures, error) {
	rt, err := dog.New(dog.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	rooms, err := dog.RegisterReplica[room](rt, "room", nil)
	if err != nil {
		return nil, err
	}
	histories, err := dog.RegisterGroup(rt, "history", rooms, &dog.GroupOptions[dog.Group]{
		Limit:   placesEach,
		History: dog.HistoryOptions{Count: 2 * job.Objects, Bytes: 1 << 40, Age: time.Hour},
	})
	if err != nil {
		return nil, err
	}
	history := histories.Named("main")
	figures, err := drive.Kept(job.Objects, func(message []byte) error {
		return history.Broadcast(context.Background(), message)
	})
	return figures, errors.Join(err, (&program{rt: rt}).Close())
}

// attach measures clients of a group.
func attach(job drive.Job, p dog.Presence) (drive.Figures, error) {
	rt, err := dog.New(dog.Options{
		Logger: slog.New(slog.DiscardHandler), Sockets: dog.SocketOptions{PingInterval: -1},
	})
	if err != nil {
		return nil, err
	}
	rooms, err := dog.RegisterReplica[room](rt, "room", nil)
	if err != nil {
		return nil, err
	}
	present := func() (int, error) { return rt.Stats().Sockets, nil }
	door := drive.Door{
		Writes: 1, // the response
		Target: func(i int) string { return "/?uid=user-" + strconv.Itoa(i) },
	}
	if p == (dog.Presence{}) {
		groups, err := dog.RegisterGroup(rt, "club", rooms, &dog.GroupOptions[dog.Group]{Limit: placesEach})
		if err != nil {
			return nil, err
		}
		door.Handler = serve(groups.Named("main").Identify)
	} else {
		groups, err := dog.RegisterGroup(rt, "club", rooms, &dog.GroupOptions[club]{Limit: placesEach, Presence: p})
		if err != nil {
			return nil, err
		}
		main := groups.Named("main")
		door.Handler = serve(main.Identify)
		present = func() (int, error) { return main.MemberCount(context.Background()) }
	}
	door.Present = func(n int) error {
		have, err := present()
		if err == nil && have != n {
			err = fmt.Errorf("%d of %d clients are present", have, n)
		}
		return err
	}
	door.Gone = func() bool { return rt.Stats().Sockets == 0 && door.Present(0) == nil }
	figures, err := drive.Attach(job.Objects, door)
	return figures, errors.Join(err, (&program{rt: rt}).Close())
}

// serve connects clients where identify wants them.
func serve(identify func(ctx context.Context, uid string) (dog.Stub[room], error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stub, err := identify(r.Context(), r.FormValue("uid"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, r)
	})
}
