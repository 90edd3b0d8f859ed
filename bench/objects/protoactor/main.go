// Command protoactor is a request and its reply between protoactor-go's actors.
package main

import (
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/godurable/dog/bench/internal/drive"
)

func main() {
	drive.Main(map[string]func(drive.Job) (drive.Figures, error){"call": func(job drive.Job) (drive.Figures, error) {
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.DiscardHandler)
		}))
		pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return new(counter) }))
		return drive.Rate(subject{system, pid}, 1, drive.CallBatch, job.Time)
	}})
}

// A counter adds up what it is sent.
type counter struct{ total int }

func (c *counter) Receive(ctx actor.Context) {
	if n, ok := ctx.Message().(int); ok {
		c.total += n
		ctx.Respond(c.total)
	}
}

type subject struct {
	system *actor.ActorSystem
	pid    *actor.PID
}

func (s subject) Run(_, n int) (began time.Time, err error) {
	for range n {
		if _, err := s.system.Root.RequestFuture(s.pid, 1, drive.CallTimeout).Result(); err != nil {
			return began, err
		}
	}
	return began, nil
}

func (s subject) Close() error {
	s.system.Shutdown()
	return nil
}
